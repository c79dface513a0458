"""The worklist as people meet it: pages over HTTP from twenty readers at once, and a verdict's way in a browser."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from bench.worklist_rows import PASSWORD, READERS
from cxrscreen import local, programs
from cxrscreen.settings import get_settings
from cxrscreen.worklist_filters import Filters

LOOKING = 1.0  # seconds that a reader looks at a list before the next question
PICTURE = """() => {
  const picture = document.getElementById("picture");
  const drawn = document.querySelector("[data-state]");
  const there = drawn ? drawn.dataset.state === "shown" : Boolean(picture?.complete && picture.naturalWidth > 0);
  return there ? location.pathname : "";
}"""


@contextmanager
def served() -> Iterator[str]:
    """Gunicorn with the dashboard, as the stack runs it; HOST:PORT."""
    bind = f"127.0.0.1:{local.free_port('127.0.0.1')}"
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(programs.command("web", get_settings(), bind), stdout=log, stderr=log)
        try:
            for _ in range(600):
                try:
                    if _get(http.client.HTTPConnection(bind), "/healthz")[0] == 200:
                        break
                except OSError:
                    time.sleep(0.1)
            yield bind
        finally:
            child.terminate()
            child.wait(120)


def measure_http(lists: dict[str, Filters], seconds: float) -> dict[str, Any]:
    """p95 in ms of the pages, the readers in a process of their own."""
    report: dict[str, Any] = {}
    with served() as bind:
        for title, pause in (("http_p95_ms", LOOKING), ("http_saturated_p95_ms", 0.0)):
            timed = asked(bind, lists, seconds, pause)
            times = sorted(ms for kind in timed.values() for ms in kind)
            report[title] = round(statistics.quantiles(times, n=20)[-1], 1)
            report[title.replace("p95", "p50")] = round(statistics.median(times), 1)
            report[title.replace("p95_ms", "requests_s")] = round(len(times) / seconds, 1)
            report[title.replace("p95_ms", "kinds")] = {
                name: round(statistics.median(kind), 1) for name, kind in timed.items() if kind
            }
    return report


def asked(bind: str, lists: dict[str, Filters], seconds: float, pause: float) -> dict[str, list[float]]:
    """What `read_pages` measures, in a process of its own."""
    addresses = {name: f"/worklist?{urlencode(filters.address())}" for name, filters in lists.items()}
    order = json.dumps([bind, addresses, seconds, pause])
    readers = [sys.executable, "-m", "bench.worklist_door"]
    told = subprocess.run(readers, input=order, stdout=subprocess.PIPE, text=True, check=True).stdout
    timed: dict[str, list[float]] = json.loads(told)
    return timed


def read_pages(bind: str, addresses: dict[str, str], seconds: float, pause: float) -> dict[str, list[float]]:
    """Milliseconds of every answer by kind: each reader asks for one list after another over a connection kept open."""
    timed: dict[str, list[float]] = {name: [] for name in addresses}
    jars = [sign_in(bind, f"reader{number}") for number in range(READERS)]
    names = list(addresses)
    starting = threading.Barrier(READERS)

    def one(number: int) -> None:
        connection = http.client.HTTPConnection(bind, timeout=60)
        starting.wait()
        time.sleep(pause * number / READERS)
        ends = time.perf_counter() + seconds
        turn = number * 7
        while time.perf_counter() < ends:
            name = names[turn % len(names)]
            turn += 1
            start = time.perf_counter()
            status, _, _ = _get(connection, addresses[name], jars[number])
            assert status == 200, (addresses[name], status)
            timed[name].append(1000 * (time.perf_counter() - start))
            time.sleep(pause)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return timed


def sign_in(bind: str, name: str) -> str:
    """The cookie of a session."""
    connection = http.client.HTTPConnection(bind, timeout=60)
    _, page, cookie = _get(connection, "/sign-in")
    token = re.search(rb'name="csrf_token" value="([^"]+)"', page)
    assert token
    form = urlencode({"csrf_token": token[1].decode(), "name": name, "password": PASSWORD})
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/sign-in", form, headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 302, answer.status
    return (answer.getheader("Set-Cookie") or "").partition(";")[0]


def measure_verdicts(cases: int) -> dict[str, Any]:
    """Median of the time from a verdict's key to the next case with its picture, in ms."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("no chromium on the PATH: verdicts are not measured", file=sys.stderr)
        return {}
    with served() as bind, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        page = browser.new_context(viewport={"width": 1366, "height": 768}, base_url=f"http://{bind}").new_page()
        page.goto("/sign-in")
        page.fill("#name", "reader0")
        page.fill("#password", PASSWORD)
        page.click("#sign-in")
        page.locator("#worklist a.case").first.click()
        times = []
        here = _shown(page, "")
        for number in range(cases):
            time.sleep(1.0)  # a reader looks; the next picture is fetched meanwhile
            start = time.perf_counter()
            page.keyboard.press("nyu"[number % 3])
            here = _shown(page, here)
            times.append(1000 * (time.perf_counter() - start))
        browser.close()
    return {"verdict_to_next_ms": round(statistics.median(times), 1), "verdict_ms": [round(ms, 1) for ms in times]}


def _shown(page: Any, before: str) -> str:
    """The path of the case whose picture is there, once it is another than before."""
    ends = time.perf_counter() + 60
    while time.perf_counter() < ends:
        try:
            here: str = page.evaluate(PICTURE)
        except Exception:
            continue
        if here and here != before:
            return here
        time.sleep(0.003)
    raise TimeoutError(f"no next case after {before}")


def _get(connection: http.client.HTTPConnection, url: str, cookie: str = "") -> tuple[int, bytes, str]:
    connection.request("GET", url, headers={"Cookie": cookie} if cookie else {})
    answer = connection.getresponse()
    return answer.status, answer.read(), (answer.getheader("Set-Cookie") or "").partition(";")[0]


if __name__ == "__main__":
    print(json.dumps(read_pages(*json.load(sys.stdin))))

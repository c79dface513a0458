"""Uploads that resume: gunicorn with two processes, and a client of the protocol that nobody here wrote."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from conftest import ROOT, forget_settings
from dashboard_fixtures import PASSWORD, TOKEN, Browser, Site
from tusclient.client import TusClient

from cxrscreen import blobs, db, local, resumable
from cxrscreen.settings import get_settings
from cxrscreen.tables import AuditEvent, Base, Job, Upload
from dashboard import create_app

BYTES = "application/offset+octet-stream"
SPEAKS = {"Tus-Resumable": "1.0.0"}


class Server:
    """The dashboard under gunicorn, on a port that stays the same when it is started again."""

    def __init__(self) -> None:
        self.port = local.free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "gunicorn", "-c", "dashboard/gunicorn.conf.py", "--workers", "2"]
        self.process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{self.port}", "dashboard.wsgi:app"],
            cwd=ROOT,
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 120
        while True:
            with suppress(requests.RequestException):
                requests.get(f"{self.url}/sign-in", timeout=10)
                return
            assert self.process.poll() is None and time.monotonic() < until, "the server does not start"
            time.sleep(0.05)

    def kill(self) -> None:
        """Every process of it at once, as a machine that loses its power."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not self._listens())

    def workers(self) -> list[int]:
        master = self.process.pid
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def _listens(self) -> bool:
        """The workers of a master that is gone may take a moment longer to die."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class Person:
    """Somebody signed in at the server, with the headers that every request of theirs carries."""

    def __init__(self, server: Server, name: str) -> None:
        self.url = f"{server.url}/uploads/tus"
        self.server = server
        self.session = requests.Session()
        page = self.session.get(f"{server.url}/sign-in", timeout=120).text
        form = {"csrf_token": TOKEN.search(page)[1], "name": name, "password": PASSWORD}  # type: ignore[index]
        assert self.session.post(f"{server.url}/sign-in", form, allow_redirects=False, timeout=120).status_code == 302
        token = TOKEN.search(self.session.get(f"{server.url}/account", timeout=120).text)[1]  # type: ignore[index]
        cookie = "; ".join(f"{key}={value}" for key, value in self.session.cookies.items())
        self.headers = {"X-CSRFToken": token, "Cookie": cookie}

    def ask(self, method: str, url: str, data: bytes = b"", **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {**SPEAKS, **self.headers, **named}
        return requests.request(
            method, url, data=data, headers={k: v for k, v in given.items() if v}, timeout=120, allow_redirects=False
        )

    def create(self, size: int, name: str = "a.zip", data: bytes = b"", **metadata: str) -> requests.Response:
        told = told_as({"filename": name, **metadata})
        more = {"Content_Type": BYTES} if data else {}
        return self.ask("POST", self.url, data, Upload_Length=str(size), Upload_Metadata=told, **more)

    def begin(self, size: int, name: str = "a.zip", **metadata: str) -> str:
        answer = self.create(size, name, **metadata)
        assert answer.status_code == 201, answer.text
        return self.server.url + answer.headers["Location"]

    def patch(self, url: str, offset: int, data: bytes, **headers: str) -> requests.Response:
        return self.ask("PATCH", url, data, **{"Upload_Offset": str(offset), "Content_Type": BYTES, **headers})

    def offset(self, url: str) -> int:
        answer = self.ask("HEAD", url)
        assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
        return int(answer.headers["Upload-Offset"])

    def half_sent(self, url: str, data: bytes, sent: int, offset: int = 0, checksum: str = "") -> socket.socket:
        """The open line of a PATCH of all of `data` on which the first `sent` bytes have arrived."""
        line = socket.create_connection(("127.0.0.1", self.server.port), 120)
        head = {**SPEAKS, **self.headers, "Host": "x", "Content-Type": BYTES, "Content-Length": str(len(data))}
        head |= {"Upload-Offset": str(offset)} | ({"Upload-Checksum": checksum} if checksum else {})
        path = urlsplit(url).path
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        line.sendall(f"PATCH {path} HTTP/1.1\r\n{lines}\r\n".encode() + data[:sent])
        return line


def told_as(metadata: dict[str, str]) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())


def checksum(name: str, data: bytes) -> str:
    return f"{name} {base64.b64encode(hashlib.new(name, data).digest()).decode()}"


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def kept(url: str) -> resumable.Upload:
    return resumable.find_anyones(url.rpartition("/")[2])


def wait_for(holds: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def only_job(*contents: bytes) -> Job:
    """The one job whose sources hold exactly these bytes."""
    wanted = sorted(hashlib.sha256(content).hexdigest() for content in contents)
    with db.read() as session:
        rows = {row.id: row.sha256 for row in session.query(Upload)}
        found = [
            job for job in session.query(Job) if sorted(rows[source["upload"]] for source in job.sources) == wanted
        ]
    assert len(found) == 1
    for content in contents:
        assert blobs.store().get("uploads", hashlib.sha256(content).hexdigest()) == content
    return found[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all of these tests: it takes seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("CXRSCREEN_") and not name.startswith("CXRSCREEN_TEST_"):
                patch.delenv(name)
        patch.setenv("CXRSCREEN_DATA_DIR", str(tmp_path_factory.mktemp("tus")))
        patch.setenv("CXRSCREEN_REDIS_URL", "redis://127.0.0.1:1/0")
        forget_settings()
        Base.metadata.create_all(db.get_engine())
        Site()
        made = Server()
        yield made
        made.kill()
        db.get_engine().dispose()
    forget_settings()


@pytest.fixture(scope="module")
def operator(server: Server) -> Person:
    return Person(server, "operator")


class Scissors:
    """A TCP proxy that cuts its lines at random places, seeded: in what is sent, or before the answer is heard."""

    def __init__(self, port: int, cuts: int, most: int, seed: int) -> None:
        self.random, self.target, self.left, self.most = random.Random(seed), port, cuts, most
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                after = self.random.randrange(self.most)
                mute = self.random.random() < 0.3
                lines = (client, server)
                for pair, cut in ((lines, None if mute else after), (lines[::-1], 0 if mute else None)):
                    threading.Thread(target=self._carry, args=(*pair, cut), daemon=True).start()

    def _cut(self) -> bool:
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def _carry(self, source: socket.socket, target: socket.socket, after: int | None) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(1 << 14):
                if after is not None and passed + len(data) > after and self._cut():
                    target.sendall(data[: after - passed])
                    break
                target.sendall(data)
                passed += len(data)
        for line in (source, target):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


def test_a_line_that_is_cut_twenty_times_brings_the_file_once(server: Server, operator: Person) -> None:
    content = noise(4_200_001, 11)
    scissors = Scissors(server.port, cuts=20, most=160_000, seed=4)  # each piece is longer: all of the first are cut
    url = operator.begin(len(content), "night.zip").replace(server.url, scissors.url)
    client = TusClient(scissors.url, headers=operator.headers)
    uploader = client.uploader(
        file_stream=io.BytesIO(content), url=None, chunk_size=200_000, retries=100, retry_delay=0.05
    )
    uploader.url, uploader.offset = url, 0
    while uploader.offset < len(content):
        uploader.upload_chunk()
    scissors.close()
    assert scissors.left <= 0, "all of the cuts were made"
    assert only_job(content).title == "night.zip"
    assert operator.offset(url.replace(scissors.url, server.url)) == len(content)
    only_job(content)


def test_another_client_needs_nothing_but_two_headers(operator: Person) -> None:
    content = noise(100_000, 12)
    client = TusClient(operator.url, headers=operator.headers)
    uploader = client.uploader(
        file_stream=io.BytesIO(content), chunk_size=30_000, metadata={"filename": "a b.zip"}, upload_checksum=True
    )
    uploader.upload()
    assert uploader.request.response_headers["cxrscreen-job"] == f"/jobs/{only_job(content).id}"


def test_a_server_killed_while_it_receives_goes_on_where_it_was(server: Server, operator: Person) -> None:
    """Two files are under way: of one every byte that came counts, of the other none before its checksum is right."""
    plain, sworn = noise(4 << 20, 11), noise(2 << 20, 12)
    url, other = operator.begin(len(plain)), operator.begin(len(sworn))
    assert operator.patch(other, 0, sworn[:1000]).status_code == 204
    lines = [
        operator.half_sent(url, plain, 2 << 20),
        operator.half_sent(other, sworn[1000:], 1 << 20, 1000, checksum("sha256", sworn[1000:])),
    ]
    wait_for(lambda: kept(url).offset >= 1 << 20 and kept(other).part.stat().st_size > 500_000)
    assert operator.offset(other) == 1000
    server.kill()
    for line in lines:
        line.close()
    server.start()
    assert 1 << 20 <= operator.offset(url) <= 2 << 20
    assert operator.offset(other) == 1000
    client = TusClient(operator.url, headers=operator.headers)
    client.uploader(file_stream=io.BytesIO(plain), url=url).upload()
    assert operator.patch(other, 1000, sworn[1000:]).status_code == 204
    only_job(plain)
    only_job(sworn)


def test_receiving_processes_killed_again_and_again_lose_nothing(server: Server, operator: Person) -> None:
    """CXRSCREEN_TEST_KILLS=50 kills them fifty times; each time the master starts others."""
    chance = random.Random(7)
    content = chance.randbytes(24 << 20)
    url = operator.begin(len(content))
    kills, offset, end = int(os.environ.get("CXRSCREEN_TEST_KILLS", "5")), 0, len(content)
    while offset < end:
        try:
            assert operator.offset(url) >= offset, "what has come stays"
            offset = operator.offset(url)
            if kills > 0:
                line = operator.half_sent(url, content[offset:], chance.randrange(20_000, 450_000), offset)
                time.sleep(chance.random() / 10)
                for pid in server.workers():
                    os.kill(pid, signal.SIGKILL)
                line.close()
                kills -= 1
            else:
                operator.patch(url, offset, content[offset:])
        except (requests.RequestException, OSError):
            time.sleep(0.1)  # nobody listens for a moment
    only_job(content)


def test_a_cut_line_keeps_what_had_come(operator: Person) -> None:
    content = noise(1 << 20, 15)
    url = operator.begin(len(content))
    line = operator.half_sent(url, content, 300_000)
    line.close()
    wait_for(lambda: operator.offset(url) == 300_000)
    wait_for(lambda: operator.patch(url, 300_000, content[300_000:]).status_code == 204)
    only_job(content)


def test_what_the_server_says_of_itself(operator: Person) -> None:
    answer = operator.ask("OPTIONS", operator.url, Tus_Resumable="")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Tus-Max-Size"] == str(100 * 10**9)
    assert {"creation", "termination", "checksum", "expiration"} <= set(answer.headers["Tus-Extension"].split(","))
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"
    for wrong in ("0.2.2", ""):
        answer = operator.ask("POST", operator.url, Tus_Resumable=wrong, Upload_Length="5")
        assert (answer.status_code, answer.headers["Tus-Version"]) == (412, "1.0.0")


def test_a_wrong_checksum_throws_the_piece_away(operator: Person) -> None:
    url = operator.begin(10)
    assert operator.patch(url, 0, b"01234", Upload_Checksum=checksum("sha1", b"01234")).status_code == 204
    answer = operator.patch(url, 5, b"5678X", Upload_Checksum=checksum("sha256", b"56789"))
    assert (answer.status_code, operator.offset(url)) == (460, 5)
    assert operator.patch(url, 5, b"56789", Upload_Checksum="md5 aaaa").status_code == 400
    assert operator.patch(url, 5, b"56789", Upload_Checksum=checksum("sha256", b"56789")).status_code == 204
    only_job(b"0123456789")


def test_offsets_types_and_lengths_are_held_to(operator: Person) -> None:
    url = operator.begin(10)
    assert operator.patch(url, 3, b"345").status_code == 409
    assert operator.patch(url, 0, b"012", Content_Type="text/plain").status_code == 415
    assert operator.patch(url, 0, b"01234567890").status_code == 413
    assert operator.ask("PATCH", url, b"0", Content_Type=BYTES).status_code == 400
    assert operator.offset(url) == 0
    overriding = {"X_HTTP_Method_Override": "PATCH", "Upload_Offset": "0", "Content_Type": BYTES}
    assert operator.ask("POST", url, b"0123", **overriding).status_code == 204
    answer = operator.ask("HEAD", url)
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("4", "10")
    assert operator.ask("POST", operator.url, Upload_Length="-1").status_code == 400
    assert operator.ask("POST", operator.url, Upload_Length="5", Upload_Metadata="filename ***").status_code == 400
    assert operator.create(10**12).status_code == 413
    for date in ("9" * 5000, "\u0663", "\u00b2", "-1", "now"):
        assert operator.create(5, modified=date).status_code == 201, date


@pytest.mark.parametrize("chunk", [b"-5\r\nhello", b"zz\r\nhello", b"3\r\nabcNO", b"5;\n\r\nhello"])
def test_chunks_that_lie_about_their_lengths_are_a_cut_line(chunk: bytes, operator: Person) -> None:
    url = operator.begin(10)
    head = {**SPEAKS, **operator.headers, "Host": "x", "Content-Type": BYTES, "Upload-Offset": "0"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with socket.create_connection(("127.0.0.1", operator.server.port), 120) as line:
        start = f"PATCH {urlsplit(url).path} HTTP/1.1\r\n{lines}Transfer-Encoding: chunked\r\n\r\n"
        line.sendall(start.encode() + b"2\r\nok\r\n" + chunk)
        line.shutdown(socket.SHUT_WR)
        assert line.recv(100).split()[1] == b"400"
    assert operator.offset(url) <= 5


def test_the_first_bytes_may_come_with_the_creation(operator: Person) -> None:
    answer = operator.create(6, data=b"abcdef")
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, "6")
    assert operator.offset(operator.server.url + answer.headers["Location"]) == 6
    only_job(b"abcdef")


def test_one_writes_at_a_time(operator: Person) -> None:
    content = noise(1 << 20, 16)
    url = operator.begin(len(content))
    line = operator.half_sent(url, content, 200_000)
    wait_for(lambda: kept(url).offset >= 100_000)
    answers = {operator.patch(url, kept(url).offset, b"x" * 10).status_code for _ in range(4)}
    assert answers == {423}
    assert operator.ask("DELETE", url).status_code == 423
    line.sendall(content[200_000:])
    assert b" 204 " in line.recv(4096)
    line.close()
    only_job(content)


def test_an_upload_that_lay_too_long_is_gone(operator: Person) -> None:
    url, fresh = operator.begin(10), operator.begin(10)
    assert "GMT" in operator.ask("HEAD", url).headers["Upload-Expires"]
    folder = kept(url).folder
    long_ago = time.time() - 8 * 86400
    for path in (folder / "part", folder / "state.json"):
        os.utime(path, (long_ago, long_ago))
    assert operator.ask("HEAD", url).status_code == 410
    assert operator.patch(url, 0, b"0").status_code == 410
    assert resumable.sweep() == 1
    assert resumable.sweep() == 0
    assert not folder.exists()
    assert operator.ask("HEAD", url).status_code == 404
    assert operator.offset(fresh) == 0


def test_nobody_touches_the_upload_of_another(server: Server, operator: Person) -> None:
    url = operator.begin(10)
    reader, admin = Person(server, "reader"), Person(server, "admin")
    assert reader.ask("HEAD", url).status_code == 404
    assert reader.patch(url, 0, b"0").status_code == 404
    assert reader.ask("DELETE", url).status_code == 404
    assert admin.patch(url, 0, b"0").status_code == 404
    assert reader.session.get(f"{server.url}/uploads/unfinished", timeout=120).json() == {"uploads": []}
    assert admin.ask("DELETE", url).status_code == 204
    assert operator.ask("HEAD", url).status_code == 404
    with db.read() as session:
        assert session.query(AuditEvent).filter_by(action="upload.terminate", actor="admin").count() == 1
    mine = operator.begin(10)
    assert operator.ask("DELETE", mine).status_code == 204
    assert operator.ask("HEAD", mine).status_code == 404


def test_strangers_and_forged_requests_are_refused_before_a_byte_is_kept(server: Server, operator: Person) -> None:
    url = operator.begin(10)
    assert requests.patch(url, b"0", headers=SPEAKS, timeout=120).status_code == 401
    assert operator.patch(url, 0, b"0", X_CSRFToken="").status_code == 400
    assert operator.ask("POST", operator.url, Upload_Length="5", X_CSRFToken="made-up").status_code == 400
    big = {"Content_Type": "multipart/form-data; boundary=x", "Upload_Length": "5"}
    assert operator.ask("POST", operator.url, b"x" * (2 << 20), **big).status_code == 413
    for made_up in ("0" * 32, "..%2f..%2fsecrets", "%00", "x" * 3000):
        assert operator.ask("HEAD", f"{operator.url}/{made_up}").status_code == 404
    assert operator.offset(url) == 0


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/shadow", "etc/shadow"),
        ("a\0b.png", "ab.png"),
        ("x" * 3000 + ".png", "x" * 90 + "…" + "x" * 86 + ".png"),
    ],
)
def test_names_are_made_safe(operator: Person, given: str, label: str) -> None:
    content = given.encode()[:50]
    url = operator.begin(len(content), given)
    assert operator.patch(url, 0, content).status_code == 204
    job = only_job(content)
    assert job.sources[0]["label"] == label
    top = get_settings().upload_dir / resumable.FOLDER
    names = {path.name for path in top.rglob("*")}
    assert all(
        re.fullmatch(r"[0-9a-f]{32}|begin-[0-9a-f]{32}\.lock|part|lock|state\.json|swept|\d+", name) for name in names
    )


def test_a_group_becomes_one_job_when_it_is_whole(operator: Person) -> None:
    start = f"{operator.server.url}/uploads/groups/g1"
    contents = {"f/a.png": b"one", "f/b.png": b"three", "f/empty.png": b""}
    urls = [operator.begin(len(content), name, group="g1", modified="17") for name, content in contents.items()]
    for url, content in zip(urls[:1], contents.values(), strict=False):
        operator.patch(url, 0, content)
    listed = operator.session.get(f"{operator.server.url}/uploads/unfinished", timeout=120).json()["uploads"]
    told = [(row["name"], row["offset"], row["size"], row["modified"]) for row in listed if row["group"] == "g1"]
    assert told == [
        ("f/a.png", 3, 3, 17),
        ("f/b.png", 0, 5, 17),
        ("f/empty.png", 0, 0, 17),
    ]
    assert operator.ask("POST", start).status_code == 409
    operator.patch(urls[1], 0, b"three")
    answers = [operator.ask("POST", start) for _ in range(2)]
    job = only_job(*contents.values())
    assert [answer.json() for answer in answers] == [{"job": job.id, "url": f"/jobs/{job.id}"}] * 2
    assert [source["label"] for source in job.sources] == list(contents)
    assert "g1" not in operator.session.get(f"{operator.server.url}/uploads/unfinished", timeout=120).text


def test_nothing_to_screen_is_said_at_once(operator: Person) -> None:
    answer = operator.create(0)
    assert (answer.status_code, answer.json()["error"]) == (400, "The file is empty: it has no bytes.")
    operator.begin(0, group="e")
    assert operator.ask("POST", f"{operator.server.url}/uploads/groups/e").status_code == 400
    assert operator.ask("POST", f"{operator.server.url}/uploads/groups/none").status_code == 400


def test_a_kill_between_the_last_byte_and_the_job_makes_the_job_later(server: Server, operator: Person) -> None:
    """Each state that such a kill can leave: all bytes, the hash known, the file in the store."""
    for number in range(3):
        content = noise(1000, number)
        url = operator.begin(len(content), f"{number}.zip")
        upload = kept(url)
        upload.part.write_bytes(content)
        if number > 0:
            upload = resumable.seal(upload)
        if number > 1:
            blobs.store().put_file("uploads", upload.part, upload.sha256)
        for _ in range(2):
            assert operator.offset(url) == 1000
        assert only_job(content).title == f"{number}.zip"


def test_a_small_limit_is_told_and_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRSCREEN_MAX_UPLOAD_GB", "0.000001")
    get_settings.cache_clear()
    try:
        browser = Browser(create_app())
        browser.sign_in("operator")
        headers = {**SPEAKS, "X-CSRFToken": browser.token(), "Upload-Metadata": told_as({"group": "small"})}
        client = browser.client
        assert client.options("/uploads/tus").headers["Tus-Max-Size"] == "1000"
        assert client.post("/uploads/tus", headers={**headers, "Upload-Length": "1001"}).status_code == 413
        for _ in range(2):
            made = client.post(
                "/uploads/tus", data=b"x" * 600, content_type=BYTES, headers={**headers, "Upload-Length": "600"}
            )
            assert made.headers["Upload-Offset"] == "600"
        assert client.post("/uploads/groups/small", headers=headers).status_code == 413
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()

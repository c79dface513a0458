"""A real server of the S3 protocol (moto), with a switch for its faults."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

BUSY = "503 Service Unavailable"
DENIED = "403 Forbidden"


def passes(_method: str, _path: str) -> str | None:
    return None


@dataclass
class Service:
    """`fault` answers a request (method, path) with a status line, or None to let it through."""

    url: str = ""
    fault: Callable[[str, str], str | None] = passes
    asked: list[tuple[str, str]] = field(default_factory=list)
    app: Any = None

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.asked.append((method, path))
        status = self.fault(method, path)
        if status is None:
            answer: Iterable[bytes] = self.app(environ, start)
            return answer
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        name = "AccessDenied" if status == DENIED else "ServiceUnavailable"
        body = f"<Error><Code>{name}</Code><Message>as a test wants it</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [b"" if method == "HEAD" else body]


@dataclass(frozen=True)
class Bucket:
    """A bucket of a test's own."""

    service: Service
    name: str
    fs: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def content(self, folder: str) -> dict[str, bytes]:
        """What lies in a folder, by the last part of its name."""
        listed = self.fs.call_s3("list_objects_v2", Bucket=self.name, Prefix=f"{folder}/").get("Contents", [])
        paths = [f"{self.name}/{each['Key']}" for each in listed]
        return {path.rpartition("/")[2]: data for path, data in self.fs.cat(paths).items()} if paths else {}

    def put(self, key: str, data: bytes) -> None:
        self.fs.call_s3("put_object", Bucket=self.name, Key=key, Body=data)


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    made = Service(app=DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, made, threaded=True)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    thread.join()


@pytest.fixture
def bucket(service: Service, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """An empty bucket, and an environment that leads to it."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a-test",
        "AWS_SECRET_ACCESS_KEY": "a-test",
        "AWS_ENDPOINT_URL": service.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem(use_listings_cache=False)
    made = Bucket(service, f"test-{os.urandom(6).hex()}", fs)
    fs.call_s3("create_bucket", Bucket=made.name)
    service.asked.clear()
    yield made
    service.fault = passes
    service.asked.clear()
    s3fs.S3FileSystem.clear_instance_cache()

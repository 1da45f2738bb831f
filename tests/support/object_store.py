"""A small object store on this machine: a folder served by the part of S3's protocol that reading needs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class _Store(ThreadingHTTPServer):
    daemon_threads = True
    root: Path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Store

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        path = self.server.root / bucket / key
        if not key:
            self._send(self._listing(bucket, parse_qs(parts.query)), "application/xml")
        elif path.is_file():
            self._send(path.read_bytes(), "application/octet-stream")
        else:
            body = b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
            self._send(body, "application/xml", HTTPStatus.NOT_FOUND)

    def _listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        """ListObjectsV2, some keys at a time, so that there are pages."""
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        most = min(int(query.get("max-keys", ["1000"])[0]), 3)
        root = self.server.root / bucket
        keys = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        keys = [key for key in keys if key.startswith(prefix) and key > after]
        page, more = keys[:most], len(keys) > most
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{(root / key).stat().st_size}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in page
        )
        return (
            f'<?xml version="1.0"?><ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>'
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{found}"
            "</ListBucketResult>"
        ).encode()

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        asked = self.headers.get("Range")
        total = len(body)
        if asked is not None and status == HTTPStatus.OK:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            body = body[int(first) : int(last) + 1 if last else None]
            status = HTTPStatus.PARTIAL_CONTENT
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"none"')
        if status == HTTPStatus.PARTIAL_CONTENT and asked is not None:
            self.send_header("Content-Range", f"bytes {asked.removeprefix('bytes=').rstrip('-')}/{total}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@contextmanager
def object_store(root: Path) -> Iterator[str]:
    """Serve a folder whose folders are buckets; gives the options of an address by which Arrow finds it."""
    server = _Store(("127.0.0.1", 0), _Handler)
    server.root = root
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"endpoint_override=127.0.0.1%3A{server.server_port}&scheme=http&region=eu-west-1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

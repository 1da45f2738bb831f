import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mien.service.operation.probe import probe


class Answers(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health/ready" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Answers) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def test_a_service_that_is_ready(server: HTTPServer) -> None:
    assert probe({"MIEN_PORT": str(server.server_port)}) is None


def test_a_service_that_is_not(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "status", 503)
    assert probe({"MIEN_PORT": str(server.server_port)}) == "expected 200 from /health/ready, got 503"


def test_no_service() -> None:
    assert "ConnectionRefusedError" in str(probe({"MIEN_PORT": "1"}))


def test_the_default_port_counts_where_none_is_set() -> None:
    assert probe({"MIEN_PORT": ""}) == probe({})

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
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Answers) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def test_ready_service_has_no_problem(server: HTTPServer) -> None:
    assert probe({"MIEN_PORT": str(server.server_port)}) is None


def test_service_that_is_not_ready_is_a_problem(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "status", 503)
    assert probe({"MIEN_PORT": str(server.server_port)}) == "expected 200 from /health/ready, got 503"


def test_missing_service_is_a_problem() -> None:
    assert "ConnectionRefusedError" in str(probe({"MIEN_PORT": "1"}))


def test_default_port_is_used() -> None:
    assert probe({"MIEN_PORT": ""}) == probe({})

"""Clients that take more than their share of connections cannot keep a running service from answering others."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.probing import others_are_answered
from tests.support.serving import ServedProcess, served_process


@pytest.fixture(scope="module")
def served() -> Iterator[ServedProcess]:
    with served_process("--drain-s", "0", "--timeout-s", "3", "--rate-per-s", "0") as served:
        yield served


def send_for(client: socket.socket, data: bytes, longest_s: float) -> int:
    """The bytes that were taken before the connection ended or the time was over."""
    sent, deadline = 0, time.monotonic() + longest_s
    client.settimeout(1)
    with suppress(OSError):
        while time.monotonic() < deadline:
            sent += client.send(data)
    return sent


HEAD = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def test_endless_heads(served: ServedProcess) -> None:
    headers = b"".join(b"a%d: b\r\n" % number for number in range(200_000))
    with others_are_answered(served):
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", served.port)) as client:
                client.sendall(HEAD)
                assert send_for(client, headers, 2) < 16 * 2**20


def test_endless_body_after_413(served: ServedProcess) -> None:
    with others_are_answered(served), socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
        )
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()
        began = time.monotonic()
        assert send_for(client, b"a" * 2**20, 20) < 32 * 2**20
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "frames",
    [b"\x89\x81\0\0\0\0a" * 2_000, (b"\x82\xfe\x04\0\0\0\0\0" + bytes(1024)) * 64],
    ids=["pings", "messages of 1 KiB"],
)
def test_flood_of_frames(served: ServedProcess, frames: bytes) -> None:
    with others_are_answered(served):
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", served.port)) as client:
                client.sendall(
                    b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                )
                assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
                assert send_for(client, frames, 2) < 16 * 2**20


def test_connections_that_wait(served: ServedProcess) -> None:
    """From one address, more than one may have, and more than there may be in all."""
    with others_are_answered(served):
        clients = []
        for number in range(1_200):
            client = socket.create_connection(("127.0.0.1", served.port))
            client.sendall(
                (HEAD, b"G", b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\na")[number % 3]
            )
            clients.append(client)
        time.sleep(0.3)
        for client in clients:
            client.close()


def test_no_http(served: ServedProcess) -> None:
    """It is answered, and fills no log."""
    before = len(served.log())
    with others_are_answered(served):
        for _ in range(300):
            with socket.create_connection(("127.0.0.1", served.port)) as client, suppress(OSError):
                client.sendall(b"nonsense\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    refused = [line for line in served.log()[before:].splitlines() if "refused a connection" in line]
    assert len(refused) < 100


def test_answers_that_nobody_takes() -> None:
    """They are cut off, and SIGTERM does not wait for them."""
    with served_process("--drain-s", "0", "--send-timeout-s", "60", "--rate-per-s", "0") as served:
        clients = []
        for _ in range(8):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", served.port))
            client.sendall(b"GET /docs/files/redoc.standalone.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 16)
            assert client.recv(10)
            clients.append(client)
        began = time.monotonic()
        served.terminate()
        assert time.monotonic() - began < 15
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /health/live HTTP/1.1\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", 400),
        (HEAD + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: elsewhere.example\r\n", 421),
        (b"GET /health/live HTTP/1.0\r\n", 200),
        (HEAD, 200),
        (HEAD.replace(b"GET", b"HEAD"), 200),
        (HEAD.replace(b"GET /health/live", b"HEAD /info"), 200),
    ],
)
def test_heads_are_checked(served: ServedProcess, request_head: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as client:
        client.sendall(request_head + b"Connection: close\r\n\r\n")
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.endswith(b"\r\n\r\n") == request_head.startswith(b"HEAD"), "only HEAD has no body"

"""The log of a running service: it has no keys, strangers cannot fill it, and a full disk does not stop the service."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from mien.service.middleware.api_keys import create_key
from tests.support.data import ROOT
from tests.support.serving import MIEN, ServedProcess, environment_without_settings, free_ports, served_process
from tests.support.waiting import wait_until

STREAM = (
    b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "keys.json"


@pytest.fixture(scope="module")
def key(key_file: Path) -> str:
    return create_key(key_file, "reader", "read")


@pytest.fixture(scope="module")
def served(key_file: Path, key: str) -> Iterator[ServedProcess]:
    options = ("--log-level", "debug", "--drain-s", "0", "--rate-per-s", "2000", "--keys", str(key_file))
    with served_process(*options) as served:
        yield served


def answer(served: ServedProcess, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as client:
        client.sendall(request)
        with suppress(ConnectionError):
            return client.recv(4096)
    return b""


def test_no_key_is_logged_at_debug(served: ServedProcess, key: str) -> None:
    for header in (
        f"X-API-Key: {key}",
        f"Authorization: Bearer {key}",
        f"Sec-WebSocket-Protocol: mien, mien.key.{key}",
    ):
        assert answer(served, STREAM + header.encode() + b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        request = f"GET /info HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\nConnection: close\r\n\r\n"
        answer(served, request.encode())
    assert answer(served, STREAM + b"X-API-Key: wrong-" + key.encode() + b"\r\n\r\n").startswith(b"HTTP/1.1 401 ")
    lines = [json.loads(line) for line in served.log().splitlines()]
    assert [line for line in lines if line.get("status") == 101]
    assert key.split("_", 2)[2] not in served.log()


def test_refused_websockets_do_not_fill_the_log(served: ServedProcess) -> None:
    before = len(served.log())
    for _ in range(150):
        assert answer(served, STREAM + b"\r\n").startswith(b"HTTP/1.1 401 ")
        assert b" 4" in answer(served, STREAM.replace(b"Version: 13", b"Version: 8") + b"\r\n")[:13]
        assert b" 4" in answer(served, re.sub(rb"Sec-WebSocket-Key.*?\r\n", b"", STREAM) + b"\r\n")[:13]
    written = served.log()[before:]
    assert len(written.splitlines()) < 150
    assert len(written) < 100_000
    assert "Traceback" not in written


def test_broken_key_file_is_in_log_and_figures(served: ServedProcess, key_file: Path, key: str) -> None:
    whole = key_file.read_bytes()
    headers = {"X-API-Key": key}
    key_file.write_bytes(b"{}}")
    wait_until(lambda: httpx2.get(f"{served.url}/info", headers=headers).status_code == 401)
    (line,) = [line for line in map(json.loads, served.log().splitlines()) if line["logger"] == "mien.keys"]
    assert line["level"] == "error"
    key_file.write_bytes(whole)
    wait_until(lambda: httpx2.get(f"{served.url}/info", headers=headers).status_code == 200)
    assert "mien_key_file_broken 0.0" in httpx2.get(f"{served.url}/metrics", headers=headers).text


def test_log_that_nobody_reads_stops_nothing() -> None:
    """A pipe takes 64 KiB; then a line that waited for its reader would block every request."""
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [MIEN, "serve", "--port", str(port), "--drain-s", "0", "--rate-per-s", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment_without_settings(),
        cwd=ROOT,
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

            def is_ready() -> bool:
                with suppress(httpx2.TransportError):
                    return client.get("/health/ready").status_code == 200
                return False

            wait_until(is_ready, 60)
            assert [client.get("/health/live").status_code for _ in range(600)] == [200] * 600
    finally:
        process.terminate()
        _, written = process.communicate(timeout=20)
    assert 30_000 < len(written) < 100_000, "600 lines have 120,000 bytes"


def test_full_log_disk_stops_nothing() -> None:
    (port,) = free_ports(1)
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [MIEN, "serve", "--port", str(port), "--processes", "2", "--drain-s", "0"],
            stdout=full,
            stderr=full,
            env=environment_without_settings(),
            cwd=ROOT,
        )

    def status() -> int | None:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/health/ready").status_code
        except httpx2.TransportError:
            return None

    def workers() -> list[int]:
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
        commands = {int(each): Path(f"/proc/{each}/cmdline").read_bytes() for each in text.split()}
        return [pid for pid, command in commands.items() if b"spawn_main" in command]

    try:
        wait_until(lambda: status() == 200, 60)
        wait_until(lambda: len(workers()) == 2)
        killed = workers()[0]
        os.kill(killed, signal.SIGKILL)
        answer(ServedProcess(f"http://127.0.0.1:{port}", process, None), b"nonsense\r\n\r\n")  # type: ignore[arg-type]
        wait_until(lambda: len(workers()) == 2 and killed not in workers())
        assert status() == 200
    finally:
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(30) == 0
        assert time.monotonic() - began < 20

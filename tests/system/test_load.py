"""What one caller sends, however large or much, leaves a running service within its memory, and answers for others."""

import http.client
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.probing import others_are_answered
from tests.support.serving import ServedProcess, served_process

MORE_BYTES = 400 * 2**20
"""Of memory, and of addresses, that the attacks may take together."""

BODY_BYTES = 32 * 2**20

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    gallery = tmp_path_factory.mktemp("load") / "gallery"
    limits = ("--max-body-bytes", str(10 * 2**20), "--max-video-bytes", str(10 * 2**20))
    with served_process(
        *("--drain-s", "0", "--rate-per-s", "0", "--log-level", "error", "--gallery", gallery),
        *(*limits, "--queue-body-bytes", str(BODY_BYTES)),
        MALLOC_ARENA_MAX="1",
    ) as served:
        assert ask(served, "POST", "/gallery", json.dumps({"items": items(200)}).encode(), JSON)[0] == 201
        size = int(Path(f"/proc/{served.process.pid}/statm").read_text(encoding="ascii").split()[0]) * 4096
        threads = 64 * 8 * 2**20  # their stacks are addresses, too
        resource.prlimit(served.process.pid, resource.RLIMIT_AS, (size + threads + MORE_BYTES, resource.RLIM_INFINITY))
        yield served


def items(count: int) -> list[dict[str, object]]:
    return [
        {"id": f"f{row}", "embedding": [float(row)] * 64, "metadata": {f"m{name}": row for name in range(40)}}
        for row in range(count)
    ]


def ask(
    served: ServedProcess, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """Status and kind of problem of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    kind = json.loads(content)["type"].removeprefix("urn:mien:") if answer.status >= 400 else ""
    return answer.status, kind


def form(**parts: bytes) -> tuple[bytes, dict[str, str]]:
    text = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name.encode(), b'; filename="f"' if name == "image" else b"", content)
        for name, content in parts.items()
    )
    return text + b"--B--\r\n", {"Content-Type": "multipart/form-data; boundary=B"}


def test_json_of_millions_of_values_is_refused(served: ServedProcess) -> None:
    many = b"[" + b"0," * 4_600_000 + b"0]"
    with others_are_answered(served, MORE_BYTES):
        for path in ("/classify", "/retrieve", "/portraits", "/thumbnails"):
            wrong = b'{"images":[' + b"0," * 500_000 + b"0]}"
            assert ask(served, "POST", path, wrong, JSON) == (422, "missing-field")
        assert ask(served, "POST", "/gallery", *form(image=b"x", items=many)) == (422, "json")
        assert ask(served, "POST", "/classify", b'{"images":' + many + b"}", JSON) == (422, "json")
        assert ask(served, "PATCH", "/gallery/f1", b'{"metadata":{"a":' + b"[" * 8_000_000, JSON)[0] == 400
        terms = json.dumps({"query": {"id": "f1"}, "filter": {"id": {"in": ["a"] * 900_000}}}).encode()
        assert ask(served, "POST", "/retrieve", terms, JSON) == (422, "filter")
        strings = b'{"image":"' + rb"\u0041" * 1_100_000 + b'"}'
        assert ask(served, "POST", "/classify", strings, JSON) == (422, "json")


def test_stalled_uploads_leave_room_for_others(served: ServedProcess, crop_file: bytes) -> None:
    """Together they have all bytes that bodies may have, but for 150 kB."""

    def stall(size: int) -> socket.socket:
        body, headers = form(image=bytes(size))
        head = f"POST /classify HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: {headers['Content-Type']}\r\n\r\n"
        client = socket.create_connection(("127.0.0.1", served.port))
        client.settimeout(5)
        with suppress(OSError):  # refused: the connection is closed before everything is sent
            client.sendall(head.encode() + body[:-1000])
        return client

    with ThreadPoolExecutor(4) as threads:
        clients = list(threads.map(stall, [10_000_000] * 3 + [3_400_000]))
    answered = form(image=crop_file, note=bytes(300_000))
    try:
        for _ in range(10):  # the service may still be reading what was sent
            time.sleep(0.1)
            assert ask(served, "POST", "/classify?already_cropped=true", *answered) == (200, "")
    finally:
        for client in clients:
            client.close()


def test_portraits_and_filters_of_one_caller_leave_answers_to_others(served: ServedProcess, crop_file: bytes) -> None:
    portraits = json.dumps({"queries": [{"embedding": [float(row)] * 64} for row in range(64)]}).encode()
    unread = "%2C".join(f"%22metadata.m{name}%22%3A1" for name in range(32))
    floods: list[Callable[[], object]] = [
        lambda: ask(served, "POST", "/portraits", portraits, JSON),
        lambda: ask(served, "GET", f"/gallery?limit=1&filter=%7B{unread}%7D"),
        lambda: ask(served, "GET", "/map"),
        lambda: ask(served, "POST", "/explain?already_cropped=true", *form(image=crop_file)),
    ]
    stop = threading.Event()

    def flood(number: int) -> None:
        while not stop.is_set():
            floods[number % len(floods)]()
            time.sleep(0.02)

    with ThreadPoolExecutor(16) as threads:
        running = [threads.submit(flood, number) for number in range(16)]
        try:
            times = []
            for number in range(4):
                began = time.monotonic()
                assert ask(served, "POST", "/classify?already_cropped=true", *form(image=crop_file)) == (200, "")
                added = {"items": [{"id": f"new{number}", "embedding": [0.5] * 64}]}
                assert ask(served, "POST", "/gallery", json.dumps(added).encode(), JSON) == (201, "")
                times.append(time.monotonic() - began)
        finally:
            stop.set()
        for each in running:
            each.result()
    assert min(times) < 2, times

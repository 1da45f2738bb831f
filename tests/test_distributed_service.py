"""Two service processes that share one distributed gallery, asked over their sockets."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from milvus_server import shared_server

DIMENSIONS = 64


@contextmanager
def service(gallery: str) -> Iterator[str]:
    """The address of a service that serves a gallery."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIEN_")}
    process = subprocess.Popen(
        [Path(sys.executable).parent / "mien", "serve", "--port", str(port)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environment | {"MIEN_GALLERY": gallery},
        cwd=Path(__file__).parents[1],
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                if httpx2.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx2.TransportError:
                pass
            assert process.poll() is None, "the service ended"
            assert time.monotonic() < deadline, "the service did not become ready"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[str, str]]:
    gallery = f"milvus://{shared_server().address}/of_two_services"
    with ExitStack() as stack:
        yield stack.enter_context(service(gallery)), stack.enter_context(service(gallery))


def item(face_id: str, place: float, **fields: Any) -> dict[str, Any]:
    return {"id": face_id, "embedding": [place] * DIMENSIONS, **fields}


def found(url: str, **fields: Any) -> list[str]:
    query = {"query": {"embedding": [0.0] * DIMENSIONS}, "k": 10, **fields}
    answer = httpx2.post(f"{url}/retrieve", json=query, timeout=60)
    assert answer.status_code == 200, answer.text
    return [match["id"] for match in answer.json()["matches"]]


def test_what_one_adds_the_other_finds_within_a_second(services: tuple[str, str]) -> None:
    one, other = services
    items = [item("near", 0.1, label="fear", subject="anna"), item("far", 2.0, metadata={"camera": "left"})]
    assert httpx2.post(f"{one}/gallery", json={"items": items}, timeout=60).status_code == 201
    began = time.monotonic()
    while found(other) != ["near", "far"]:
        assert time.monotonic() - began < 1
    assert found(one) == ["near", "far"], "the one that added finds it at once"
    assert found(other, filter={"metadata.camera": "left"}) == ["far"]
    assert httpx2.get(f"{other}/gallery/near", timeout=60).json()["label"] == "fear"


def test_a_conflict_with_what_the_other_has_just_added(services: tuple[str, str]) -> None:
    one, other = services
    assert httpx2.post(f"{one}/gallery", json={"items": [item("contested", 1.0)]}, timeout=60).status_code == 201
    again = httpx2.post(f"{other}/gallery", json={"items": [item("contested", 3.0)]}, timeout=60)
    assert again.status_code == 409
    same = httpx2.post(f"{other}/gallery", json={"items": [item("contested", 1.0)]}, timeout=60)
    assert same.status_code in (200, 201)
    assert httpx2.delete(f"{other}/gallery/contested", timeout=60).status_code in (200, 204)
    time.sleep(1)
    assert httpx2.get(f"{one}/gallery/contested", timeout=60).status_code == 404

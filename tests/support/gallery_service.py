"""Services on a gallery, each in its process, and short requests to them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.support.data import ROOT

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
        cwd=ROOT,
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


def item(face_id: str, place: float, **fields: Any) -> dict[str, Any]:
    return {"id": face_id, "embedding": [place] * DIMENSIONS, **fields}


def nearest_ids(url: str, **fields: Any) -> list[str]:
    query = {"query": {"embedding": [0.0] * DIMENSIONS}, "k": 10, **fields}
    answer = httpx2.post(f"{url}/retrieve", json=query, timeout=60)
    assert answer.status_code == 200, answer.text
    return [match["id"] for match in answer.json()["matches"]]

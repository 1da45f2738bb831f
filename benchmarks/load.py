"""The service under load, beside a bare loop and beside what a user would write first.

    python benchmarks/load.py PHOTOGRAPH... [--seconds 8] [--soak 0] [--fer PYTHON]

An open-loop generator sends requests at fixed rates, whether or not earlier ones were answered, so that queueing shows;
latencies count from the moment a request was meant to be sent. It runs in a process of its own. Everything is measured
in one run, in turn, on the same cores, and what matters is the ratios.

Payloads are made from the photographs: face crops of 48 to 224 pixels, and pictures of 640x480 with one face.

Besides answers per second, CPU milliseconds per answer are given: those of the process that answers, which other work
on the machine does not change much.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from index.bundle import default_bundle, load_bundle
from index.threads import search_single_threaded
from model.decoding import decode
from model.embedder import Embedder
from model.pipeline import load_pipeline

CONNECTIONS: Final = 32
"""Of the closed loop that finds the highest rate."""

BATCHES: Final = (1, 2, 4, 8, 16, 32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=8.0, help="Of each measurement.")
    parser.add_argument("--soak", type=float, default=0.0, help="Seconds at twice the highest rate, for memory.")
    parser.add_argument("--fer", type=Path, help="A Python that has fer, fastapi, uvicorn and python-multipart.")
    parser.add_argument(
        "--option", action="append", default=[], help="Of mien serve, such as --option=--batch-faces=4."
    )
    arguments = parser.parse_args()
    crops, pictures = payloads(arguments.photographs)
    report: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()}
    seconds: float = arguments.seconds

    report["bare_crops"] = bare_crops(seconds / 2)
    mien_command = str(Path(sys.executable).parent / "mien")
    with Served([mien_command, "serve", "--log-level", "error", "--rate-per-s", "0", *arguments.option]) as mien:
        report["ready_s"] = mien.ready_s
        report["mien_crops"] = both(mien, "/classify?already_cropped=true", crops, seconds)
        report["bare_crops_again"] = bare_crops(seconds / 2)
        report["bare_pictures"] = bare_pictures(pictures, seconds / 2)
        report["mien_pictures"] = both(mien, "/retrieve", pictures, seconds)
        report["bare_pictures_again"] = bare_pictures(pictures, seconds / 2)
        if arguments.soak:
            rate = 2 * report["mien_crops"]["closed"]["answers_per_s"]
            report["soak"] = soak(mien, "/classify?already_cropped=true", crops, rate, arguments.soak)
    plain = str(Path(__file__).parent / "plain.py")
    with Served([plain, "serve"]) as other:
        report["plain_crops"] = both(other, "/classify?already_cropped=true", crops, seconds, overload=False)
        report["plain_pictures"] = both(other, "/classify", pictures, seconds, overload=False)
    if arguments.fer:
        with Served([str(Path(__file__).parent / "fer_app.py"), "serve"], python=arguments.fer) as other:
            report["fer_crops"] = both(other, "/classify?already_cropped=true", crops, seconds, overload=False)
            report["fer_pictures"] = both(other, "/classify", pictures, seconds, overload=False)
    report["load_after"] = os.getloadavg()
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def payloads(photographs: list[Path]) -> tuple[list[bytes], list[bytes]]:
    """Face crops as JPEG of 48 to 224 pixels, and photographs of 640x480 with one face."""
    pipeline = load_pipeline(default_bundle() / "embedder.onnx", threads=1, provider="cpu")
    crops, pictures = [], []
    for number, path in enumerate(photographs):
        with Image.open(path) as opened:
            photograph = opened.convert("RGB")
        side = max(photograph.size)
        picture = Image.new("RGB", (640, 480), (90, 120, 150))
        scaled = photograph.resize((480 * photograph.width // side, 480 * photograph.height // side))
        picture.paste(scaled, ((640 - scaled.width) // 2, 0))
        pictures.append(_jpeg(picture))
        x, y, width, height = pipeline.faces(np.asarray(photograph))[0].box
        crop_px = (48, 96, 160, 224)[number % 4]
        crops.append(
            _jpeg(photograph.crop((int(x), int(y), int(x + width), int(y + height))).resize((crop_px, crop_px)))
        )
    return crops, pictures


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def bare_crops(seconds: float) -> dict[str, Any]:
    """Faces per second of the network alone, at the best batch size and the better of two ways to use the cores."""
    path, cores = default_bundle() / "embedder.onnx", os.cpu_count() or 1
    figures = []
    for threads, loops in {(cores, 1), (1, cores)}:
        embedder = Embedder(path, threads=threads, provider="cpu")
        for batch in BATCHES:
            faces = np.random.default_rng(0).integers(0, 256, (batch, 48, 48), dtype=np.uint8)
            rate, cpu_ms = _loops(lambda: embedder.embed(faces), loops, seconds / len(BATCHES) / 2)  # noqa: B023
            figures.append(
                {
                    "threads": threads,
                    "loops": loops,
                    "batch": batch,
                    "faces_per_s": rate * batch,
                    "cpu_ms": cpu_ms / batch,
                }
            )
    return max(figures, key=lambda figure: figure["faces_per_s"]) | {
        "least_cpu_ms": min(figure["cpu_ms"] for figure in figures)
    }


def bare_pictures(pictures: list[bytes], seconds: float) -> dict[str, float]:
    """Photographs per second of decode, detect, align, embed and search in a plain loop on every core."""
    bundle = load_bundle(default_bundle())
    pipeline = load_pipeline(bundle.embedder_path, threads=1, provider="cpu")
    count = iter(range(10**9))

    def one() -> None:
        picture = pictures[next(count) % len(pictures)]
        faces = pipeline.faces(decode(picture))
        embeddings = pipeline.embedder.embed(np.stack([face.crop for face in faces]))
        bundle.mixture.distances(embeddings)
        bundle.gallery.search(embeddings, 10)

    rate, cpu_ms = _loops(one, os.cpu_count() or 1, seconds)
    return {"pictures_per_s": rate, "cpu_ms": cpu_ms}


def _loops(work: Callable[[], object], loops: int, seconds: float) -> tuple[float, float]:
    """Runs per second of ``work`` in as many threads as ``loops``, and CPU milliseconds of each."""
    work()
    done = [0] * loops
    end = time.monotonic() + seconds

    def loop(number: int) -> None:
        search_single_threaded()
        while time.monotonic() < end:
            work()
            done[number] += 1

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(loops)]
    began, cpu = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - began), (time.process_time() - cpu) * 1000 / max(1, sum(done))


class Served:
    """A server in a process of its own."""

    def __init__(self, command: list[str], python: Path | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [str(python or sys.executable), *command, "--port", str(self.port)]

    def __enter__(self) -> "Served":
        began = time.monotonic()
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        while True:
            try:
                if asyncio.run(_once(self.port, b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")) == 200:
                    break
            except OSError:
                if self._process.poll() is not None:
                    raise SystemExit(f"{self._command} ended") from None
            time.sleep(0.02)
        self.ready_s = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def cpu_s(self) -> float:
        """CPU seconds of the process."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """Memory of the process."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def both(server: Served, path: str, files: list[bytes], seconds: float, *, overload: bool = True) -> dict[str, Any]:
    """The highest rate, then latencies at 70 % of it, then twice of it."""
    requests = [_request(path, file) for file in files]
    drive(server, requests, None, 1.0)
    cpu = server.cpu_s()
    closed = drive(server, requests, None, seconds)
    highest = closed["answers_per_s"]
    closed["cpu_ms"] = (server.cpu_s() - cpu) * 1000 / max(1, closed["statuses"].get("200", 0))
    found = {"closed": closed, "at_70_percent": drive(server, requests, 0.7 * highest, seconds)}
    if overload:
        found["at_200_percent"] = drive(server, requests, 2 * highest, seconds)
    return found


def soak(server: Served, path: str, files: list[bytes], rate: float, seconds: float) -> dict[str, Any]:
    """Memory under twice the highest rate, after the first minute and at the end."""
    requests = [_request(path, file) for file in files]
    drive(server, requests, rate, min(60.0, seconds / 2))
    first = server.resident_mb()
    result = drive(server, requests, rate, seconds - min(60.0, seconds / 2))
    return {"resident_mb_first": first, "resident_mb_last": server.resident_mb(), "statuses": result["statuses"]}


def drive(server: Served, requests: list[bytes], rate: float | None, seconds: float) -> dict[str, Any]:
    """Send from a process of its own; ``rate`` None keeps ``CONNECTIONS`` busy in a closed loop."""
    job = json.dumps({"port": server.port, "rate": rate, "seconds": seconds, "requests": [r.hex() for r in requests]})
    done = subprocess.run(  # noqa: S603
        [sys.executable, __file__, "drive"], input=job, stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _request(path: str, file: bytes) -> bytes:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + file + b"\r\n--b--\r\n"
    )
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Taken:
    """What came back."""

    latencies: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


class _Connection(asyncio.Protocol):
    """One request at a time, as little Python as can be: the generator shares the cores with the server."""

    def __init__(self) -> None:
        self.waiting: asyncio.Future[int] | None = None
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if end and len(body) >= int(length or b"0") and self.waiting is not None:
            status, waiting = int(head[9:12]), self.waiting
            self._came, self.waiting = b"", None
            if not waiting.done():
                waiting.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(0)

    async def ask(self, request: bytes) -> int:
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.waiting


async def _once(port: int, request: bytes) -> int:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
    try:
        return await asyncio.wait_for(connection.ask(request), 5)
    finally:
        connection.transport.close()


async def _drive(port: int, rate: float | None, seconds: float, requests: list[bytes]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    taken, idle, tasks = Taken(), list[_Connection](), set[asyncio.Task[None]]()

    async def one(request: bytes, meant: float) -> None:
        while idle and idle[-1].transport.is_closing():
            idle.pop()  # the server lets go of connections that were idle for some seconds
        connection = idle.pop() if idle else (await loop.create_connection(_Connection, "127.0.0.1", port))[1]
        status = await connection.ask(request)
        waited = loop.time() - meant
        taken.statuses[str(status)] += 1
        (taken.latencies if status == 200 else taken.refused).append(waited)
        if status and not connection.transport.is_closing():
            idle.append(connection)

    began = loop.time()
    end = began + seconds
    if rate is None:

        async def busy(number: int) -> None:
            while loop.time() < end:
                number += CONNECTIONS
                await one(requests[number % len(requests)], loop.time())

        await asyncio.gather(*(busy(number) for number in range(CONNECTIONS)))
    else:
        chance = random.Random(0)  # noqa: S311
        meant = began
        number = 0
        while meant < end:
            meant += chance.expovariate(rate)
            number += 1
            await asyncio.sleep(max(0.0, meant - loop.time()))
            task = asyncio.create_task(one(requests[number % len(requests)], meant))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    took = loop.time() - began
    return {
        "rate": rate,
        "answers_per_s": len(taken.latencies) / took,
        "statuses": dict(taken.statuses),
        "ms": _percentiles(taken.latencies),
        "refused_ms": _percentiles(taken.refused),
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    parts = statistics.quantiles(seconds, n=1000, method="inclusive")
    return {f"p{name}": round(parts[at - 1] * 1000, 2) for name, at in (("50", 500), ("90", 900), ("99", 990))}


if __name__ == "__main__":
    if sys.argv[1:] == ["drive"]:
        job = json.loads(sys.stdin.read())
        job["requests"] = [bytes.fromhex(request) for request in job["requests"]]
        sys.stdout.write(json.dumps(asyncio.run(_drive(**job))))
    else:
        main()

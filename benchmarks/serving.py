"""Start time, memory and single-caller latency of ``mien serve``.

    python benchmarks/serving.py PHOTOGRAPH [--requests 200] [--runs 5]

Starts the server as a user would, once per run, and prints the median and range over the runs of

- ready: seconds from the start of the process to the first 200 of /health/ready
- resident: MB of the process, once ready and after all requests
- classify, retrieve: milliseconds of one request at a time, median of a run

The operating system's file cache is warm except in the first run.
"""

import argparse
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2


@dataclass(frozen=True)
class Run:
    """The figures of one server."""

    ready_s: float
    resident_ready_mb: float
    resident_after_mb: float
    classify_ms: float
    retrieve_ms: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--requests", type=int, default=200, help="Requests of each kind in a run.")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    photograph = arguments.photograph.read_bytes()
    runs = [measure(photograph, arguments.requests) for _ in range(arguments.runs)]
    for name in Run.__dataclass_fields__:
        values = sorted(getattr(run, name) for run in runs)
        sys.stdout.write(f"{name:20} {statistics.median(values):8.2f}   ({values[0]:.2f} to {values[-1]:.2f})\n")


def measure(photograph: bytes, requests: int) -> Run:
    """Start a server, send it requests, stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603
        [Path(sys.executable).parent / "mien", "serve", "--port", str(port), "--log-level", "error"],
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx2.Client(base_url=url, timeout=60) as client:
            while not _is_ready(client):
                time.sleep(0.01)
            ready_s = time.monotonic() - began
            resident_ready = _resident_mb(process.pid)
            waits = {path: [_ask_ms(client, path, photograph) for _ in range(requests)] for path in PATHS}
            return Run(
                ready_s,
                resident_ready,
                _resident_mb(process.pid),
                *(statistics.median(waits[path]) for path in PATHS),
            )
    finally:
        process.terminate()
        process.wait()


PATHS = ("/classify", "/retrieve")


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def _ask_ms(client: httpx2.Client, path: str, photograph: bytes) -> float:
    began = time.monotonic()
    client.post(path, files={"image": photograph}).raise_for_status()
    return (time.monotonic() - began) * 1000


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return int(kilobytes) / 1024


if __name__ == "__main__":
    main()

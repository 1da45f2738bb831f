"""The service on a socket: in a thread of this process, or as ``mien serve`` in another."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import httpx2
import uvicorn

from tests.support.data import ROOT
from tests.support.waiting import wait_until

MIEN: Final = str(Path(sys.executable).parent / "mien")
"""The command."""


def environment_without_settings() -> dict[str, str]:
    """The environment, without the variables that configure mien."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MIEN_")}


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def served_app(app: Any, **options: Any) -> Iterator[str]:
    """The address of an ASGI app, which a thread serves; options are those of ``uvicorn.Config``."""
    with served_by_uvicorn(uvicorn.Config(app, **{"log_level": "warning", "ws": "none", **options})) as url:
        yield url


@contextmanager
def served_by_uvicorn(config: uvicorn.Config) -> Iterator[str]:
    """The address of what is configured, served by a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_until(lambda: server.started or not thread.is_alive())
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@dataclass(frozen=True)
class ServedProcess:
    """A running ``mien serve``, and the file that its log goes to."""

    url: str
    process: "subprocess.Popen[bytes]"
    log_file: IO[bytes]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def status(self) -> int | None:
        """The status that readiness is answered with, or None without an answer."""
        try:
            return httpx2.get(f"{self.url}/health/ready").status_code
        except httpx2.TransportError:
            return None

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the service does; fail when it ends before."""

        def happened() -> bool:
            assert self.process.poll() is None, f"the service ended: {self.log()}"
            return condition()

        wait_until(happened, 120, pause_s=0.05)

    def terminate(self) -> int:
        """Tell it to end, as an operator does, and wait; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def log(self) -> str:
        """What it wrote to its standard error so far."""
        self.log_file.seek(0)
        return self.log_file.read().decode()


@contextmanager
def served_process(*options: str | Path, **settings: str) -> Iterator[ServedProcess]:
    """A service once it is ready; options are those of ``mien serve``, settings are environment variables."""
    (port,) = free_ports(1)
    with tempfile.TemporaryFile() as log_file:  # a pipe that nothing reads would fill up and block the service
        process = subprocess.Popen(
            [MIEN, "serve", "--port", str(port), *options],
            stdout=subprocess.DEVNULL,
            stderr=log_file,
            env=environment_without_settings() | settings,
            cwd=ROOT,
        )
        served = ServedProcess(f"http://127.0.0.1:{port}", process, log_file)
        try:
            served.wait_until(lambda: served.status() == 200)
            yield served
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

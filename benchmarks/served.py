"""Servers that are measured: started in processes of their own, with their CPU time and memory."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from generator import status_of


class Served:
    """A server in one or several processes."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        ready: str = "/health/ready",
        address: str = "{}",
        folder: Path | None = None,
    ) -> None:
        """Describe a server, which runs inside a ``with`` block.

        Args:
            command: starts it, followed by the free port in ``address``.
            environment: variables in addition to those of this process.
            ready: the path that answers 200 once it serves.
            address: how the port is given.
            folder: the working directory; None takes that of this process.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._command = [*command, address.format(self.port)]
        self._environment = os.environ | (environment or {})
        self._ready = f"GET {ready} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        self._folder = folder

    def __enter__(self) -> Self:
        began = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603
            self._command,
            env=self._environment,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            try:
                status = asyncio.run(status_of(self.port, self._ready))
                if status == 200:
                    break
                if 400 <= status < 500:
                    raise SystemExit(f"{self._command} refuses the question whether it is ready: {status}")
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
        """CPU seconds of the process and those it started, also of those that have ended."""
        ticks = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """Memory of the process and those it started; pages that several share, such as libraries, count once."""
        rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii") for pid in self._pids())
        return sum(int(rollup.partition("\nPss:")[2].split()[0]) for rollup in rollups) / 1024

    def _pids(self) -> list[int]:
        pids = [self._process.pid]
        for pid in pids:  # grows as it goes; a process may be started by any thread
            with suppress(FileNotFoundError, ProcessLookupError):  # the process or the thread has ended
                for task in Path(f"/proc/{pid}/task").iterdir():
                    pids += map(int, (task / "children").read_text(encoding="ascii").split())
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def mien(options: Sequence[str], checkout: Path | None = None) -> Served:
    """The service, without its rate limit.

    Args:
        options: of ``mien serve``.
        checkout: a checkout of the project whose code is served; None serves the code of this one.
    """
    command = [sys.executable, "-m", "mien", "serve", "--log-level", "error", "--rate-per-s", "0", *options, "--port"]
    if checkout is None:
        return Served(command)
    return Served(command, {"PYTHONPATH": str(checkout.resolve())}, folder=checkout)

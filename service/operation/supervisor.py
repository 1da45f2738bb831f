"""Supervisor of several processes that serve from one socket: starts them, and replaces those that die."""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from mien.model.errors import MienError
from mien.service.commands.terminal import console
from mien.service.operation.metrics import SHARED_FOLDER
from mien.service.settings import Settings

COULD_NOT_START: Final = 3
"""Exit status of a process that could not start, as of uvicorn: it is not started again."""

RESTART_AFTER_S: Final = 0.5
"""Seconds between the end of a process and the start of its replacement."""

ServeOne = Callable[[Settings, socket.socket | None], None]


def serve_in_processes(settings: Settings, serve_one: ServeOne) -> int:
    """Serve in ``settings.processes`` processes until a signal to stop; one that dies is replaced.

    SIGHUP is passed on to all of them.

    Returns:
        0, or 1 when a process could not start.
    """
    with (
        socket.create_server((settings.host, settings.port), backlog=2048, family=_family(settings.host)) as listening,
        tempfile.TemporaryDirectory(prefix="mien-metrics-") as metrics,
    ):
        os.environ[SHARED_FOLDER] = metrics
        if sys.stderr.isatty():  # elsewhere each process says it in its log
            address = address_of(settings.host, listening.getsockname()[1])
            console.print(f"mien serves {address} in {settings.processes} processes; Ctrl+C stops them")
        return _Supervisor(settings, serve_one, listening).run()


class _Supervisor:
    def __init__(self, settings: Settings, serve_one: ServeOne, listening: socket.socket) -> None:
        self._settings = settings
        self._serve_one = serve_one
        self._listening = listening
        self._context = multiprocessing.get_context("spawn")
        self._running: set[SpawnProcess] = set()
        self._stopping = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._forward)
        for _ in range(self._settings.processes):
            self._start()
        failed = False
        while self._running:
            wait([process.sentinel for process in self._running], timeout=1.0)
            for process in [process for process in self._running if not process.is_alive()]:
                self._running.remove(process)
                mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
                if self._stopping:
                    continue
                if process.exitcode == COULD_NOT_START:
                    failed = True
                    self._stop(signal.SIGTERM, None)
                    continue
                console.print(f"mien: a process ended ({process.exitcode}), another one is started", markup=False)
                time.sleep(RESTART_AFTER_S)
                self._start()
        return int(failed)

    def _start(self) -> None:
        process = self._context.Process(target=_run_process, args=(self._serve_one, self._settings, self._listening))
        process.start()
        self._running.add(process)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._stopping = True
        self._forward(signal.SIGTERM if number == signal.SIGINT else number, None)

    def _forward(self, number: int, _: FrameType | None) -> None:
        for process in self._running:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, number)


def _run_process(serve_one: ServeOne, settings: Settings, listening: socket.socket) -> None:
    """Main function of each process."""
    try:
        serve_one(settings, listening)
    except MienError as error:
        console.print(f"mien serve: {error}", style="red", markup=False)
        sys.exit(COULD_NOT_START)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address_of(host: str, port: int) -> str:
    """The address of a service, as it is typed into a browser."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

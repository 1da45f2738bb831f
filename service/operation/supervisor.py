"""Supervisor of several processes that serve from one socket: starts them, and replaces those that die."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from mien.model.errors import ConfigError, MienError
from mien.service.commands.terminal import console
from mien.service.operation import logs
from mien.service.operation.metrics import SHARED_FOLDER
from mien.service.settings import Settings

COULD_NOT_START: Final = 3
"""Exit status of a process that could not start, as of uvicorn. One of the first ends the service; the replacement of
one that served is tried again, as the others go on serving."""

RESTART_AFTER_S: Final = 0.5
"""Seconds between the end of a process and the start of its replacement."""

RESTART_AFTER_AT_MOST_S: Final = 30.0
"""The wait doubles up to this while processes end before they have lived for ``LIVED_S``."""

LIVED_S: Final = 20.0
"""A process that ends sooner counts as one that died at its start."""

_STOP_S: Final = 15.0
"""Seconds to close the gallery, beyond those of the last requests, before a process without its parent is killed."""

SHARED_FILES: Final = ("counter", "histogram", "gauge_livesum", "gauge_livemax")
"""The files in which a process shares its metrics, each with ``_PID.db`` after its name."""

_SHARED_FILE_BYTES: Final = 512 * 1024
"""More than all labels take: prometheus-client maps the file, and would let it grow without asking for the space."""

_log = logging.getLogger("mien.supervisor")

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
        logs.configure(settings.log_level)
        os.environ[SHARED_FOLDER] = metrics
        if sys.stderr.isatty():  # elsewhere each process says it in its log
            address = address_of(settings.host, listening.getsockname()[1])
            console.print(f"mien serves {address} in {settings.processes} processes; Ctrl+C stops them")
        return _Supervisor(settings, serve_one, listening).run()


@dataclass(frozen=True)
class _Start:
    """When a process was started, by the monotonic clock, and whether in the place of another."""

    at: float
    replaces: bool


class _Supervisor:
    def __init__(self, settings: Settings, serve_one: ServeOne, listening: socket.socket) -> None:
        self._settings = settings
        self._serve_one = serve_one
        self._listening = listening
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[SpawnProcess, _Start] = {}
        self._due: list[float] = []  # when replacements are to be started
        self._wait_s = RESTART_AFTER_S
        self._stopping = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._forward)
        for _ in range(self._settings.processes):
            self._start(replaces=False)
        failed = False
        while self._running or (self._due and not self._stopping):
            wait([process.sentinel for process in self._running], timeout=self._until_next_start_s())
            for process, start in list(self._running.items()):
                if process.is_alive():
                    continue
                del self._running[process]
                mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
                if self._stopping:
                    continue
                if process.exitcode == COULD_NOT_START and not start.replaces:
                    failed = True
                    self._stop(signal.SIGTERM, None)
                    continue
                self._replace(process, time.monotonic() - start.at)
            while self._due and self._due[0] <= time.monotonic() and not self._stopping:
                self._due.pop(0)
                self._start(replaces=True)
        return int(failed)

    def _replace(self, process: SpawnProcess, lived_s: float) -> None:
        """Plan the start of another process: soon, or later and later while they die at their start."""
        if lived_s >= LIVED_S:
            self._wait_s = RESTART_AFTER_S
        else:
            _remove_shared_files(process)
        wait_s = self._wait_s
        self._wait_s = min(2 * wait_s, RESTART_AFTER_AT_MOST_S)
        self._due = sorted([*self._due, time.monotonic() + wait_s])
        _log.warning(
            "a process ended (%s) after %.0f s, another one is started in %g s", process.exitcode, lived_s, wait_s
        )

    def _until_next_start_s(self) -> float:
        return max(0.0, min(1.0, self._due[0] - time.monotonic())) if self._due else 1.0

    def _start(self, *, replaces: bool) -> None:
        process = self._context.Process(target=_run_process, args=(self._serve_one, self._settings, self._listening))
        # Until it can reload, a process keeps SIGHUP pending: by default the signal would end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        self._running[process] = _Start(time.monotonic(), replaces)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._stopping = True
        self._forward(signal.SIGTERM if number == signal.SIGINT else number, None)

    def _forward(self, number: int, _: FrameType | None) -> None:
        for process in list(self._running):
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, number)


def _run_process(serve_one: ServeOne, settings: Settings, listening: socket.socket) -> None:
    """Main function of each process."""
    longest_s = settings.drain_s + settings.timeout_s + _STOP_S
    threading.Thread(target=_end_with_parent, args=(longest_s,), daemon=True, name="end with parent").start()
    try:
        _allocate_shared_files(Path(os.environ[SHARED_FOLDER]))
        serve_one(settings, listening)
    except MienError as error:
        with suppress(OSError):  # a full disk
            console.print(f"mien serve: {error}", style="red", markup=False)
        sys.exit(COULD_NOT_START)


def _allocate_shared_files(folder: Path) -> None:
    """Give the metrics of this process their space: on a full disk, a write to a mapped file would end it (SIGBUS).

    Raises:
        ConfigError: there is no space.
    """
    try:
        for name in SHARED_FILES:
            with (folder / f"{name}_{os.getpid()}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, _SHARED_FILE_BYTES)
    except OSError as error:
        wanted = len(SHARED_FILES) * _SHARED_FILE_BYTES
        raise ConfigError(
            f"the temporary folder {folder.parent} must have {wanted} free bytes for the metrics of each process "
            f"({error.strerror}): free some, or name another folder in TMPDIR"
        ) from None


def _remove_shared_files(process: SpawnProcess) -> None:
    """Remove the metrics of a process that died at its start, so that they do not fill the folder."""
    for name in SHARED_FILES:
        Path(os.environ[SHARED_FOLDER], f"{name}_{process.pid}.db").unlink(missing_ok=True)


def _end_with_parent(longest_s: float) -> None:
    """Stop this process once the supervisor has ended, however it ended; kill it if it does not stop.

    Without it, the processes of a killed supervisor would keep the port.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(longest_s)
    os.kill(os.getpid(), signal.SIGKILL)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address_of(host: str, port: int) -> str:
    """The address of a service, as it is typed into a browser."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

"""The processes that read the faces of pictures: one per core, limited, and replaced when they end.

A thread cannot be ended, a process can. Whoever stops waiting for a picture, as at the end of the time that an answer
may take, ends the process that works on it, and another one takes its place. The program is
``mien.model.faces.worker``.
"""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import ImageError
from mien.model.faces.reader import Face
from mien.model.faces.sandboxed_reader import PROGRAM, cause_of_end
from mien.model.faces.worker import WorkerOptions, image_error, unpack_faces
from mien.model.sandbox import message_head, start_program
from mien.service.errors import NotReadyError
from mien.service.inference.turns import Turns
from mien.service.operation.logs import FIELDS
from mien.service.operation.metrics import Metrics

if TYPE_CHECKING:
    from mien.service.settings import Settings

FAILED_STARTS: Final = 3
"""After so many processes that ended while they started, one after the other, the pool counts as broken."""

MAX_PAUSE_S: Final = 10.0
"""Longest pause before the next process is started, after those that ended while they started."""

READY_S: Final = 60.0
"""A process that is not ready by then is ended."""

Result = TypeVar("Result")

_log = logging.getLogger("mien.readers")


class ReaderProcess:
    """One process. Belongs to one event loop."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = start_program(PROGRAM, stdin=theirs)
        self._socket = ours
        self._socket.settimeout(0)

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    async def ask(self, header: Mapping[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Send a message, and return the reply.

        Raises:
            EOFError: the process ends.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._socket, message_head(header, len(body)))
            await loop.sock_sendall(self._socket, body)
            length = int.from_bytes(await self._receive(4), "big")
            reply: dict[str, Any] = json.loads(await self._receive(length))
            return reply, await self._receive(reply["bytes"])
        except OSError as error:
            raise EOFError(str(error)) from None

    async def _receive(self, count: int) -> bytes:
        loop, parts = asyncio.get_running_loop(), []
        while count:
            part = await loop.sock_recv(self._socket, count)
            if not part:
                raise EOFError("the process has ended")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    async def end(self) -> int:
        """Kill it if it still runs; returns its exit status."""
        self._socket.close()
        self._process.kill()
        return await asyncio.to_thread(self._process.wait)


class ReaderPool:
    """The processes of a service. Belongs to one event loop, from the first picture to ``stop``.

    Attributes:
        size: the most processes at once. ``start`` starts the first; another one is started when all of them work and
            a picture waits.
    """

    def __init__(self, size: int, settings: "Settings", metrics: Metrics) -> None:
        """A pool without processes yet.

        Args:
            size: the most processes at once.
            settings: the detector, and the limits of a picture.
            metrics: record the time of each stage.
        """
        self.size = size
        self._metrics = metrics
        self._options = WorkerOptions(
            detector=None if settings.detector is None else str(settings.detector.absolute()),
            max_faces=settings.max_faces,
            limits=settings.decoding_limits.model_dump(),
            max_cpu_s=settings.max_image_cpu_s,
        )
        self._turns = Turns(size)
        self._idle: asyncio.LifoQueue[ReaderProcess] = asyncio.LifoQueue()
        self._running: set[ReaderProcess] = set()
        self._outdated: set[ReaderProcess] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._wanted = 0
        self._failed_starts = 0
        self._stopping = False

    async def start(self) -> None:
        """Start the first process, and wait until it is ready, or could not start."""
        self._start_one()
        while self._starting and not self._running and not self._failed_starts:
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """End all processes."""
        self._stopping = True
        for task in self._starting:
            task.cancel()
        for process in list(self._running):
            self._do(self._end(process), self._ending)
        while tasks := self._starting | self._ending:
            await asyncio.gather(*tasks, return_exceptions=True)

    def renew(self) -> None:
        """Replace each process before its next picture: the file of the detector may have changed."""
        self._outdated |= self._running

    def pids(self) -> list[int]:
        """The ids of the processes that are ready or work."""
        return [process.pid for process in self._running]

    @property
    def is_busy(self) -> bool:
        """Whether every process that is ready works on a picture."""
        return self._idle.empty()

    def check_ready(self) -> None:
        """Check that pictures can be read.

        Raises:
            NotReadyError: the processes end while they start.
        """
        if self._failed_starts >= FAILED_STARTS and not self._running:
            raise NotReadyError("the processes that read pictures do not start; the log says why")

    async def read_faces(self, data: bytes, **options: bool | int) -> list[Face]:
        """Read the faces of a picture; cancelled, it ends the process that works on it.

        Args:
            data: the file.
            options: of ``FaceReader.read_faces``.

        Returns:
            Its faces, largest first.

        Raises:
            ImageError: the picture cannot be used, has no face, or takes more memory or CPU time than it may.
            NotReadyError: the processes do not start.
        """
        return await self._ask({"options": options}, data, lambda reply, body: unpack_faces(reply["faces"], body))

    async def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a picture, such as a frame of a camera, to (h, w, 3) uint8 RGB; errors as of ``read_faces``."""
        return await self._ask(
            {"decode": True}, data, lambda reply, body: np.frombuffer(body, np.uint8).reshape(*reply["shape"], 3)
        )

    async def _ask(
        self, request: Mapping[str, Any], data: bytes, unpack: Callable[[dict[str, Any], bytes], Result]
    ) -> Result:
        """What ``unpack`` makes of the reply of a process."""
        async with self._turns.turn():
            process = await self._take()
            is_intact = False
            try:
                reply, body = await process.ask(request, data)
                if "bug" in reply:
                    raise RuntimeError(reply["bug"])
                result = image_error(reply["error"], reply["detail"]) if "error" in reply else unpack(reply, body)
                is_intact = not reply["last"]
            except EOFError:
                self._running.discard(process)
                raise self._cause(await process.end()) from None
            finally:
                if is_intact:
                    self._idle.put_nowait(process)
                else:
                    self._replace(process)
        for stage, began_ns, seconds in reply["times"]:
            self._metrics.record(stage, began_ns, seconds)
        if isinstance(result, ImageError):
            raise result
        return result

    async def _take(self) -> ReaderProcess:
        """An idle process, once there is one."""
        while True:
            if self._idle.empty() and self._wanted < self.size:
                self._start_one()
            self.check_ready()
            process = await self._idle.get()
            if not process.has_ended and process not in self._outdated:
                return process
            self._replace(process)

    def _start_one(self) -> None:
        self._wanted += 1
        self._do(self._start_process(), self._starting)

    def _replace(self, process: ReaderProcess) -> None:
        """End a process, and start another one at once."""
        self._wanted -= 1
        self._do(self._end(process), self._ending)
        if not self._stopping:
            self._start_one()

    async def _end(self, process: ReaderProcess) -> None:
        self._running.discard(process)
        self._outdated.discard(process)
        await process.end()

    async def _start_process(self) -> None:
        """Start a process, after a pause where the last ones ended while they started, and again until it is ready."""
        while True:
            if self._failed_starts:
                await asyncio.sleep(min(MAX_PAUSE_S, 0.1 * 2**self._failed_starts))
            process = ReaderProcess()
            try:
                async with asyncio.timeout(READY_S):
                    reply, _ = await process.ask({"options": self._options})
                reason = reply.get("failed")
            except (EOFError, TimeoutError) as error:
                reason = str(error) or f"not ready after {READY_S:g} s"
            except BaseException:
                self._do(self._end(process), self._ending)
                raise
            if reason is None:
                self._failed_starts = 0
                self._running.add(process)
                self._idle.put_nowait(process)
                return
            self._failed_starts += 1
            status = await process.end()
            _log.error("a reader of pictures does not start", extra={FIELDS: {"reason": reason, "status": status}})

    def _do(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _cause(self, status: int) -> Exception:
        """Why a picture ended its process."""
        if self._stopping:
            return NotReadyError("mien is stopping")
        if status != -signal.SIGPROF:
            _log.warning("a picture ended its reader", extra={FIELDS: {"status": status}})
        return cause_of_end(status, self._options["max_cpu_s"])

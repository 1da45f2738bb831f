"""The runtime of a service: the engine that is loaded now, the threads it runs in, and admission to both."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from mien.index.deadline import DEADLINE_S
from mien.index.errors import GalleryError
from mien.model.container import memory_limit_bytes, usable_cores
from mien.model.errors import MienError
from mien.service.errors import NotReadyError, ReloadError, TooLateError
from mien.service.inference.admission import Admission
from mien.service.inference.engine import Engine, load_engine
from mien.service.inference.lanes import Lanes
from mien.service.inference.queue import LoadedEngine
from mien.service.inference.reader_pool import ReaderPool
from mien.service.inference.worker_pool import Priority, WorkerPool
from mien.service.operation.logs import FIELDS
from mien.service.operation.metrics import resident_bytes
from mien.service.settings import Settings

BROKEN_AFTER: Final = 3
"""Batches that fail one after the other before the network counts as broken."""

GAUGES_EVERY_S: Final = 5.0
"""Seconds between two updates of the gauges."""

SERVICE_BYTES: Final = 1 << 30
"""Memory that is left to the service itself where its container has a limit."""

READER_BYTES: Final = 1 << 29
"""Memory for each process that reads pictures: what a large photograph takes."""

_log = logging.getLogger("mien.runtime")


def workers_that_fit() -> int:
    """One worker for each usable core, but no more than the memory of the container is enough for."""
    limit = memory_limit_bytes()
    fit = usable_cores() if limit is None else (limit - SERVICE_BYTES) // READER_BYTES
    return max(1, min(usable_cores(), fit))


class Runtime:
    """Runs one engine after the other. Belongs to one event loop, from ``start`` to ``stop``.

    Attributes:
        settings: of the service.
        metrics: of the service.
        admission: how much is worked on at once.
        pool: the threads that do the work.
        readers: the processes that read pictures.
        lanes: other work than images.
        stopping: set when no new requests are accepted: long answers come to an end.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """Start with ``engine``."""
        self.settings = settings
        self.metrics = engine.metrics
        self.admission = Admission(settings)
        self.pool = WorkerPool(settings.workers or workers_that_fit())
        self.readers = ReaderPool(len(self.pool), settings, self.metrics)
        self.lanes = Lanes(self.pool, self.admission, settings.timeout_s)
        self.stopping = asyncio.Event()
        self._loaded = self._load(engine)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accepting = False
        self._reloading = asyncio.Lock()
        self._next_reload: asyncio.Task[Engine] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the threads, and accept requests."""
        self.pool.start()
        self._loop = asyncio.get_running_loop()
        self._run_beside(self._update_gauges_regularly())
        self._run_beside(self._label_gallery())
        self._accepting = True

    async def stop(self) -> None:
        """Finish what waits, and end the threads and processes."""
        self.drain()
        for task in self._tasks:
            task.cancel()
        await self.readers.stop()
        await asyncio.to_thread(self.lanes.stop)
        await asyncio.to_thread(self.pool.stop, self.settings.timeout_s)

    def drain(self) -> None:
        """Accept no new requests, and finish those there are. From any thread, or a signal handler."""
        self._accepting = False
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stopping.set)

    @property
    def engine(self) -> Engine:
        """The engine that is loaded now."""
        return self._loaded.engine

    def loaded(self) -> LoadedEngine:
        """The engine that answers a new request.

        Raises:
            NotReadyError: the service is starting or stopping.
        """
        if not self._accepting:
            raise NotReadyError("mien is starting or stopping")
        return self._loaded

    async def check_ready(self) -> None:
        """Check that requests are answered; after several failures of the network, run it once.

        Raises:
            NotReadyError: they are not.
        """
        loaded = self.loaded()
        try:
            loaded.engine.gallery.check_open()
        except GalleryError:
            raise NotReadyError("mien's gallery is not there any more") from None
        self.readers.check_ready()
        stuck_s = self.pool.stuck_s
        if stuck_s > self.settings.timeout_s:
            raise NotReadyError(f"every thread of mien has been at work on one job for {stuck_s:.0f} s")
        if loaded.failures < BROKEN_AFTER:
            return
        try:
            await self.pool.run(Priority.ANSWER, loaded.engine.warm_up)
        except Exception:  # noqa: BLE001  whatever the network fails with
            raise NotReadyError("mien's network fails") from None
        loaded.failures = 0

    @asynccontextmanager
    async def admit(self, images: int) -> AsyncIterator[None]:
        """Admit a request: hold its images, and bound the time of its answer, inside an ``async with`` block.

        Raises:
            QueueFullError: there are too many images with them.
            TooLateError: the block took longer than an answer may.
        """
        with self.admission.images.hold(images):
            longest_s, deadline_s = self.settings.timeout_s, DEADLINE_S.get()
            timeout = asyncio.timeout(longest_s if deadline_s is None else deadline_s - time.monotonic())
            try:
                async with timeout:
                    yield
            except TimeoutError:
                if not timeout.expired():
                    raise
                raise TooLateError(f"an answer may take {longest_s:g} s, this one would have taken longer") from None

    async def reload(self) -> Engine:
        """Load the bundle of the settings again, and answer new requests from it; the others keep the old one.

        Calls that come while a bundle is being loaded share the next load: any number costs two.

        Raises:
            ReloadError: it cannot be used; the old one is still served.
        """
        if self._next_reload is None:
            self._next_reload = asyncio.create_task(self._reload())
        return await asyncio.shield(self._next_reload)  # a caller who has gone does not end it for the others

    async def _reload(self) -> Engine:
        async with self._reloading:
            self._next_reload = None  # the files are read from now on: who comes later may mean others
            gallery = None if self.engine.serves_shipped else self.engine.gallery
            try:
                engine = await asyncio.to_thread(load_engine, self.settings, self.metrics, gallery)
            except Exception as error:  # noqa: BLE001  whatever a bundle with absurd content makes its parts fail with
                self.metrics.reloads.labels("failed").inc()
                _log.exception("the bundle cannot be reloaded", extra={FIELDS: {"reason": str(error)}})
                reason = error if isinstance(error, MienError) else f"its parts fail ({type(error).__name__})"
                raise ReloadError(f"the old bundle is served on: {reason}") from None
            self._loaded = self._load(engine)
            self.readers.renew()
            gc.unfreeze()  # the old bundle may go
            self._run_beside(self._label_gallery())
            self.metrics.reloads.labels("done").inc()
            _log.info("reloaded", extra={FIELDS: {"faces": len(engine.bundle.gallery)}})
            return engine

    def reload_on_hangup(self) -> None:
        """Reload at each SIGHUP."""
        tasks: set[asyncio.Task[None]] = set()

        async def reload() -> None:
            with suppress(ReloadError):  # logged by reload
                await self.reload()

        def on_hangup() -> None:
            task = asyncio.create_task(reload())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # blocked while the bundle was loaded

    def update_gauges(self) -> None:
        """Set the metrics that are read, not counted."""
        self.metrics.images_held.set(self.admission.images.held)
        self.metrics.videos_held.set(self.admission.videos.held)
        self.metrics.streams_open.set(self.admission.streams.held)
        for lane, limit in self.admission.lanes.items():
            self.metrics.work_held.labels(lane).set(limit.held)
        self.metrics.body_bytes_held.set(self.admission.body_bytes.held)
        self.metrics.resident_bytes.set(resident_bytes(self.readers.pids()))

    def _run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` in a task that ends with the runtime."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _label_gallery(self) -> None:
        """Label the faces of the gallery, between requests."""
        parts = self.engine.label_gallery()
        while await self.pool.run(Priority.READ, lambda: next(parts, "end")) != "end":
            pass

    async def _update_gauges_regularly(self) -> None:
        while True:
            self.update_gauges()
            await asyncio.sleep(GAUGES_EVERY_S)

    def _load(self, engine: Engine) -> LoadedEngine:
        self.metrics.gallery_faces.set(engine.gallery.count())
        settings = self.settings
        return LoadedEngine(
            engine, self.pool, self.readers, batch_size=settings.batch_faces, max_wait_s=settings.batch_wait_ms / 1000
        )

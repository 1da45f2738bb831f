"""What runs while the service is up: the engine of the moment, the cores it works on, and what may wait for them."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from mien.model.errors import MienError, NoFaceError
from mien.model.faces.reader import Face
from mien.service.errors import NotReadyError, ReloadError, TooLateError
from mien.service.inference.admission import Admission
from mien.service.inference.engine import Ask, Engine, Placed, load_engine
from mien.service.inference.queue import Batcher
from mien.service.inference.worker_pool import Cores, Order
from mien.service.operation.logs import FIELDS
from mien.service.operation.metrics import resident_bytes
from mien.service.settings import Settings

BROKEN_AFTER = 3
"""So many batches that fail in a row mean that the network is out of order."""

HOUSEKEEPING_S = 5.0

_log = logging.getLogger("mien.runtime")


@dataclass(frozen=True)
class Serving:
    """A loaded bundle and its queue; a request stays with the one it began with, whatever is loaded meanwhile."""

    engine: Engine
    batches: Batcher[Ask, Placed]


class Runtime:
    """Runs one engine after the other. Belongs to one event loop, from ``start`` to ``stop``.

    Attributes:
        settings: of the service.
        metrics: its figures.
        images: how many are worked on or wait.
        videos: how many are worked on.
        streams: how many are open.
        bodies: how many bytes of bodies are held.
        stopping: set when no new requests are taken any more: what takes long comes to an end.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """Serve ``engine`` first."""
        self.settings = settings
        self.metrics = engine.metrics
        self.images = Admission("images", settings.queue_images)
        self.videos = Admission("videos", settings.queue_videos)
        self.bodies = Admission("bytes of request bodies", settings.queue_body_bytes)
        self.streams = Admission("streams", settings.max_streams)
        self.stopping = asyncio.Event()
        self.cores = Cores(settings.workers or os.cpu_count() or 1)
        self._serving = self._prepare(engine)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = False
        self._stopping = False
        self._failures = 0
        self._reloading = asyncio.Lock()
        self._housekeeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start working."""
        self.cores.start()
        self._loop = asyncio.get_running_loop()
        self._housekeeper = asyncio.create_task(self._keep_house())
        self._started = True

    async def stop(self) -> None:
        """Stop working; what waits is done first."""
        self.drain()
        if self._housekeeper is not None:
            self._housekeeper.cancel()
        await asyncio.to_thread(self.cores.stop)

    def drain(self) -> None:
        """Take no new requests, finish those there are. From any thread, or a signal."""
        self._stopping = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stopping.set)

    @property
    def engine(self) -> Engine:
        """The engine of the moment."""
        return self._serving.engine

    def serving(self) -> Serving:
        """What a new request is to be answered from.

        Raises:
            NotReadyError: the service is starting or stopping.
        """
        if not self._started or self._stopping:
            raise NotReadyError("mien is starting or stopping")
        return self._serving

    async def check_ready(self) -> None:
        """Return where requests are answered; after failures of the network, try it.

        Raises:
            NotReadyError: they are not.
        """
        serving = self.serving()
        if self._failures < BROKEN_AFTER:
            return
        try:
            await self.cores.run(Order.ANSWER, serving.engine.warm_up)
        except Exception:  # noqa: BLE001  whatever the network fails with
            raise NotReadyError("mien's network fails") from None
        self._failures = 0

    async def find(self, serving: Serving, data: bytes, *, already_cropped: bool, most_faces: int | None) -> list[Face]:
        """The faces of an image, decoded and found on a core.

        Raises:
            ImageError: the image cannot be used, or has no face.
        """
        return await self.cores.run(
            Order.READ, lambda: serving.engine.find(data, already_cropped=already_cropped, most_faces=most_faces)
        )

    async def faces_and_places(
        self, serving: Serving, find: Callable[[], list[Face]]
    ) -> tuple[list[Face], Placed | None]:
        """The faces of one picture of many, found on a core, and where they lie; None where there is no face."""
        with serving.batches.expect():
            try:
                faces = await self.cores.run(Order.READ, find)
            except NoFaceError:
                faces = []
        if not faces:
            return [], None
        return faces, await self.place(serving, Ask(np.stack([face.crop for face in faces])))

    async def place(self, serving: Serving, ask: Ask) -> Placed:
        """Answer ``ask``, together with what others ask; one for more faces than a batch has, in parts.

        Raises:
            ImageError: its file cannot be used.
        """
        size = self.settings.batch_faces
        if len(ask) <= size or ask.crops is None:
            return await self._batched(serving, ask)
        parts = [replace(ask, crops=ask.crops[start : start + size]) for start in range(0, len(ask), size)]
        return Placed.joined(await asyncio.gather(*(self._batched(serving, part) for part in parts)))

    async def _batched(self, serving: Serving, ask: Ask) -> Placed:
        try:
            placed = await serving.batches.ask(ask, len(ask))
        except MienError:
            raise
        except Exception:
            self._failures += 1
            raise
        self._failures = 0
        return placed

    def deadline(self) -> "Deadline":
        """Bounds the time of an answer."""
        return Deadline(self.settings.timeout_s)

    async def reload(self) -> Engine:
        """Load the bundle of the settings anew and serve from it; requests that have begun keep the old one.

        Raises:
            ReloadError: it cannot be used; the old one is served on.
        """
        async with self._reloading:
            try:
                engine = await asyncio.to_thread(load_engine, self.settings, self.metrics, self.engine.owned)
            except MienError as error:
                self.metrics.reloads.labels("failed").inc()
                _log.exception("the bundle cannot be reloaded", extra={FIELDS: {"reason": str(error)}})
                raise ReloadError(f"the old bundle is served on: {error}") from None
            self._serving = self._prepare(engine)
            self._failures = 0
            self.metrics.reloads.labels("done").inc()
            _log.info("reloaded", extra={FIELDS: {"faces": len(engine.bundle.gallery)}})
            return engine

    def reload_on_hangup(self) -> None:
        """Reload at each SIGHUP, where the system knows it."""
        tasks: set[asyncio.Task[None]] = set()

        async def reload() -> None:
            with suppress(ReloadError):  # logged where it happened
                await self.reload()

        def hung_up() -> None:
            task = asyncio.create_task(reload())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)

    def _prepare(self, engine: Engine) -> Serving:
        self.metrics.gallery_faces.set(engine.gallery.count())
        batches = Batcher(
            engine.answer_each,
            self.cores,
            batch_size=self.settings.batch_faces,
            longest_wait_s=self.settings.batch_wait_ms / 1000,
        )
        return Serving(engine, batches)

    async def _keep_house(self) -> None:
        while True:
            self.note()
            await asyncio.sleep(HOUSEKEEPING_S)

    def note(self) -> None:
        """Bring the figures that are read, not counted, up to date."""
        self.metrics.images_held.set(self.images.held)
        self.metrics.videos_held.set(self.videos.held)
        self.metrics.streams_open.set(self.streams.held)
        self.metrics.body_bytes_held.set(self.bodies.held)
        self.metrics.resident_bytes.set(resident_bytes())


class Deadline:
    """``async with``: what takes longer than ``longest_s`` ends as ``TooLateError``."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._timeout = asyncio.timeout(longest_s)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)  # type: ignore[arg-type]
        except TimeoutError:
            raise TooLateError(f"an answer may take {self._longest_s:g} s, this one would have taken longer") from None

"""Metrics of the service, for Prometheus."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

Stage = Literal["decode", "detect", "embed", "search"]
"""Stages of an answer: decode; detect and align; embed and classify; search the gallery."""

SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of prometheus-client: the folder in which the processes of one service share their metrics."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTS: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one service. Thread-safe.

    Each of several processes answers for all of them.

    Attributes:
        span: entered around each stage; where traces are exported, a span of them.
        past_span: the same of a stage that has ended: its beginning and end, nanoseconds since 1970.
    """

    span: Callable[[Stage], AbstractContextManager[object]]
    past_span: Callable[[Stage, int, int], None]

    def __init__(self) -> None:
        self.span = lambda _: nullcontext()
        self.past_span = lambda *_: None
        self._registry = CollectorRegistry()
        self._shared = SHARED_FOLDER in os.environ
        if not self._shared:
            ProcessCollector(registry=self._registry)
        counter, histogram = partial(Counter, registry=self._registry), partial(Histogram, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry, multiprocess_mode="livesum")  # of all processes together
        self.requests = counter("mien_requests", "Requests answered.", ("method", "route", "status"))
        self.request_seconds = histogram(
            "mien_request_seconds",
            "From the headers of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
        )
        self.rejections = counter(
            "mien_rejections", "Requests and images refused, by the type of the problem.", ("problem",)
        )
        self.stage_seconds = histogram(
            "mien_stage_seconds",
            "Time on a core: decode and detect per image, embed and search per batch.",
            ("stage",),
            buckets=_SECONDS,
        )
        self._stages = {stage: self.stage_seconds.labels(stage) for stage in get_args(Stage)}
        self.batch_faces = histogram(
            "mien_batch_faces", "Faces that went through the network together.", buckets=_COUNTS
        )
        self.faces_per_image = histogram("mien_faces_per_image", "Faces found in an image.", buckets=_COUNTS)
        self.images_held = gauge("mien_images_held", "Images that are worked on or wait.")
        self.videos_held = gauge("mien_videos_held", "Videos that are worked on.")
        self.streams_open = gauge("mien_streams_open", "WebSockets that are open.")
        self.work_held = gauge("mien_work_held", "Units of work that are done or wait, by the lane.", ("lane",))
        self.connections_open = gauge("mien_connections_open", "Connections.")
        self.connections_closed = counter(
            "mien_connections_closed", "Connections that were refused or cut off, by the reason.", ("reason",)
        )
        self.key_file_broken = gauge(
            "mien_key_file_broken",
            "1 while the key file cannot be used, so that no key is valid.",
            multiprocess_mode="livemax",
        )
        self.frames = counter(
            "mien_frames",
            "Frames of videos and streams: answered, damaged, dropped for a newer one, refused.",
            ("source", "result"),
        )
        self.body_bytes_held = gauge("mien_body_bytes_held", "Bytes of the bodies of open requests.")
        self.gallery_faces = gauge("mien_gallery_faces", "Faces in the gallery.", multiprocess_mode="livemax")
        self.resident_bytes = gauge("mien_resident_bytes", "Memory of all processes of the service.")
        self.reloads = counter("mien_reloads", "Bundles loaded while serving.", ("result",))

    def record(self, stage: Stage, began_ns: int, seconds: float) -> None:
        """Record a run of a stage in another process, which began ``began_ns`` nanoseconds after 1970."""
        self._stages[stage].observe(seconds)
        self.past_span(stage, began_ns, began_ns + int(seconds * 1e9))

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Measure one run of a stage."""
        began = perf_counter()
        try:
            with self.span(stage):
                yield
        finally:
            self._stages[stage].observe(perf_counter() - began)

    def exposition(self) -> bytes:
        """All metrics, in Prometheus's text format."""
        if not self._shared:
            return generate_latest(self._registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)


def resident_bytes(others: Iterable[int] = ()) -> int:
    """Memory of this process, and of ``others`` by their ids, in RAM; without those of which the system tells none."""
    pages = 0
    for process in ("self", *others):
        with suppress(OSError, ValueError, IndexError):
            pages += int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

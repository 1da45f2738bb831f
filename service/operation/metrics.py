"""Metrics of the service, for Prometheus."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from time import perf_counter
from typing import Final, Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
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
        self.requests = Counter(
            "mien_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self.request_seconds = Histogram(
            "mien_request_seconds",
            "From the headers of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.rejections = Counter(
            "mien_rejections",
            "Requests and images refused, by the type of the problem.",
            ("problem",),
            registry=self._registry,
        )
        self.stage_seconds = Histogram(
            "mien_stage_seconds",
            "Time on a core: decode and detect per image, embed and search per batch.",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = {stage: self.stage_seconds.labels(stage) for stage in get_args(Stage)}
        self.batch_faces = Histogram(
            "mien_batch_faces",
            "Faces that went through the network together.",
            buckets=_COUNTS,
            registry=self._registry,
        )
        self.faces_per_image = Histogram(
            "mien_faces_per_image", "Faces found in an image.", buckets=_COUNTS, registry=self._registry
        )
        self.images_held = Gauge(
            "mien_images_held",
            "Images that are worked on or wait.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.videos_held = Gauge(
            "mien_videos_held", "Videos that are worked on.", multiprocess_mode="livesum", registry=self._registry
        )
        self.streams_open = Gauge(
            "mien_streams_open", "WebSockets that are open.", multiprocess_mode="livesum", registry=self._registry
        )
        self.connections_open = Gauge(
            "mien_connections_open", "Connections.", multiprocess_mode="livesum", registry=self._registry
        )
        self.connections_closed = Counter(
            "mien_connections_closed",
            "Connections that were refused or cut off, by the reason.",
            ("reason",),
            registry=self._registry,
        )
        self.key_file_broken = Gauge(
            "mien_key_file_broken",
            "1 while the key file cannot be used, so that no key is valid.",
            multiprocess_mode="livemax",
            registry=self._registry,
        )
        self.frames = Counter(
            "mien_frames",
            "Frames of videos and streams: answered, damaged, dropped for a newer one, refused.",
            ("source", "result"),
            registry=self._registry,
        )
        self.body_bytes_held = Gauge(
            "mien_body_bytes_held",
            "Bytes of the bodies of open requests.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.gallery_faces = Gauge(
            "mien_gallery_faces", "Faces in the gallery.", multiprocess_mode="livemax", registry=self._registry
        )
        self.resident_bytes = Gauge(
            "mien_resident_bytes",
            "Memory of all processes of the service.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.reloads = Counter("mien_reloads", "Bundles loaded while serving.", ("result",), registry=self._registry)

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

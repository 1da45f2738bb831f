"""Import by a cluster, over Ray Data: many machines decode, detect and embed; the gallery is written in batches.

The stages are those of ``mien.service.bulk.stages``. If a machine dies, another repeats its work; a face that comes
twice is added once, as its id is the same. If there are GPUs, faces are prepared on CPUs and embedded on GPUs; if not,
each actor does both, so that no work has to be balanced. A gallery in a folder is written by the process that runs the
import, a distributed one by several actors at once.
"""

import logging
import os
import pickle
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.bundle.manifest import EMBEDDER, read_manifest
from mien.index.gallery.milvus.address import is_address
from mien.index.gallery.open import open_gallery
from mien.index.gallery.store import GalleryStore
from mien.model.embedder.embedder import GPU_BATCH_FACES, Embedder
from mien.model.embedder.provider import Provider
from mien.model.errors import ConfigError, MienError
from mien.model.faces.decoding import DecodingLimits
from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader
from mien.service.bulk.local import OnProgress
from mien.service.bulk.manifests import Manifest, ManifestFace
from mien.service.bulk.report import ImportReport
from mien.service.bulk.stages import Draft, PrepareStage, WriteStage, embed_drafts, mark_duplicates, stored_faces
from mien.service.inference.gallery_additions import to_png

PARCEL_FACES: Final = 32
"""Faces that are sent between machines together, and repeated together if one dies."""

WINDOW_PARCELS: Final = 2048
"""Parcels that are planned at once; they bound the memory of the process that plans."""

EMBED_PARCELS: Final = GPU_BATCH_FACES // PARCEL_FACES
"""Parcels that a GPU embeds at once."""

WRITE_FACES: Final = 512
"""Faces that are written in one transaction."""

WRITE_AFTER_S: Final = 1.0
"""Fewer are written if so much time has passed since the last transaction."""

WRITERS: Final = 4
"""Actors that write to a distributed gallery at once."""

CONNECT_S: Final = 5.0

Row = dict[str, Any]


class ClusterError(MienError):
    """The cluster cannot be used, or has failed."""


@dataclass(frozen=True)
class ClusterJob:
    """The settings of an import, for every machine.

    Attributes:
        bundle: folder of the bundle, under the same path on each machine.
        embedder_sha256: of the bundle's network.
        mien_version: of the process that runs the import.
        place: of the gallery.
        embedding_size: d.
        detector: YuNet's file; None takes the one that mien carries.
        limits: of an image.
        provider: where the network runs.
        already_cropped: images are face crops.
        thumbnails: keep the aligned crops.
        replacing: replace faces that the gallery has with the same id and other content.
    """

    bundle: Path
    embedder_sha256: str
    mien_version: str
    place: str
    embedding_size: int
    detector: Path | None
    limits: DecodingLimits
    provider: Provider
    already_cropped: bool
    thumbnails: bool
    replacing: bool

    def check(self) -> None:
        """Refuse to work on a machine whose results would differ.

        Raises:
            ConfigError: another version of mien, or another bundle, is installed there.
            BundleError: the bundle is not there.
        """
        if version("mien") != self.mien_version:
            raise ConfigError(f"expected mien {self.mien_version} on every machine, got {version('mien')}")
        found = read_manifest(self.bundle).sha256[EMBEDDER]
        if found != self.embedder_sha256:
            raise ConfigError(
                f"expected the network {self.embedder_sha256[:12]}… in {self.bundle} on every machine, "
                f"got {found[:12]}…"
            )

    def load_embedder(self) -> Embedder:
        """The network, on one thread, as there are as many actors as cores."""
        return Embedder(self.bundle / EMBEDDER, threads=1, provider=self.provider)

    def embed(self, drafts: list[Draft], embedder: Embedder) -> list[Draft]:
        """The second stage."""
        return embed_drafts(drafts, embedder, to_png if self.thumbnails else None)


class PrepareActor:
    """An actor that reads, decodes, detects and aligns."""

    def __init__(self, job: ClusterJob) -> None:
        job.check()
        reader = FaceReader(Detector(job.detector), job.limits, 1)
        self._stage = PrepareStage(reader, job.embedding_size, job.already_cropped)
        self._node = _this_node()

    def drafts(self, row: Row) -> list[Draft]:
        """The drafts of a parcel."""
        entries, stored = pickle.loads(row["parcel"])  # noqa: S301 our own, from within the cluster
        return [self._stage.prepare(entry, stored.get(entry.id)) for entry in entries]

    def __call__(self, row: Row) -> Row:
        """The drafts as a row of Ray Data."""
        return {"node": self._node, "drafts": _pack(self.drafts(row))}


class PrepareAndEmbedActor(PrepareActor):
    """An actor that embeds as well: for machines without a GPU."""

    def __init__(self, job: ClusterJob) -> None:
        super().__init__(job)
        self._job, self._embedder = job, job.load_embedder()

    def drafts(self, row: Row) -> list[Draft]:
        """The embedded drafts of a parcel."""
        return self._job.embed(super().drafts(row), self._embedder)


class EmbedActor:
    """An actor that embeds the drafts of others: for a GPU."""

    def __init__(self, job: ClusterJob) -> None:
        job.check()
        self._job, self._embedder = job, job.load_embedder()

    def __call__(self, batch: Row) -> Row:
        """Embed several parcels at once, as large batches are faster."""
        parcels = [pickle.loads(parcel) for parcel in batch["drafts"]]  # noqa: S301
        drafts = iter(self._job.embed([draft for parcel in parcels for draft in parcel], self._embedder))
        return {"node": batch["node"], "drafts": [_pack(list(islice(drafts, len(parcel)))) for parcel in parcels]}


class WriteActor:
    """An actor that writes to a distributed gallery."""

    def __init__(self, job: ClusterJob) -> None:
        job.check()
        store = open_gallery(job.place, job.embedding_size, job.embedder_sha256)
        self._stage = WriteStage(store, load_bundle(job.bundle), job.replacing)

    def __call__(self, batch: Row) -> Row:
        """Write several parcels; the row has the report."""
        return {"report": [_pack(_write(self._stage, zip(batch["node"], batch["drafts"], strict=True)))]}


@dataclass(frozen=True)
class ClusterImporter:
    """An import by a cluster.

    Attributes:
        store: the gallery.
        bundle: labels the faces.
        job: the settings for every machine.
        address: of the cluster: ``auto`` is the one that this machine belongs to, ``local`` this machine alone, or
            ``host:port`` of its head.
    """

    store: GalleryStore
    bundle: Bundle
    job: ClusterJob
    address: str

    def run(self, manifest: Manifest, on_progress: OnProgress = lambda _: None) -> ImportReport:
        """Import every face that can be imported.

        Raises:
            ConfigError: Ray is not installed.
            ClusterError: the cluster cannot be reached, or has failed. Faces that were added stay.
            GalleryError: the gallery fails, or the embeddings are of another network. Faces that were added stay.
        """
        manifest.check_embedder_matches(self.store.embedder_sha256)
        ray = connect(self.address)
        report, seen = ImportReport(), set[str]()
        try:
            while window := self._plan(manifest.faces, seen):
                dataset = self._dataset(ray, window)
                parts = _reports(dataset) if is_address(self.job.place) else self._write_here(dataset)
                for part in parts:
                    report.include(part)
                    on_progress(part.faces)
        except (ray.exceptions.RayError, RuntimeError) as error:
            raise ClusterError(
                f"the cluster failed after {report.faces} faces, which are kept ({_last_line(error)}); "
                "run the same command again to continue"
            ) from error
        return report

    def _plan(self, faces: Iterator[ManifestFace], seen: set[str]) -> list[Row]:
        """The parcels of the next window, with the gallery's faces of the same ids."""
        window: list[Row] = []
        while len(window) < WINDOW_PARCELS and (entries := list(islice(faces, WRITE_FACES))):
            entries = mark_duplicates(entries, seen)
            stored = stored_faces(self.store, entries)
            for start in range(0, len(entries), PARCEL_FACES):
                parcel = entries[start : start + PARCEL_FACES]
                known = {entry.id: stored[entry.id] for entry in parcel if entry.id in stored}
                window.append({"parcel": _pack((parcel, known))})
        return window

    def _dataset(self, ray: Any, window: list[Row]) -> Any:
        """The work on the parcels as a lazy data set, one block each."""
        resources = ray.cluster_resources()
        cpus, gpus = (int(resources.get(name, 0)) for name in ("CPU", "GPU"))

        def pool(size: int) -> Any:
            """Starts all actors at once; one is enough to continue when machines die."""
            size = max(1, min(size, len(window)))
            return ray.data.ActorPoolStrategy(min_size=1, max_size=size, initial_size=size)

        dataset = ray.data.from_items(window, override_num_blocks=len(window))
        job = {"fn_constructor_args": (self.job,)}
        if gpus and self.job.provider != "cpu":
            dataset = dataset.map(PrepareActor, compute=pool(cpus), num_cpus=1, **job)
            dataset = dataset.map_batches(
                EmbedActor, batch_size=EMBED_PARCELS, compute=pool(gpus), num_cpus=0, num_gpus=1, **job
            )
        else:
            dataset = dataset.map(PrepareAndEmbedActor, compute=pool(cpus), num_cpus=1, **job)
        if is_address(self.job.place):
            parcels = WRITE_FACES // PARCEL_FACES
            dataset = dataset.map_batches(WriteActor, batch_size=parcels, compute=pool(WRITERS), num_cpus=0, **job)
        return dataset

    def _write_here(self, dataset: Any) -> Iterator[ImportReport]:
        """Write what arrives in small batches, so that a killed import has lost little."""
        stage = WriteStage(self.store, self.bundle, self.job.replacing)
        batch: list[tuple[str, bytes]] = []
        began = time.monotonic()
        for row in dataset.iter_rows():
            batch.append((row["node"], row["drafts"]))
            if len(batch) * PARCEL_FACES >= WRITE_FACES or time.monotonic() - began > WRITE_AFTER_S:
                yield _write(stage, batch)
                batch, began = [], time.monotonic()
        if batch:
            yield _write(stage, batch)


def connect(address: str) -> Any:
    """Ray, connected to a cluster, without its messages and usage reports.

    Raises:
        ConfigError: Ray is not installed.
        ClusterError: there is no such cluster.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    try:
        import ray
        import ray.data
    except ImportError:
        raise ConfigError("a cluster needs Ray: pip install 'mien[bulk]'") from None
    if not ray.is_initialized():
        _check_reachable(address)
        options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise ClusterError(f"no cluster at {address}: {_last_line(error)}") from None
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # failures are raised
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray


def _check_reachable(address: str) -> None:
    """Refuse an address where nothing listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if address in ("auto", "local"):
        return
    if not host or not port.isdigit():
        raise ClusterError(f"no cluster at {address}: expected auto, local or HOST:PORT of its head")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no cluster at {address}: {error}") from None


def _write(stage: WriteStage, parcels: Iterable[tuple[str, bytes]]) -> ImportReport:
    """Write parcels; the report says how many faces each machine prepared."""
    drafts, report = [], ImportReport()
    for node, packed in parcels:
        parcel = pickle.loads(packed)  # noqa: S301
        report.nodes[str(node)] = report.nodes.get(str(node), 0) + len(parcel)
        drafts += parcel
    report.include(stage.write(drafts))
    return report


def _reports(dataset: Any) -> Iterator[ImportReport]:
    for row in dataset.iter_rows():
        yield pickle.loads(row["report"])  # noqa: S301


def _pack(content: Any) -> bytes:
    return pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)


def _this_node() -> str:
    ray = sys.modules["ray"]
    return f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:300]

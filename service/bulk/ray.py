"""Import by a cluster, over Ray Data: many machines decode, detect and embed; the gallery is written in batches.

The stages are those of ``mien.service.bulk.stages``. A machine that dies takes nothing with it: what it was working on
is done again by another, and faces that come twice are one face, as their ids are the same. Where there are GPUs, faces
are prepared on CPUs and embedded on GPUs; otherwise each actor does both, as nothing is then to be balanced. A gallery
in a folder is written by the process that runs the import, a distributed one by several actors at once.
"""

import logging
import os
import pickle
import socket
import sys
import time
from collections.abc import Iterator
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
from mien.service.bulk.local import Progress, check_network
from mien.service.bulk.manifests import Manifest, Planned
from mien.service.bulk.stages import Draft, ImportReport, Preparing, Writing, each_once, embed_drafts, stored_of
from mien.service.inference.gallery_additions import to_png

PARCEL_FACES: Final = 32
"""Faces that go from machine to machine together, and are done again together where one dies."""

WINDOW_PARCELS: Final = 2048
"""Parcels that are planned at once: the memory of the process that plans is bounded by them."""

EMBEDDED_PARCELS: Final = GPU_BATCH_FACES // PARCEL_FACES
"""Parcels that a GPU embeds at once."""

WRITTEN_FACES: Final = 512
"""Faces that are written in one transaction."""

WRITTEN_AFTER_S: Final = 1.0
"""Fewer are written where so much time has passed since the last transaction."""

WRITERS: Final = 4
"""Actors that write to a distributed gallery at once."""

KNOCK_S: Final = 5.0

Row = dict[str, Any]


class ClusterError(MienError):
    """The cluster cannot be used, or gave up."""


@dataclass(frozen=True)
class Work:
    """What every machine must know.

    Attributes:
        bundle: folder of the bundle, which each machine has under the same path.
        embedder_sha256: of the bundle's network.
        mien_version: of the process that runs the import.
        place: of the gallery.
        embedding_size: d.
        detector: YuNet's file; None takes the one that mien carries.
        limits: of an image.
        provider: where the network runs.
        already_cropped: images are face crops.
        thumbnails: keep the aligned crops.
        replacing: faces with an id that is there with other content take its place.
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
        """Refuse to work on a machine that would do something else.

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

    def embedder(self) -> Embedder:
        """The network, on one thread: there are as many actors as cores."""
        return Embedder(self.bundle / EMBEDDER, threads=1, provider=self.provider)

    def embedded(self, drafts: list[Draft], embedder: Embedder) -> list[Draft]:
        """Drafts without crops."""
        return embed_drafts(drafts, embedder, to_png if self.thumbnails else None)


class Preparer:
    """An actor that reads, decodes, detects and aligns."""

    def __init__(self, work: Work) -> None:
        work.check()
        reader = FaceReader(Detector(work.detector), work.limits, 1)
        self._preparing = Preparing(reader, work.embedding_size, work.already_cropped)
        self._node = _this_node()

    def drafts(self, row: Row) -> list[Draft]:
        """A parcel, prepared."""
        planned, stored = pickle.loads(row["parcel"])  # noqa: S301 our own, from within the cluster
        return [self._preparing.prepare(each, stored.get(each.id)) for each in planned]

    def __call__(self, row: Row) -> Row:
        """The same as a row of Ray Data."""
        return _row(self._node, self.drafts(row))


class PreparerAndEmbedder(Preparer):
    """An actor that embeds as well: for machines without a GPU."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._work, self._embedder = work, work.embedder()

    def drafts(self, row: Row) -> list[Draft]:
        """A parcel, prepared and embedded."""
        return self._work.embedded(super().drafts(row), self._embedder)


class ParcelEmbedder:
    """An actor that embeds what others have prepared: for a GPU."""

    def __init__(self, work: Work) -> None:
        work.check()
        self._work, self._embedder = work, work.embedder()

    def __call__(self, batch: Row) -> Row:
        """Several rows at once, so that batches are large."""
        parcels = [pickle.loads(parcel) for parcel in batch["drafts"]]  # noqa: S301
        came = iter(self._work.embedded([draft for parcel in parcels for draft in parcel], self._embedder))
        return {"node": batch["node"], "drafts": [_packed(list(islice(came, len(parcel)))) for parcel in parcels]}


class ParcelWriter:
    """An actor that writes to a distributed gallery."""

    def __init__(self, work: Work) -> None:
        work.check()
        store = open_gallery(work.place, work.embedding_size, work.embedder_sha256)
        self._writing = Writing(store, load_bundle(work.bundle), work.replacing)

    def __call__(self, batch: Row) -> Row:
        """What became of several parcels."""
        return {"report": [_packed(_written(self._writing, zip(batch["node"], batch["drafts"], strict=True)))]}


@dataclass(frozen=True)
class ClusterImporter:
    """An import by a cluster.

    Attributes:
        store: the gallery.
        bundle: names what is imported.
        work: what every machine must know.
        address: of the cluster: ``auto`` is the one that this machine belongs to, ``local`` this machine alone, or
            ``host:port`` of its head.
    """

    store: GalleryStore
    bundle: Bundle
    work: Work
    address: str

    def run(self, manifest: Manifest, on_progress: Progress = lambda _: None) -> ImportReport:
        """Import all that can be.

        Args:
            manifest: what is to be imported.
            on_progress: called with how many faces are done, after each batch.

        Raises:
            ConfigError: Ray is not installed.
            ClusterError: the cluster cannot be reached, or gave up. What was added before stays.
            GalleryError: the gallery fails, or the embeddings are of another network. What was added before stays.
        """
        check_network(manifest, self.store)
        ray = connected(self.address)
        report, seen = ImportReport(), set[str]()
        try:
            while window := self._planned(manifest.faces, seen):
                dataset = self._dataset(ray, window)
                written = self._written_here(dataset) if not is_address(self.work.place) else _reports(dataset)
                for part in written:
                    report.include(part)
                    on_progress(part.faces)
        except (ray.exceptions.RayError, RuntimeError) as error:
            raise ClusterError(
                f"the cluster gave up after {report.faces} faces, which stay ({_last_line(error)}); "
                "the same command goes on from there"
            ) from error
        return report

    def _planned(self, faces: Iterator[Planned], seen: set[str]) -> list[Row]:
        """The parcels of the next window, with what the gallery has under their ids."""
        window: list[Row] = []
        while len(window) < WINDOW_PARCELS and (planned := list(islice(faces, WRITTEN_FACES))):
            once = each_once(planned, seen)
            stored = stored_of(self.store, once)
            for start in range(0, len(once), PARCEL_FACES):
                part = once[start : start + PARCEL_FACES]
                there = {each.id: stored[each.id] for each in part if each.id in stored}
                window.append({"parcel": _packed((part, there))})
        return window

    def _dataset(self, ray: Any, window: list[Row]) -> Any:
        """What is to be done with the parcels, one block each."""
        resources = ray.cluster_resources()
        cpus, gpus = (int(resources.get(name, 0)) for name in ("CPU", "GPU"))

        def pool(most: int) -> Any:
            """All at once; one is enough to go on with where machines die."""
            most = max(1, min(most, len(window)))
            return ray.data.ActorPoolStrategy(min_size=1, max_size=most, initial_size=most)

        dataset = ray.data.from_items(window, override_num_blocks=len(window))
        given = {"fn_constructor_args": (self.work,)}
        if gpus and self.work.provider != "cpu":
            dataset = dataset.map(Preparer, compute=pool(cpus), num_cpus=1, **given)
            dataset = dataset.map_batches(
                ParcelEmbedder, batch_size=EMBEDDED_PARCELS, compute=pool(gpus), num_cpus=0, num_gpus=1, **given
            )
        else:
            dataset = dataset.map(PreparerAndEmbedder, compute=pool(cpus), num_cpus=1, **given)
        if is_address(self.work.place):
            parcels = WRITTEN_FACES // PARCEL_FACES
            dataset = dataset.map_batches(ParcelWriter, batch_size=parcels, compute=pool(WRITERS), num_cpus=0, **given)
        return dataset

    def _written_here(self, dataset: Any) -> Iterator[ImportReport]:
        """Write what comes, in batches; a killed import has lost little then, and progress is seen."""
        writing = Writing(self.store, self.bundle, self.work.replacing)
        batch: list[tuple[str, bytes]] = []
        began = time.monotonic()
        for row in dataset.iter_rows():
            batch.append((row["node"], row["drafts"]))
            if len(batch) * PARCEL_FACES >= WRITTEN_FACES or time.monotonic() - began > WRITTEN_AFTER_S:
                yield _written(writing, batch)
                batch, began = [], time.monotonic()
        if batch:
            yield _written(writing, batch)


def connected(address: str) -> Any:
    """Ray, connected to a cluster; says nothing of itself, and reports nothing of us.

    Raises:
        ConfigError: Ray is not installed.
        ClusterError: there is no such cluster.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    try:
        import ray
        import ray.data
    except ImportError:
        raise ConfigError("a cluster needs Ray: install mien with the extra 'bulk'") from None
    if not ray.is_initialized():
        _knock(address)
        alone: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **alone)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise ClusterError(f"no cluster at {address}: {_last_line(error)}") from None
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is raised
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray


def _knock(address: str) -> None:
    """Refuse an address where nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if address in ("auto", "local"):
        return
    if not host or not port.isdigit():
        raise ClusterError(f"no cluster at {address}: expected auto, local or HOST:PORT of its head")
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no cluster at {address}: {error}") from None


def _written(writing: Writing, parcels: Any) -> ImportReport:
    """Write parcels; says which machine did how many of them."""
    drafts, report = [], ImportReport()
    for node, packed in parcels:
        parcel = pickle.loads(packed)  # noqa: S301
        report.nodes[str(node)] = report.nodes.get(str(node), 0) + len(parcel)
        drafts += parcel
    report.include(writing.write(drafts))
    return report


def _reports(dataset: Any) -> Iterator[ImportReport]:
    for row in dataset.iter_rows():
        yield pickle.loads(row["report"])  # noqa: S301


def _row(node: str, drafts: list[Draft]) -> Row:
    return {"node": node, "drafts": _packed(drafts)}


def _packed(content: Any) -> bytes:
    return pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)


def _this_node() -> str:
    ray = sys.modules["ray"]
    return f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:300]

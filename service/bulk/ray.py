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
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from mien.index.bundle.bundle import Bundle
from mien.index.gallery.milvus.address import is_address
from mien.index.gallery.store import GalleryStore
from mien.model.embedder.embedder import GPU_BATCH_FACES
from mien.model.errors import ConfigError, MienError
from mien.service.bulk.actors import (
    ClusterJob,
    EmbedActor,
    PrepareActor,
    PrepareAndEmbedActor,
    Row,
    WriteActor,
    pack,
    write_parcels,
)
from mien.service.bulk.local import OnProgress
from mien.service.bulk.manifests import Manifest, ManifestFace
from mien.service.bulk.report import ImportReport
from mien.service.bulk.stages import WriteStage, mark_duplicates, stored_faces

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


class ClusterError(MienError):
    """The cluster cannot be used, or has failed."""


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
                window.append({"parcel": pack((parcel, known))})
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
        stage = WriteStage(self.store, self.bundle, self.job.options.replacing)
        batch: list[tuple[str, bytes]] = []
        began = time.monotonic()
        for row in dataset.iter_rows():
            batch.append((row["node"], row["drafts"]))
            if len(batch) * PARCEL_FACES >= WRITE_FACES or time.monotonic() - began > WRITE_AFTER_S:
                yield write_parcels(stage, batch)
                batch, began = [], time.monotonic()
        if batch:
            yield write_parcels(stage, batch)


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


def _reports(dataset: Any) -> Iterator[ImportReport]:
    for row in dataset.iter_rows():
        yield pickle.loads(row["report"])  # noqa: S301


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:300]

"""The actors of an import by a cluster: Ray Data calls each with rows, and they do the stages of an import.

A row has a parcel of faces, or the drafts made of it, pickled, and the name of the machine that prepared them.
"""

import pickle
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.manifest import EMBEDDER, read_manifest
from mien.index.gallery.open import open_gallery
from mien.model.embedder.embedder import Embedder
from mien.model.embedder.provider import Provider
from mien.model.errors import ConfigError
from mien.model.faces.decoding import MAX_CPU_S, DecodingLimits
from mien.model.faces.sandboxed_reader import SandboxedReader
from mien.model.faces.worker import WorkerOptions
from mien.service.bulk.report import ImportReport
from mien.service.bulk.stages import Draft, ImportOptions, PrepareStage, WriteStage, embed_drafts

Row = dict[str, Any]


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
        options: of the import.
    """

    bundle: Path
    embedder_sha256: str
    mien_version: str
    place: str
    embedding_size: int
    detector: Path | None
    limits: DecodingLimits
    provider: Provider
    options: ImportOptions

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


class PrepareActor:
    """An actor that reads, decodes, detects and aligns."""

    def __init__(self, job: ClusterJob) -> None:
        job.check()
        # In a process of its own: a file on which the decoder crashes would end the actor, and be tried again.
        reader = SandboxedReader(
            WorkerOptions(
                detector=None if job.detector is None else str(job.detector),
                max_faces=job.options.max_faces,
                limits=job.limits.model_dump(),
                max_cpu_s=MAX_CPU_S,
            )
        )
        self._stage = PrepareStage(reader, job.embedding_size, job.options)
        self._node = _this_node()

    def drafts(self, row: Row) -> list[Draft]:
        """The drafts of a parcel."""
        entries, stored = pickle.loads(row["parcel"])  # noqa: S301 our own, from within the cluster
        return [draft for entry in entries for draft in self._stage.prepare(entry, stored.get(entry.id))]

    def __call__(self, row: Row) -> Row:
        """The drafts as a row of Ray Data."""
        return {"node": self._node, "drafts": pack(self.drafts(row))}


class PrepareAndEmbedActor(PrepareActor):
    """An actor that embeds as well: for machines without a GPU."""

    def __init__(self, job: ClusterJob) -> None:
        super().__init__(job)
        self._embedder = job.load_embedder()

    def drafts(self, row: Row) -> list[Draft]:
        """The embedded drafts of a parcel."""
        return embed_drafts(super().drafts(row), self._embedder)


class EmbedActor:
    """An actor that embeds the drafts of others: for a GPU."""

    def __init__(self, job: ClusterJob) -> None:
        job.check()
        self._embedder = job.load_embedder()

    def __call__(self, batch: Row) -> Row:
        """Embed several parcels at once, as large batches are faster."""
        parcels = [pickle.loads(parcel) for parcel in batch["drafts"]]  # noqa: S301
        drafts = iter(embed_drafts([draft for parcel in parcels for draft in parcel], self._embedder))
        return {"node": batch["node"], "drafts": [pack(list(islice(drafts, len(parcel)))) for parcel in parcels]}


class WriteActor:
    """An actor that writes to a distributed gallery."""

    def __init__(self, job: ClusterJob) -> None:
        job.check()
        store = open_gallery(job.place, job.embedding_size, job.embedder_sha256)
        self._stage = WriteStage(store, load_bundle(job.bundle), job.options.replacing)

    def __call__(self, batch: Row) -> Row:
        """Write several parcels; the row has the report."""
        return {"report": [pack(write_parcels(self._stage, zip(batch["node"], batch["drafts"], strict=True)))]}


def write_parcels(stage: WriteStage, parcels: Iterable[tuple[str, bytes]]) -> ImportReport:
    """Write parcels; the report says how many faces each machine prepared."""
    drafts, report = [], ImportReport()
    for node, packed in parcels:
        parcel = pickle.loads(packed)  # noqa: S301
        report.nodes[str(node)] = report.nodes.get(str(node), 0) + len(parcel)
        drafts += parcel
    report.include(stage.write(drafts))
    return report


def pack(content: Any) -> bytes:
    """A value as bytes, for a row."""
    return pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)


def _this_node() -> str:
    ray = sys.modules["ray"]
    return f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"

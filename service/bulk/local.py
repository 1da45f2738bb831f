"""Import into a gallery: what a manifest lists, embedded where it is images; and export out of one.

An import that was killed is simply begun again: what is there already, with the same content, is passed over before
anything is embedded.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mien.index.bundle.bundle import Bundle
from mien.index.errors import GalleryError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore, every_face
from mien.index.gallery.validation import json_text
from mien.model.files import write_atomically
from mien.model.pipeline import Pipeline
from mien.service.bulk.manifests import EMBEDDER_KEY, Manifest, Planned, pyarrow
from mien.service.bulk.stages import (
    ImportReport,
    Preparing,
    Thumbnail,
    Writing,
    each_once,
    embed_drafts,
    stored_of,
)

Progress = Callable[[int], object]

_IMAGES_AT_ONCE: Final = 64
_EMBEDDINGS_AT_ONCE: Final = 2_000
_THUMBNAILS_AT_ONCE: Final = 200


@dataclass(frozen=True)
class Importer:
    """An import by the threads of this process.

    Attributes:
        store: the gallery.
        bundle: names what is imported.
        pipeline: embeds images.
        already_cropped: images are face crops.
        replacing: faces with an id that is there with other content take its place, in place of being skipped.
        thumbnail: makes a thumbnail of a crop; None keeps none.
    """

    store: GalleryStore
    bundle: Bundle
    pipeline: Pipeline
    already_cropped: bool = False
    replacing: bool = False
    thumbnail: Thumbnail | None = None

    def run(self, manifest: Manifest, on_progress: Progress = lambda _: None) -> ImportReport:
        """Import all that can be.

        Args:
            manifest: what is to be imported.
            on_progress: called with how many faces are done, after each batch.

        Raises:
            GalleryError: the gallery fails, or the embeddings are of another network. What was added before stays.
        """
        check_network(manifest, self.store)
        preparing = Preparing(self.pipeline, self.store.embedding_size, self.already_cropped)
        writing = Writing(self.store, self.bundle, self.replacing)
        report, seen = ImportReport(), set[str]()
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for batch in _batches(manifest.faces):
                once = each_once(batch, seen)
                stored = stored_of(self.store, once)
                drafts = list(threads.map(lambda each: preparing.prepare(each, stored.get(each.id)), once))  # noqa: B023
                report.include(writing.write(embed_drafts(drafts, self.pipeline.embedder, self.thumbnail)))
                on_progress(len(batch))
        return report


def check_network(manifest: Manifest, store: GalleryStore) -> None:
    """Refuse embeddings of another network than the gallery's.

    Raises:
        GalleryError: they are.
    """
    if manifest.embedder_sha256 not in (None, store.embedder_sha256):
        raise GalleryError(
            f"the embeddings were made by the network {str(manifest.embedder_sha256)[:12]}…, those of the gallery "
            f"by {store.embedder_sha256[:12]}…: embeddings of two networks cannot be compared"
        )


def export_parquet(
    store: GalleryStore,
    path: Path,
    on_progress: Progress = lambda _: None,
    *,
    thumbnails: bool = False,
) -> int:
    """Write all faces to a Parquet file, whole or not at all; returns how many.

    Args:
        store: the gallery.
        path: the file.
        on_progress: called with how many faces are done, after each batch.
        thumbnails: write them, too.

    Raises:
        ConfigError: pyarrow is not installed.
        GalleryError: the gallery fails.
    """
    arrow = pyarrow()
    text = arrow.string()
    schema = arrow.schema(
        [
            ("id", text),
            ("embedding", arrow.list_(arrow.float32(), store.embedding_size)),
            *((name, text) for name in ("label", "emotion", "sub_class", "subject", "metadata", "content_sha256")),
            ("time", arrow.float64()),
            *([("thumbnail", arrow.binary())] if thumbnails else []),
        ],
        metadata={EMBEDDER_KEY: store.embedder_sha256.encode()},
    )
    count = 0
    with write_atomically(path) as file, arrow.parquet.ParquetWriter(file, schema) as writer:
        faces = every_face(store)
        while block := list(islice(faces, _THUMBNAILS_AT_ONCE if thumbnails else _EMBEDDINGS_AT_ONCE)):
            pictures = store.thumbnails([face.id for face in block]) if thumbnails else {}
            rows = [{**_row(face), "thumbnail": pictures.get(face.id)} for face in block]
            writer.write_batch(arrow.RecordBatch.from_pylist(rows, schema))
            count += len(block)
            on_progress(len(block))
    return count


def _row(face: GalleryFace) -> dict[str, Any]:
    names = ("id", "label", "emotion", "sub_class", "subject", "content_sha256", "time")
    said = {name: getattr(face, name) for name in names}
    return {**said, "embedding": face.embedding, "metadata": json_text(face.metadata)}


def _batches(faces: Iterator[Planned]) -> Iterator[list[Planned]]:
    """Batches of at most so many images, or so many embeddings."""
    batch: list[Planned] = []
    images = 0
    for face in faces:
        batch.append(face)
        images += face.path is not None
        if images == _IMAGES_AT_ONCE or len(batch) == _EMBEDDINGS_AT_ONCE:
            yield batch
            batch, images = [], 0
    if batch:
        yield batch

"""Import into a gallery: what a manifest lists, embedded where it is images; and export out of one.

An import that was killed is simply begun again: what is there already, with the same content, is passed over before
anything is embedded.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.bundle import Bundle
from index.gallery_store import GalleryFace, GalleryStore, check_face, every_face, json_text
from index.naming import named
from model.decoding import read_file
from model.errors import FaceConflictError, GalleryError, ImageError, QueryError, UnknownFaceError
from model.files import written_whole
from model.pipeline import Pipeline
from service.gallery_manifests import EMBEDDER_KEY, Manifest, Planned, pyarrow

_IMAGES_AT_ONCE: Final = 64
_EMBEDDINGS_AT_ONCE: Final = 2_000


@dataclass
class ImportReport:
    """What became of an import.

    Attributes:
        added: faces that are new.
        replaced: faces that had other content.
        unchanged: faces that were there already.
        skipped: (source, id, reason) of the others.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Importer:
    """Where faces go, and how they get there.

    Attributes:
        store: the gallery.
        bundle: names what is imported.
        pipeline: embeds images; None where there are none.
        already_cropped: images are face crops.
        replacing: faces with an id that is there with other content take its place, in place of being skipped.
        thumbnail: makes a thumbnail of a crop; None keeps none.
    """

    store: GalleryStore
    bundle: Bundle
    pipeline: Pipeline | None = None
    already_cropped: bool = False
    replacing: bool = False
    thumbnail: Callable[[NDArray[np.uint8]], bytes] | None = None

    def run(self, manifest: Manifest, on_progress: Callable[[int], object] = lambda _: None) -> ImportReport:
        """Import all that can be.

        Args:
            manifest: what is to be imported.
            on_progress: called with how many faces are done, after each batch.

        Raises:
            GalleryError: the gallery fails, or the embeddings are of another network. What was added before stays.
        """
        if manifest.embedder_sha256 not in (None, self.store.embedder_sha256):
            raise GalleryError(
                f"the embeddings were made by the network {str(manifest.embedder_sha256)[:12]}…, those of the gallery "
                f"by {self.store.embedder_sha256[:12]}…: embeddings of two networks cannot be compared"
            )
        report, seen = ImportReport(), set[str]()
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for batch in _batches(manifest.faces):
                faces: list[tuple[Planned, GalleryFace]] = []
                for planned, made in zip(batch, self._made(batch, threads, report), strict=True):
                    if isinstance(made, str):
                        report.skipped.append((planned.source, planned.id, made))
                    elif made is not None and made.id in seen:
                        report.skipped.append((planned.source, planned.id, "the id came before in this import"))
                    elif made is not None:
                        seen.add(made.id)
                        faces.append((planned, made))
                self._add(faces, report)
                on_progress(len(batch))
        return report

    def _made(
        self, batch: Sequence[Planned], threads: ThreadPoolExecutor, report: ImportReport
    ) -> list[GalleryFace | str | None]:
        """Each as a face, or why it is none; None where it is there already."""
        prepared = list(threads.map(self._prepared, batch))
        crops = [each[1] for each in prepared if isinstance(each, tuple)]
        embedded: Iterator[NDArray[np.float32]] = iter(())
        if crops and self.pipeline is not None:
            embedded = iter(self.pipeline.embedder.embed(np.stack(crops)))
        made: list[GalleryFace | str | None] = []
        for each in prepared:
            if isinstance(each, tuple):
                face, crop = each
                thumbnail = None if self.thumbnail is None else self.thumbnail(crop)
                made.append(replace(face, embedding=next(embedded), thumbnail=thumbnail))
            else:
                report.unchanged += each is None
                made.append(each)
        return made

    def _prepared(self, planned: Planned) -> GalleryFace | tuple[GalleryFace, NDArray[np.uint8]] | str | None:
        """A face; a face without its embedding, and its crop; why it is none; or None if it is there already."""
        if planned.fault is not None:
            return planned.fault
        face = GalleryFace(
            planned.id,
            np.zeros(self.store.embedding_size, np.float32) if planned.embedding is None else planned.embedding,
            planned.label,
            subject=planned.subject,
            metadata=planned.metadata,
            content_sha256=planned.content_sha256,
            time=planned.time,
        )
        try:
            check_face(face, self.store.embedding_size)
            if planned.path is None:
                return face
            assert self.pipeline is not None  # noqa: S101
            data = read_file(planned.path, self.pipeline.limits)
            face = replace(face, content_sha256=hashlib.sha256(data).hexdigest())
            try:
                if face.same_content(self.store.get(face.id)):
                    return None
            except UnknownFaceError:
                pass
            return face, self.pipeline.find(data, already_cropped=self.already_cropped)[0].crop
        except (ImageError, QueryError) as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)

    def _add(self, faces: Sequence[tuple[Planned, GalleryFace]], report: ImportReport) -> None:
        if not faces:
            return
        names = named(self.bundle, np.stack([face.embedding for _, face in faces]))
        whole = [
            (planned, replace(face, emotion=emotion, sub_class=sub_class))
            for (planned, face), (emotion, sub_class) in zip(faces, names, strict=True)
        ]
        try:
            done = self.store.add([face for _, face in whole], replace=self.replacing)
        except FaceConflictError as error:
            if len(whole) == 1:
                report.skipped.append((whole[0][0].source, whole[0][0].id, str(error)))
                return
            middle = len(whole) // 2
            self._add(faces[:middle], report)
            self._add(faces[middle:], report)
            return
        report.added += len(done.added)
        report.replaced += len(done.replaced)
        report.unchanged += len(done.unchanged)


def export_parquet(store: GalleryStore, path: Path, on_progress: Callable[[int], object] = lambda _: None) -> int:
    """Write all faces to a Parquet file, whole or not at all; returns how many.

    Args:
        store: the gallery.
        path: the file.
        on_progress: called with how many faces are done, after each batch.

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
        ],
        metadata={EMBEDDER_KEY: store.embedder_sha256.encode()},
    )
    count = 0
    with written_whole(path) as file, arrow.parquet.ParquetWriter(file, schema) as writer:
        faces = every_face(store)
        while block := list(islice(faces, _EMBEDDINGS_AT_ONCE)):
            writer.write_batch(arrow.RecordBatch.from_pylist([_row(face) for face in block], schema))
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

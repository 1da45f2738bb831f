"""Import by the threads of this process.

An import that was interrupted is run again: a face that the gallery has with the same content is skipped before its
image is decoded, unless a thumbnail or further faces are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from mien.index.bundle.bundle import Bundle
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore
from mien.model.container import usable_cores
from mien.model.embedder.embedder import BATCH_FACES
from mien.model.pipeline import Pipeline
from mien.service.bulk.manifests import Manifest, ManifestFace
from mien.service.bulk.report import ImportReport
from mien.service.bulk.stages import (
    Draft,
    ImportOptions,
    PrepareStage,
    WriteStage,
    embed_drafts,
    mark_duplicates,
    stored_faces,
)
from mien.service.inference.worker_pool import split

OnProgress = Callable[[int], object]
"""Called after each batch with its number of faces."""

_IMAGES_AT_ONCE: Final = 64
_EMBEDDINGS_AT_ONCE: Final = 2_000


@dataclass(frozen=True)
class Importer:
    """An import by the threads of this process.

    Attributes:
        store: the gallery.
        bundle: labels the faces.
        pipeline: reads and embeds the images.
        options: of the import.
    """

    store: GalleryStore
    bundle: Bundle
    pipeline: Pipeline
    options: ImportOptions

    def run(self, manifest: Manifest, on_progress: OnProgress = lambda _: None) -> ImportReport:
        """Import every face that can be imported.

        Raises:
            GalleryError: the gallery fails, or the embeddings are of another network. Faces that were added stay.
        """
        manifest.check_embedder_matches(self.store.embedder_sha256)
        first = PrepareStage(self.pipeline, self.store.embedding_size, self.options)
        last = WriteStage(self.store, self.bundle, self.options.replacing)
        report, seen = ImportReport(), set[str]()

        def embed_in_thread(faces: Sequence[ManifestFace], stored: Mapping[str, GalleryFace]) -> list[Draft]:
            drafts = [draft for entry in faces for draft in first.prepare(entry, stored.get(entry.id))]
            return drafts if self.pipeline.embedder.is_on_gpu else embed_drafts(drafts, self.pipeline.embedder)

        def write(count: int, jobs: "Sequence[Future[list[Draft]]]") -> None:
            drafts = [draft for job in jobs for draft in job.result()]
            report.include(last.write(embed_drafts(drafts, self.pipeline.embedder)))
            on_progress(count)

        cores = usable_cores()
        with ThreadPoolExecutor(cores) as threads:
            begun: tuple[int, list[Future[list[Draft]]]] | None = None
            try:
                for batch in _batches(manifest.faces):
                    faces = mark_duplicates(batch, seen)
                    stored = stored_faces(self.store, faces)
                    jobs_faces = max(BATCH_FACES, len(faces) // _IMAGES_AT_ONCE)
                    jobs = [threads.submit(embed_in_thread, part, stored) for part in split(faces, cores, jobs_faces)]
                    # The threads are busy with this batch while the one before is written.
                    begun, before = (len(batch), jobs), begun
                    if before is not None:
                        write(*before)
                if begun is not None:
                    write(*begun)
            finally:
                threads.shutdown(cancel_futures=True)
        return report


def _batches(faces: Iterator[ManifestFace]) -> Iterator[list[ManifestFace]]:
    """Batches with a limited number of images and of embeddings."""
    batch: list[ManifestFace] = []
    images = 0
    for face in faces:
        batch.append(face)
        images += face.path is not None
        if images == _IMAGES_AT_ONCE or len(batch) == _EMBEDDINGS_AT_ONCE:
            yield batch
            batch, images = [], 0
    if batch:
        yield batch

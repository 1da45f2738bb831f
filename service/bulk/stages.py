"""The stages of an import, for the threads of one process and for a cluster: a face is prepared, embedded and written.

Each stage takes the drafts of the stage before it. A draft that is finished passes through the other stages: either it
has a fault, or the gallery has the face already.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.errors import FaceConflictError, QueryError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore
from mien.index.gallery.validation import check_face, new_id
from mien.index.mixture.labelling import label_points
from mien.model.embedder.embedder import Embedder
from mien.model.errors import ImageError
from mien.model.faces.decoding import read_file
from mien.model.faces.reader import FaceReader
from mien.model.faces.sandboxed_reader import SandboxedReader
from mien.service.bulk.manifests import ManifestFace
from mien.service.bulk.object_store import StoredFile
from mien.service.bulk.report import ImportReport
from mien.service.inference.gallery_additions import numbered_id


@dataclass(frozen=True, eq=False)
class Draft:
    """A face on its way into a gallery.

    Attributes:
        entry: its entry in the manifest.
        face: the face as far as it is known; None if the draft is finished.
        crop: (h, w) uint8 that is still to be embedded.
        fault: why the face cannot be imported; None in a finished draft means that the gallery has the face already.
    """

    entry: ManifestFace
    face: GalleryFace | None = None
    crop: NDArray[np.uint8] | None = None
    fault: str | None = None


@dataclass(frozen=True)
class ImportOptions:
    """How faces are imported.

    Attributes:
        already_cropped: images are face crops.
        max_faces: the largest faces of an image that are imported; None imports all.
        thumbnails: faces get thumbnails, also those that the gallery has without.
        replacing: replace faces that the gallery has with the same id and other content, instead of skipping them.
    """

    already_cropped: bool = False
    max_faces: int | None = 1
    thumbnails: bool = False
    replacing: bool = False


@dataclass(frozen=True)
class PrepareStage:
    """The first stage: read, decode, detect and align.

    Attributes:
        reader: reads the faces of images.
        embedding_size: d, the dimensions of the gallery.
        options: of the import.
    """

    reader: FaceReader | SandboxedReader
    embedding_size: int
    options: ImportOptions = ImportOptions()

    def prepare(self, entry: ManifestFace, stored: GalleryFace | None) -> list[Draft]:
        """Drafts with crops, or one with the embedding of the manifest or a finished one.

        Args:
            entry: of the manifest.
            stored: the gallery's face with the same id. If its image is the same, nothing is decoded, unless it may
                have further faces or its thumbnail is missing.
        """
        if entry.fault is not None:
            return [Draft(entry, fault=entry.fault)]
        face = GalleryFace(
            entry.id,
            np.zeros(self.embedding_size, np.float32) if entry.embedding is None else entry.embedding,
            entry.label,
            subject=entry.subject,
            metadata=entry.metadata if entry.path is None else {"path": _text(entry.path), **entry.metadata},
            content_sha256=entry.content_sha256,
            time=entry.time,
            thumbnail=entry.thumbnail,
        )
        options = self.options
        try:
            face = replace(face, id=new_id(face.id))
            check_face(face, self.embedding_size)
            if entry.path is None:
                return [Draft(entry, face)]
            limits = self.reader.limits
            data = read_file(entry.path, limits) if isinstance(entry.path, Path) else entry.path.read(limits)
            face = replace(face, content_sha256=hashlib.sha256(data).hexdigest())
            if stored is not None:
                again = _with_path_of(face, stored, entry.metadata)
                if again.same_content(stored):
                    face = again
                    if options.max_faces == 1 and (stored.has_thumbnail or not options.thumbnails):
                        return [Draft(entry)]
            found = self.reader.read_faces(
                data,
                already_cropped=options.already_cropped,
                thumbnails=(options.max_faces or sys.maxsize) if options.thumbnails else 0,
            )
        except (ImageError, QueryError) as error:
            return [Draft(entry, fault=str(error))]
        except OSError as error:
            return [Draft(entry, fault=error.strerror or str(error).partition("\n")[0])]
        return [
            Draft(
                replace(entry, id=numbered_id(entry.id, number)),
                replace(face, id=numbered_id(face.id, number), thumbnail=each.thumbnail),
                each.crop,
            )
            for number, each in enumerate(found[: options.max_faces], 1)
        ]


def _text(path: Path | StoredFile) -> str:
    return str(path.absolute()) if isinstance(path, Path) else str(path)


def _with_path_of(face: GalleryFace, stored: GalleryFace, given: Mapping[str, Any]) -> GalleryFace:
    """The face with the path of the stored one, as a folder may have moved; unless its path was given as metadata."""
    if "path" in given:
        return face
    metadata = {name: value for name, value in face.metadata.items() if name != "path"}
    if "path" in stored.metadata:
        metadata["path"] = stored.metadata["path"]
    return replace(face, metadata=metadata)


def embed_drafts(drafts: Sequence[Draft], embedder: Embedder) -> list[Draft]:
    """The second stage: an embedding for each crop; drafts without a crop are returned unchanged."""
    crops = [draft.crop for draft in drafts if draft.crop is not None]
    if not crops:
        return list(drafts)
    embeddings = iter(embedder.embed(np.stack(crops)))

    def embed(draft: Draft) -> Draft:
        if draft.crop is None or draft.face is None:
            return draft
        return replace(draft, face=replace(draft.face, embedding=next(embeddings)), crop=None)

    return [embed(draft) for draft in drafts]


@dataclass(frozen=True)
class WriteStage:
    """The last stage: faces get their emotion and are added.

    Attributes:
        store: the gallery.
        bundle: labels the faces.
        replacing: replace faces that the gallery has with the same id and other content, instead of skipping them.
    """

    store: GalleryStore
    bundle: Bundle
    replacing: bool = False

    def write(self, drafts: Sequence[Draft]) -> ImportReport:
        """Add the faces of drafts.

        Raises:
            GalleryError: the gallery fails.
        """
        report = ImportReport(
            unchanged=sum(draft.face is None and draft.fault is None for draft in drafts),
            skipped=[(draft.entry.source, draft.entry.id, draft.fault) for draft in drafts if draft.fault is not None],
        )
        faces = [(draft.entry, draft.face) for draft in drafts if draft.face is not None and draft.fault is None]
        if faces:
            embeddings = np.stack([face.embedding for _, face in faces])
            labels = label_points(self.bundle.mixture, self.bundle.sub_classes, embeddings)
            self._add(
                [
                    (entry, replace(face, emotion=emotion, sub_class=sub_class))
                    for (entry, face), (emotion, sub_class) in zip(faces, labels, strict=True)
                ],
                report,
            )
        return report

    def _add(self, faces: Sequence[tuple[ManifestFace, GalleryFace]], report: ImportReport) -> None:
        """Add faces; in two halves if one of them is a conflict, until it is found."""
        try:
            result = self.store.add([face for _, face in faces], replace=self.replacing)
        except FaceConflictError as error:
            if len(faces) == 1:
                report.skipped.append((faces[0][0].source, faces[0][0].id, str(error)))
                return
            middle = len(faces) // 2
            self._add(faces[:middle], report)
            self._add(faces[middle:], report)
            return
        report.added += len(result.added)
        report.replaced += len(result.replaced)
        report.unchanged += len(result.unchanged)


def mark_duplicates(faces: Sequence[ManifestFace], seen: set[str]) -> list[ManifestFace]:
    """Entries of a manifest, where those whose id came before in the same import have a fault.

    Args:
        faces: in their order.
        seen: the ids that came before; those of ``faces`` are added.
    """
    marked = []
    for entry in faces:
        again = entry.fault is None and entry.id in seen
        marked.append(replace(entry, fault="the id came before in this import") if again else entry)
        if entry.fault is None:
            seen.add(entry.id)
    return marked


def stored_faces(store: GalleryStore, faces: Sequence[ManifestFace]) -> Mapping[str, GalleryFace]:
    """The gallery's faces with the ids of images; embeddings are compared only when they are written."""
    return store.get_many([entry.id for entry in faces if entry.path is not None and entry.fault is None])

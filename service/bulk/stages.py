"""The stages of an import: a face is prepared, embedded and written, whether by threads of one process or by a cluster.

Each stage takes drafts from the one before it, and a draft that has come to its end passes through the others
untouched: what cannot be imported carries the reason, what is there already carries nothing.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.errors import FaceConflictError, QueryError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore
from mien.index.gallery.validation import check_face
from mien.index.mixture.labelling import label_points
from mien.model.embedder.embedder import Embedder
from mien.model.errors import ImageError
from mien.model.faces.decoding import read_file
from mien.model.faces.reader import FaceReader
from mien.service.bulk.manifests import Planned

Thumbnail = Callable[[NDArray[np.uint8]], bytes]


@dataclass(frozen=True, eq=False)
class Draft:
    """A face on its way into a gallery.

    Attributes:
        planned: what the manifest says of it.
        face: as far as it has come; None where it has come to its end.
        crop: (h, w) uint8 that is still to be embedded.
        fault: why it cannot be imported.
    """

    planned: Planned
    face: GalleryFace | None = None
    crop: NDArray[np.uint8] | None = None
    fault: str | None = None

    @property
    def unchanged(self) -> bool:
        """Whether it is there already."""
        return self.face is None and self.fault is None


@dataclass
class ImportReport:
    """What became of an import.

    Attributes:
        added: faces that are new.
        replaced: faces that had other content.
        unchanged: faces that were there already.
        skipped: (source, id, reason) of the others.
        nodes: faces that each machine of a cluster prepared, by its name.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    skipped: list[tuple[str, str, str]] = field(default_factory=list)
    nodes: dict[str, int] = field(default_factory=dict)

    @property
    def faces(self) -> int:
        """All that came."""
        return self.added + self.replaced + self.unchanged + len(self.skipped)

    def skip(self, planned: Planned, reason: str) -> None:
        """Note that a face was not imported."""
        self.skipped.append((planned.source, planned.id, reason))

    def include(self, other: "ImportReport") -> None:
        """Add what became of others."""
        self.added += other.added
        self.replaced += other.replaced
        self.unchanged += other.unchanged
        self.skipped += other.skipped
        for node, faces in other.nodes.items():
            self.nodes[node] = self.nodes.get(node, 0) + faces


@dataclass(frozen=True)
class Preparing:
    """The first stage: read, decode, detect and align.

    Attributes:
        reader: of images.
        embedding_size: d, the dimensions of the gallery.
        already_cropped: images are face crops.
    """

    reader: FaceReader
    embedding_size: int
    already_cropped: bool = False

    def prepare(self, planned: Planned, stored: GalleryFace | None) -> Draft:
        """A draft with a crop, or of an embedding that came; or the end of one.

        Args:
            planned: what the manifest says.
            stored: the face that the gallery has under its id. If the picture is the same, nothing is decoded.
        """
        if planned.fault is not None:
            return Draft(planned, fault=planned.fault)
        face = GalleryFace(
            planned.id,
            np.zeros(self.embedding_size, np.float32) if planned.embedding is None else planned.embedding,
            planned.label,
            subject=planned.subject,
            metadata=planned.metadata,
            content_sha256=planned.content_sha256,
            time=planned.time,
            thumbnail=planned.thumbnail,
        )
        try:
            check_face(face, self.embedding_size)
            if planned.path is None:
                return Draft(planned, face)
            data = self._read(planned)
            face = replace(face, content_sha256=hashlib.sha256(data).hexdigest())
            if stored is not None and face.same_content(stored):
                return Draft(planned)
            return Draft(planned, face, self.reader.read_faces(data, already_cropped=self.already_cropped)[0].crop)
        except (ImageError, QueryError) as error:
            return Draft(planned, fault=str(error))
        except OSError as error:
            return Draft(planned, fault=error.strerror or str(error).partition("\n")[0])

    def _read(self, planned: Planned) -> bytes:
        if isinstance(planned.path, Path):
            return read_file(planned.path, self.reader.limits)
        assert planned.path is not None  # noqa: S101
        return planned.path.read(self.reader.limits)


def embed_drafts(drafts: Sequence[Draft], embedder: Embedder, thumbnail: Thumbnail | None = None) -> list[Draft]:
    """The second stage: an embedding for each crop.

    Args:
        drafts: of which those that have a crop are embedded.
        embedder: of the gallery's network.
        thumbnail: makes a thumbnail of a crop; None keeps none.
    """
    crops = [draft.crop for draft in drafts if draft.crop is not None]
    if not crops:
        return list(drafts)
    came = iter(embedder.embed(np.stack(crops)))

    def embedded(draft: Draft) -> Draft:
        if draft.crop is None or draft.face is None:
            return draft
        picture = None if thumbnail is None else thumbnail(draft.crop)
        return replace(draft, face=replace(draft.face, embedding=next(came), thumbnail=picture), crop=None)

    return [embedded(draft) for draft in drafts]


@dataclass(frozen=True)
class Writing:
    """The last stage: faces are named and added.

    Attributes:
        store: the gallery.
        bundle: names the faces.
        replacing: faces with an id that is there with other content take its place, in place of being skipped.
    """

    store: GalleryStore
    bundle: Bundle
    replacing: bool = False

    def write(self, drafts: Sequence[Draft]) -> ImportReport:
        """Add what can be added; says what became of each.

        Raises:
            GalleryError: the gallery fails.
        """
        report = ImportReport()
        whole: list[tuple[Planned, GalleryFace]] = []
        for draft in drafts:
            if draft.fault is not None:
                report.skip(draft.planned, draft.fault)
            elif draft.face is not None:
                whole.append((draft.planned, draft.face))
            else:
                report.unchanged += 1
        if whole:
            names = label_points(
                self.bundle.mixture, self.bundle.sub_classes, np.stack([face.embedding for _, face in whole])
            )
            self._add(
                [
                    (planned, replace(face, emotion=emotion, sub_class=sub_class))
                    for (planned, face), (emotion, sub_class) in zip(whole, names, strict=True)
                ],
                report,
            )
        return report

    def _add(self, faces: Sequence[tuple[Planned, GalleryFace]], report: ImportReport) -> None:
        try:
            done = self.store.add([face for _, face in faces], replace=self.replacing)
        except FaceConflictError as error:
            if len(faces) == 1:
                report.skip(faces[0][0], str(error))
                return
            middle = len(faces) // 2
            self._add(faces[:middle], report)
            self._add(faces[middle:], report)
            return
        report.added += len(done.added)
        report.replaced += len(done.replaced)
        report.unchanged += len(done.unchanged)


def each_once(faces: Sequence[Planned], seen: set[str]) -> list[Planned]:
    """Planned faces, of which those whose id came before in the same import are at fault.

    Args:
        faces: in their order.
        seen: the ids that came; those of ``faces`` are added.
    """
    once = []
    for planned in faces:
        again = planned.fault is None and planned.id in seen
        once.append(replace(planned, fault="the id came before in this import") if again else planned)
        if planned.fault is None:
            seen.add(planned.id)
    return once


def stored_of(store: GalleryStore, faces: Sequence[Planned]) -> Mapping[str, GalleryFace]:
    """What the gallery has under the ids of planned images; embeddings are compared when they are written."""
    return store.get_many([planned.id for planned in faces if planned.path is not None and planned.fault is None])

"""The interface of a gallery: the faces that a user adds, and the searches among them.

``GalleryStore`` is the base of every implementation, and decides what they decide alike: what may be added, when an id
is a conflict, which query is refused, where a page ends. Where the faces are kept is up to the implementation. The same
tests run against each (``tests/index/gallery/test_contract.py``):

- A write returns once it is durable and the next search finds it. A write that is refused leaves the gallery unchanged:
  ``add`` writes all its faces or none.
- A search never returns too few: if k faces pass the options, k come back, whatever the index underneath.
- Distances are Euclidean, in embedding units. Matches are sorted by distance, equal distances by id.
- A snapshot number stands for the content of the gallery at a moment. Searching and listing *at* a snapshot leaves out
  faces that were added or replaced since, so that pages do not shift while the gallery grows.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import FaceConflictError, QueryError, UnknownFaceError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter
from mien.index.gallery.results import AddResult, Listing, Sample, SearchResult, Statistics
from mien.index.gallery.validation import apply_changes, check_faces, check_queries, excerpt, new_id, normal_id


@dataclass(frozen=True)
class SearchOptions:
    """Which faces may match.

    Attributes:
        filter: only faces that pass it.
        one_per_subject: only the nearest face of each subject; a face without a subject is a subject by itself.
        exclude_subjects: no faces of these subjects.
        exclude_ids: no faces with these ids.
        exclude_content: no faces of image files with these SHA-256.
        copies_within: no faces that are this near to the query or nearer, in embedding units: they are copies of it.
        max_distance: no faces that are farther, in embedding units.
        snapshot: no faces that were added or replaced after this snapshot number.
        after: (distance, id) of the last match of the page before; only matches that come after it. Takes one query.
        marks: marks (``mien.index.gallery.cursor``) of faces that are on a page before although they come after
            ``after``.
        marks_until: the distance of the last of these faces.
    """

    filter: Filter | None = None
    one_per_subject: bool = False
    exclude_subjects: frozenset[str] = frozenset()
    exclude_ids: frozenset[str] = frozenset()
    exclude_content: frozenset[str] = frozenset()
    copies_within: float | None = None
    max_distance: float | None = None
    snapshot: int | None = None
    after: tuple[float, str] | None = None
    marks: frozenset[str] = frozenset()
    marks_until: float = 0.0


EVERYTHING: Final = SearchOptions()
"""The options that exclude nothing."""


class GalleryWrite(Protocol):
    """A write to some faces of a gallery, which no other write of this process changes meanwhile."""

    def find(self, face_id: str) -> GalleryFace | None:
        """The face with this id, with its thumbnail."""

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        """The faces with these ids, by id, without thumbnails; unknown ids are skipped."""

    def put(self, faces: Sequence[GalleryFace], replaced: Sequence[GalleryFace]) -> None:
        """Write faces, giving each its sequence number and, without one, the time.

        Args:
            faces: to write.
            replaced: the stored faces that have ids of ``faces``, as ``get_many`` returned them.
        """

    def update(self, face: GalleryFace) -> None:
        """Write the changed fields of a stored face, and its thumbnail where it has one."""

    def delete(self, ids: Sequence[str]) -> Collection[str]:
        """Delete the faces with these ids, all different; returns those that were stored."""


class GalleryStore(ABC):
    """A gallery. Thread-safe.

    Every method raises ``GalleryError`` if the storage fails, such as a full disk or a server that does not answer. The
    gallery is then as it was before the call.

    Attributes:
        embedding_size: d, the dimensions of every embedding.
        embedder_sha256: SHA-256 of the network that made every embedding.
        remarks: what the user should know about the opening, such as a file that was rebuilt.
        read_only: whether every write raises ``ReadOnlyGalleryError``.
    """

    read_only: ClassVar[bool] = False

    def __init__(self, embedding_size: int, embedder_sha256: str, remarks: Sequence[str] = ()) -> None:
        self.embedding_size = embedding_size
        self.embedder_sha256 = embedder_sha256
        self.remarks = remarks

    def is_new(self) -> bool:
        """Whether no face was ever added, as far as the storage can say."""
        return self.count() == 0

    def check_writable(self) -> None:  # noqa: B027 - the default of writable galleries
        """Refuse writes to a read-only gallery.

        Raises:
            ReadOnlyGalleryError: the gallery is read-only.
        """

    def check_open(self) -> None:  # noqa: B027 - the default of galleries whose storage tells when it is asked
        """Refuse to go on where the storage is not there any more.

        Raises:
            GalleryError: it is not.
        """

    def add(self, faces: Sequence[GalleryFace], *, replace: bool = False) -> AddResult:
        """Add faces, all or none; their ids are brought into Unicode's normal form C.

        A face that is in the gallery with the same content, but without a thumbnail, gets that of the added one.

        Args:
            faces: to add.
            replace: whether a face replaces the one that has its id and other content.

        Raises:
            FaceFieldError: a face is invalid (``mien.index.gallery.validation.check_face``), an id has invisible
                characters, or occurs twice.
            FaceConflictError: an id is in the gallery with other content, and ``replace`` is false.
            ReadOnlyGalleryError: the gallery is read-only.
        """
        self.check_writable()
        names = [new_id(face.id) for face in faces]
        if names != [face.id for face in faces]:
            faces = [dataclasses.replace(face, id=name) for face, name in zip(faces, names, strict=True)]
        check_faces(faces, self.embedding_size)
        if not faces:
            return AddResult((), (), ())
        ids = [face.id for face in faces]
        with self._write(ids) as write:
            stored = write.get_many(ids)
            unchanged = {face.id for face in faces if face.id in stored and face.same_content(stored[face.id])}
            conflicts = [face_id for face_id in ids if face_id in stored and face_id not in unchanged]
            if conflicts and not replace:
                more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
                raise FaceConflictError(
                    f"the id {excerpt(conflicts[0])}{more} is in the gallery with other content: "
                    "ask for it to be replaced, or choose another id"
                )
            changed = [face for face in faces if face.id not in unchanged]
            if changed:
                write.put(changed, [stored[face_id] for face_id in conflicts])
            for face in faces:
                if face.id in unchanged and face.thumbnail is not None and not stored[face.id].has_thumbnail:
                    write.update(dataclasses.replace(stored[face.id], thumbnail=face.thumbnail))
        return AddResult(
            tuple(face_id for face_id in ids if face_id not in stored),
            tuple(conflicts),
            tuple(face_id for face_id in ids if face_id in unchanged),
        )

    def update(self, face_id: str, changes: Mapping[str, Any]) -> GalleryFace:
        """Change fields of a face; see ``mien.index.gallery.validation.apply_changes``. Returns the changed face.

        Raises:
            UnknownFaceError: the gallery has no such face.
            FaceFieldError: a change is invalid.
            ReadOnlyGalleryError: the gallery is read-only.
        """
        self.check_writable()
        with self._write([face_id, normal_id(face_id)]) as write:
            face = apply_changes(_known(write.find(face_id) or write.find(normal_id(face_id)), face_id), changes)
            write.update(face)
            return face

    def delete(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Delete faces, skipping unknown ids; returns the ids that were deleted, in their order.

        Raises:
            ReadOnlyGalleryError: the gallery is read-only.
        """
        self.check_writable()
        names = {face_id: normal_id(face_id) for face_id in ids}
        with self._write({*names, *names.values()}) as write:
            others = [face_id for face_id, name in names.items() if face_id != name]
            if others:  # older galleries may have ids in other forms
                names |= {face_id: face_id for face_id in write.get_many(others)}
            deleted = write.delete(list(names.values()))
        return tuple(face_id for face_id, name in names.items() if name in deleted)

    def get(self, face_id: str) -> GalleryFace:
        """The face with this id, with its thumbnail.

        Raises:
            UnknownFaceError: the gallery has no such face.
        """
        return _known(self._find(face_id) or self._find(normal_id(face_id)), face_id)

    def search(self, queries: NDArray[np.float32], k: int, options: SearchOptions = EVERYTHING) -> SearchResult:
        """The k nearest faces of each query, nearest first, among those that the options let pass.

        Args:
            queries: (q, d) float32 embeddings.
            k: at least 1; if fewer faces pass, all of them match.
            options: which faces may match.

        Raises:
            QueryError: k is below 1, the queries have other dimensions than the gallery or are not finite, a page is
                asked of several queries, or a distance is negative or NaN.
        """
        check_queries(queries, k, self.embedding_size)
        if not np.isfinite(queries).all():
            raise QueryError("a query should consist of finite numbers, got NaN or infinity")
        if options.after is not None and len(queries) != 1:
            raise QueryError(f"a next page takes one query, got {len(queries)}")
        for name in ("copies_within", "max_distance"):
            distance = getattr(options, name)
            if distance is not None and not distance >= 0:
                raise QueryError(f"{name} must be a distance of at least 0, got {distance}")
        return self._search(np.ascontiguousarray(queries, dtype=np.float32), k, options)

    def listing(
        self,
        limit: int,
        *,
        after: str | None = None,
        condition: Filter | None = None,
        snapshot: int | None = None,
    ) -> Listing:
        """A page of faces, sorted by id (by code points).

        Args:
            limit: faces of the page, at least 1.
            after: only ids that come after this one.
            condition: only faces that pass it.
            snapshot: only faces that were in the gallery at this snapshot number, as they are now.

        Raises:
            QueryError: the limit is below 1.
        """
        if limit < 1:
            raise QueryError(f"the limit of a page must be at least 1, got {limit}")
        faces, snapshot = self._list(limit + 1, after, condition, snapshot)  # one more says whether a page follows
        return Listing(faces[:limit], snapshot, faces[limit - 1].id if len(faces) > limit else None)

    def check(self, queries: int = 200, k: int = 10, *, thorough: bool = False) -> dict[str, Any]:
        """Check the storage, and compare what is served with exact search.

        Args:
            queries: faces of the gallery to search for, moved a little.
            k: matches of each.
            thorough: also check what takes the storage long.

        Returns:
            JSON values: ``faces``, ``index``, ``remarks``, what the storage can check, recall and times.
        """
        from mien.index.gallery.check import measure_recall  # FAISS is imported where it is used

        storage = self._check_storage(thorough=thorough)  # which may set faces aside
        report = {"faces": self.count(), "index": self.index, "remarks": list(self.remarks)} | storage
        return report | (measure_recall(self, queries, k) if report["faces"] else {})

    def values_read(self, condition: Filter) -> int:  # noqa: ARG002
        """About how many values of faces a filter makes this process read; see ``values_read`` of the columns."""
        return 0

    def prepare(self, options: SearchOptions) -> None:  # noqa: B027 - a server needs nothing
        """Read what a search with these options needs and memory does not have: then the search itself is quick."""

    @abstractmethod
    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        """The faces with these ids, by id, without thumbnails; unknown ids are skipped."""

    @abstractmethod
    def thumbnails(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """The thumbnails of the faces with these ids, by id; faces without one are skipped."""

    @abstractmethod
    def pages(self) -> Iterator[list[GalleryFace]]:
        """All faces with their thumbnails, a page at a time, while others read and write.

        A face that is changed meanwhile comes once, as it was or as it is.
        """

    @abstractmethod
    def delete_where(self, condition: Filter) -> int:
        """Delete every face that passes a filter; returns how many there were.

        Raises:
            ReadOnlyGalleryError: the gallery is read-only.
        """

    @abstractmethod
    def count(self, condition: Filter | None = None) -> int:
        """The number of faces, or of those that pass a filter."""

    @abstractmethod
    def statistics(self) -> Statistics:
        """Counts by subject, emotion, label and sub-class."""

    @abstractmethod
    def sample(self, size: int) -> Sample:
        """Up to ``size`` faces, drawn evenly; the same ones each time, as long as the gallery does not change."""

    @abstractmethod
    def snapshot(self, folder: Path) -> int:
        """Write all faces to a new folder, while others read and write; returns how many there are.

        The folder is an embedded gallery, whichever implementation wrote it, so that any can restore it.

        Raises:
            GalleryError: the folder exists already.
        """

    @abstractmethod
    def restore(self, folder: Path) -> int:
        """Replace all faces by those of a snapshot, or change nothing; returns how many there are.

        Raises:
            GalleryError: the folder holds no snapshot, one of a newer version, or of another network.
            ReadOnlyGalleryError: the gallery is read-only.
        """

    @property
    @abstractmethod
    def index(self) -> str:
        """How the embeddings are searched, such as ``exact`` or ``ivf``."""

    @abstractmethod
    def close(self) -> None:
        """Release everything; another process may open the gallery."""

    @abstractmethod
    def _write(self, ids: Collection[str]) -> AbstractContextManager[GalleryWrite]:
        """A write to the faces with some ids: durable and found by searches when the block ends without an error."""

    def _check_storage(self, *, thorough: bool) -> dict[str, Any]:  # noqa: ARG002 - the storage may have nothing
        """What the storage can check, as JSON values."""
        return {}

    @abstractmethod
    def _find(self, face_id: str) -> GalleryFace | None:
        """The face with this id, with its thumbnail."""

    @abstractmethod
    def _search(self, queries: NDArray[np.float32], k: int, options: SearchOptions) -> SearchResult:
        """``search`` with valid arguments."""

    @abstractmethod
    def _list(
        self, limit: int, after: str | None, condition: Filter | None, snapshot: int | None
    ) -> tuple[list[GalleryFace], int]:
        """Up to ``limit`` faces sorted by id, and the snapshot number that was listed."""


def every_face(store: GalleryStore, condition: Filter | None = None, page: int = 1000) -> Iterator[GalleryFace]:
    """Every face that passes the filter, by id, without thumbnails; one page in memory at a time."""
    after: str | None = None
    snapshot: int | None = None
    while True:
        listing = store.listing(page, after=after, condition=condition, snapshot=snapshot)
        yield from listing.faces
        if listing.next_after is None:
            return
        after, snapshot = listing.next_after, listing.snapshot


def _known(face: GalleryFace | None, face_id: str) -> GalleryFace:
    if face is None:
        raise UnknownFaceError(f"the gallery has no face with the id {excerpt(face_id)}")
    return face

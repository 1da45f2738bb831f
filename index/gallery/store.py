"""What a gallery is to those who use it, whatever keeps it: the faces an owner has added, and the questions to them.

Each implementation answers alike, and the same tests run against each (``tests/test_gallery_contract.py``):

- A write is acknowledged, by returning, after it is durable and findable by the next search. A write that is refused
  leaves the gallery as it was: all faces of one ``add`` are written or none.
- A search never falls silently short: if k faces pass the options, k come back, whatever index is underneath.
- Distances are Euclidean, in embedding units. Matches stand by distance, equal ones by id.
- A snapshot number stands for what the gallery held at a moment. Searching and listing *at* a snapshot leaves out what
  was added or replaced since, so that pages which name one do not shift while the gallery grows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import QueryError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter

FORMAT_VERSION: Final = 1
"""Version of what a gallery stores of a face; a gallery of a newer one is refused."""


@dataclass(frozen=True)
class SearchOptions:
    """Which faces a search may answer with.

    Attributes:
        filter: they pass it.
        one_per_subject: of each subject the nearest alone; a face without a subject counts as a subject of its own.
        exclude_subjects: none of these.
        exclude_ids: none of these.
        exclude_content: none that came from a picture with one of these SHA-256.
        copies_within: none that is this near to the query or nearer, in embedding units: they are copies of it.
        max_distance: none that is farther, in embedding units.
        snapshot: none that was added or replaced after this snapshot number.
        after: (distance, id) of the last match of the page before; only what stands after it. For one query alone.
        marks: marks (``mien.index.gallery.cursor``) of faces that a page before has shown although they may stand after
            it.
        marks_until: the distance of the last of them.
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
"""The options that leave nothing out."""


@dataclass(frozen=True)
class GalleryMatch:
    """A face that answers a query.

    Attributes:
        face: without its thumbnail.
        distance: Euclidean, in embedding units; smaller is nearer.
    """

    face: GalleryFace
    distance: float


@dataclass(frozen=True)
class SearchResult:
    """The answer to a search.

    Attributes:
        matches: (q,) lists, nearest first, equal distances by id.
        snapshot: the number of what was searched, for the next page.
        exact: whether the matches are surely the nearest; approximate search may have missed some.
    """

    matches: list[list[GalleryMatch]]
    snapshot: int
    exact: bool = True


@dataclass(frozen=True)
class AddResult:
    """What became of the faces of one ``add``, in their order.

    Attributes:
        added: ids that are new.
        replaced: ids that had other content before.
        unchanged: ids that were there already with the same content.
    """

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """A page of a gallery.

    Attributes:
        faces: by id, without thumbnails.
        snapshot: the number of what was listed, for the next page.
        next_after: the id that the next page starts after; None if this was the last.
    """

    faces: list[GalleryFace]
    snapshot: int
    next_after: str | None


@dataclass(frozen=True)
class Statistics:
    """How many faces there are of what; faces without the field count under None.

    Attributes:
        faces: all.
        subjects: different ones.
        emotions: name to faces.
        labels: name to faces.
        sub_classes: id to faces.
    """

    faces: int
    subjects: int
    emotions: Mapping[str | None, int]
    labels: Mapping[str | None, int]
    sub_classes: Mapping[str | None, int]


@dataclass(frozen=True, eq=False)
class Sample:
    """Some faces of a gallery, or all.

    Attributes:
        ids: (n,) of the faces.
        embeddings: (n, d) float32.
        emotions: (n,) the label of each or, without one, what the mixture named when it was added; None without both.
        faces: how many the gallery has; more than n where it was sampled.
    """

    ids: Sequence[str]
    embeddings: NDArray[np.float32]
    emotions: Sequence[str | None]
    faces: int


class GalleryStore(Protocol):
    """A gallery. Thread-safe.

    Every method raises ``GalleryError`` where what keeps the gallery fails: a disk that is full, a server that is
    gone. The gallery is then as it was before the call.
    """

    @property
    def embedding_size(self) -> int:
        """d, the dimensions of every embedding."""

    @property
    def embedder_sha256(self) -> str:
        """SHA-256 of the network that made every embedding."""

    @property
    def read_only(self) -> bool:
        """Whether every write is refused with ``ReadOnlyGalleryError``."""

    def add(self, faces: Sequence[GalleryFace], *, replace: bool = False) -> AddResult:
        """Add faces, all or none.

        Args:
            faces: to add; ``mien.index.gallery.validation.check_face`` says what each may be.
            replace: faces with an id that is there with other content take its place.

        Raises:
            FaceFieldError: a face cannot be kept as it is, or an id stands twice.
            FaceConflictError: an id is there with other content, and ``replace`` is false.
        """

    def get(self, face_id: str) -> GalleryFace:
        """The face with this id, with its thumbnail.

        Raises:
            UnknownFaceError: there is none.
        """

    def thumbnails(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """The thumbnails of the faces with these ids, by id, of those that have one."""

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        """Those of the faces with these ids that are there, by id, without thumbnails."""

    def update(self, face_id: str, changes: Mapping[str, Any]) -> GalleryFace:
        """Change what is said of a face; see ``mien.index.gallery.validation.changed``. Returns it as it is now.

        Raises:
            UnknownFaceError: there is none.
            FaceFieldError: a change cannot be made.
        """

    def delete(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Delete faces; ids that are not there are passed over. Returns those that were there, in their order."""

    def delete_where(self, condition: Filter) -> int:
        """Delete every face that passes a filter; returns how many there were."""

    def search(self, queries: NDArray[np.float32], k: int, options: SearchOptions = EVERYTHING) -> SearchResult:
        """The k nearest faces of each query, nearest first, among those that the options let pass.

        Args:
            queries: (q, d) float32 embeddings.
            k: at least 1; where fewer faces pass, all of them are answered.
            options: which faces may be answered.

        Raises:
            QueryError: see ``check_query``.
        """

    def listing(
        self,
        limit: int,
        *,
        after: str | None = None,
        condition: Filter | None = None,
        snapshot: int | None = None,
    ) -> Listing:
        """A page of faces in the order of their ids (by code points).

        Args:
            limit: faces of the page, at least 1.
            after: only ids that stand after this one.
            condition: only faces that pass it.
            snapshot: only faces that were there by this snapshot number, as they are now.

        Raises:
            QueryError: the limit is below 1.
        """

    def count(self, condition: Filter | None = None) -> int:
        """How many faces there are, or how many of them pass a filter."""

    def statistics(self) -> Statistics:
        """How many faces there are of what."""

    def sample(self, most: int) -> Sample:
        """Up to ``most`` faces, draw_sample evenly; the same ones again, as long as the gallery does not change."""

    def snapshot(self, folder: Path) -> int:
        """Write all there is at this moment to a new folder, while others read and write; returns the number of faces.

        The folder is an embedded gallery (``mien.index.gallery.embedded.gallery``), whatever implementation wrote it,
        so that what one wrote any can restore.

        Raises:
            GalleryError: the folder is there already.
        """

    def restore(self, folder: Path) -> int:
        """Put what a snapshot holds in the place of all there is, or nothing; returns the number of faces.

        Raises:
            GalleryError: the folder holds no snapshot, one of a newer version, or of another network.
        """

    def close(self) -> None:
        """Let go of everything; another process may open the gallery."""


def every_face(store: GalleryStore, condition: Filter | None = None, page: int = 1000) -> Iterator[GalleryFace]:
    """Every face that is there now and passes the filter, by id, without thumbnails; one page in memory at a time."""
    after: str | None = None
    snapshot: int | None = None
    while True:
        listed = store.listing(page, after=after, condition=condition, snapshot=snapshot)
        yield from listed.faces
        if listed.next_after is None:
            return
        after, snapshot = listed.next_after, listed.snapshot


def check_limit(limit: int) -> None:
    """Refuse a page without faces.

    Raises:
        QueryError: the limit is below 1.
    """
    if limit < 1:
        raise QueryError(f"the limit of a page should be at least 1, got {limit}")


def check_query(queries: NDArray[np.float32], k: int, options: SearchOptions, embedding_size: int) -> None:
    """Refuse a search that cannot be answered.

    Raises:
        QueryError: k is below 1, the queries have other dimensions than the gallery or are not finite, a page is
            asked for of several queries, or a distance is negative or not a number.
    """
    if k < 1:
        raise QueryError(f"k should be at least 1, got {k}")
    if queries.ndim != 2 or queries.shape[1] != embedding_size:
        raise QueryError(f"expected queries (q, {embedding_size}), got {queries.shape}")
    if not np.isfinite(queries).all():
        raise QueryError("a query should consist of finite numbers, got NaN or infinity")
    if options.after is not None and len(queries) != 1:
        raise QueryError(f"a next page is of one query, got {len(queries)}")
    for name in ("copies_within", "max_distance"):
        distance = getattr(options, name)
        if distance is not None and not distance >= 0:
            raise QueryError(f"{name} should be a distance of at least 0, got {distance}")


def draw_sample(keys: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Which of n faces are in a sample: places, ascending.

    Each key is mixed into a number that looks random, and the lowest of these are drawn. So the sample is even whatever
    the keys mean, and while a gallery grows a face stays in it until another takes its place.

    Source of the mixing: Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*, 2014.

    Args:
        keys: (n,) one number for each face, such as its sequence number.
        most: faces of the sample.
    """
    if len(keys) <= most:
        return np.arange(len(keys), dtype=np.int64)
    mixed = keys.astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    places = np.argpartition(mixed, most)[:most]
    return np.sort(places).astype(np.int64)

"""What a gallery is to those who use it, whatever keeps it: the faces an owner has added, and the questions to them.

Each implementation answers alike, and the same tests run against each (``tests/test_gallery_contract.py``):

- A write is acknowledged, by returning, after it is durable and findable by the next search. A write that is refused
  leaves the gallery as it was: all faces of one ``add`` are written or none.
- A search never falls silently short: if k faces pass the options, k come back, whatever index is underneath.
- Distances are Euclidean, in embedding units. Matches stand by distance, equal ones by id.
- A snapshot number stands for what the gallery held at a moment. Searching and listing *at* a snapshot leaves out what
  was added or replaced since, so that pages which name one do not shift while the gallery grows.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from index.filters import Filter
from index.gallery_sample import Sample
from model.errors import FaceFieldError, QueryError

FORMAT_VERSION: Final = 1
"""Version of what a gallery stores of a face; a gallery of a newer one is refused."""

MAX_ID_BYTES: Final = 256
"""Of an id, a label, a sub-class or a subject, in UTF-8."""

MAX_METADATA_BYTES: Final = 16 * 1024
"""Of a face's metadata, as compact JSON in UTF-8."""

MAX_METADATA_DEPTH: Final = 8
"""Of objects and arrays within one another; the metadata itself is the first."""

MAX_THUMBNAIL_BYTES: Final = 64 * 1024

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class GalleryFace:
    """A face of a gallery. Two are the same face if they have the same id.

    Attributes:
        id: unique in the gallery; see ``check_face`` for what it may consist of.
        embedding: (d,) float32, finite.
        label: the emotion that the owner says it shows.
        emotion: the emotion that the mixture named when it was added.
        sub_class: the sub-class that the mixture named, such as ``happiness/2``.
        subject: the person.
        metadata: whatever the owner gave with it, JSON values.
        content_sha256: of the picture it came from, hexadecimal.
        time: when it was taken or added, seconds since 1970 (UTC); None on adding takes the present.
        thumbnail: a small picture of it, as an image file.
        sequence: the snapshot number from which on it is in the gallery, set by the gallery.
    """

    id: str
    embedding: NDArray[np.float32]
    label: str | None = None
    emotion: str | None = None
    sub_class: str | None = None
    subject: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    content_sha256: str | None = None
    time: float | None = None
    thumbnail: bytes | None = None
    sequence: int = 0

    def same_content(self, stored: "GalleryFace") -> bool:
        """Whether adding this face over ``stored`` would change nothing that the owner gave.

        Of two faces of the same picture the embeddings are not compared: the same network rounds differently on
        another processor. A time that was not given agrees with any.
        """
        same_picture = self.content_sha256 is not None and self.content_sha256 == stored.content_sha256
        return (
            self.content_sha256 == stored.content_sha256
            and (same_picture or np.array_equal(self.embedding, stored.embedding))
            and (self.label, self.subject) == (stored.label, stored.subject)
            and (self.time is None or self.time == stored.time)
            and self.metadata == stored.metadata
        )


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
    """

    matches: list[list[GalleryMatch]]
    snapshot: int


@dataclass(frozen=True)
class Added:
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

    def add(self, faces: Sequence[GalleryFace], *, replace: bool = False) -> Added:
        """Add faces, all or none.

        Args:
            faces: to add; ``check_face`` says what each may be.
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

    def stored(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        """Those of the faces with these ids that are there, by id, without thumbnails."""

    def update(self, face_id: str, changes: Mapping[str, Any]) -> GalleryFace:
        """Change what is said of a face; see ``changed``. Returns it as it is now.

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
        """Up to ``most`` faces, drawn evenly; the same ones again, as long as the gallery does not change."""

    def snapshot(self, folder: Path) -> int:
        """Write all there is at this moment to a new folder, while others read and write; returns the number of faces.

        The folder is an embedded gallery (``index.embedded_gallery``), whatever implementation wrote it, so that
        what one wrote any can restore.

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


def check_faces(faces: Sequence[GalleryFace], embedding_size: int) -> None:
    """Refuse faces that cannot be kept as they are.

    Raises:
        FaceFieldError: ``check_face`` refuses one, or an id stands twice.
    """
    seen: set[str] = set()
    for face in faces:
        check_face(face, embedding_size)
        if face.id in seen:
            raise FaceFieldError(f"the id {shown(face.id)} stands twice in one request")
        seen.add(face.id)


def check_face(face: GalleryFace, embedding_size: int) -> None:
    """Refuse a face that cannot be kept as it is.

    Raises:
        FaceFieldError: an id, label, sub-class or subject is empty, longer than ``MAX_ID_BYTES``, has control
            characters, or spaces at its ends, or an id would change in the path of an address (``a/../b``); an
            embedding has other dimensions or is not finite; metadata is no JSON object, too large or too deep; a
            time, a hash or a thumbnail is none.
    """
    check_id(face.id)
    for name in ("label", "emotion", "sub_class", "subject"):
        check_name(name, getattr(face, name), face.id)
    if face.embedding.shape != (embedding_size,):
        raise FaceFieldError(
            f"the embedding of {shown(face.id)} should have {embedding_size} numbers, got {face.embedding.shape}"
        )
    if face.embedding.dtype != np.float32 or not np.isfinite(face.embedding).all():
        raise FaceFieldError(f"the embedding of {shown(face.id)} should consist of finite float32 numbers")
    check_metadata(face.metadata, face.id)
    if face.time is not None and not (_is_number(face.time) and math.isfinite(face.time)):
        raise FaceFieldError(f"the time of {shown(face.id)} should be seconds since 1970, got {face.time!r}")
    if face.content_sha256 is not None and not _SHA256.fullmatch(face.content_sha256):
        raise FaceFieldError(f"the content_sha256 of {shown(face.id)} should be 64 hexadecimal digits")
    if face.thumbnail is not None and len(face.thumbnail) > MAX_THUMBNAIL_BYTES:
        raise FaceFieldError(
            f"the thumbnail of {shown(face.id)} may have {MAX_THUMBNAIL_BYTES} bytes, got {len(face.thumbnail)}"
        )


def check_id(face_id: str) -> None:
    """Refuse what cannot be an id.

    Raises:
        FaceFieldError: see ``check_face``.
    """
    check_name("id", face_id, face_id)
    if {"", ".", ".."} & set(face_id.split("/")):
        raise FaceFieldError(
            f"an id may have strokes between its parts, but no empty part, '.' or '..', got {shown(face_id)}"
        )


def check_name(name: str, value: Any, face_id: str) -> None:
    """Refuse a name that is no short line of text; None is no name, and fine.

    Raises:
        FaceFieldError: it is none.
    """
    if value is None and name != "id":
        return
    of = "" if name == "id" else f" of {shown(face_id)}"
    if not isinstance(value, str) or not value:
        raise FaceFieldError(f"the {name}{of} should be a text of at least one character, got {shown(value)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise FaceFieldError(f"the {name}{of} has half of a character (a lone surrogate)") from None
    if size > MAX_ID_BYTES:
        raise FaceFieldError(f"the {name}{of} may have {MAX_ID_BYTES} bytes, {shown(value)} has {size}")
    odd = next((letter for letter in value if unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"}), None)
    if odd is not None or value != value.strip():
        what = f"the control character {odd!r}" if odd is not None else "spaces at its ends"
        raise FaceFieldError(f"the {name}{of} has {what}: {shown(value)}")


def check_metadata(metadata: Any, face_id: str) -> None:
    """Refuse metadata that is no JSON object within the limits.

    Raises:
        FaceFieldError: it is none.
    """
    if not isinstance(metadata, Mapping):
        raise FaceFieldError(f"the metadata of {shown(face_id)} should be an object, got {type(metadata).__name__}")
    _check_value(metadata, "metadata", 1, face_id)
    size = len(json_text(metadata).encode())
    if size > MAX_METADATA_BYTES:
        raise FaceFieldError(f"the metadata of {shown(face_id)} may have {MAX_METADATA_BYTES} bytes, got {size}")


def changed(face: GalleryFace, changes: Mapping[str, Any]) -> GalleryFace:
    """A face with changes to label, subject, time, emotion, sub_class or metadata, checked.

    Metadata is merged as RFC 7396 says: objects within objects, and null takes a field away.

    Raises:
        FaceFieldError: a field cannot be changed, or not so.
    """
    allowed = ("label", "subject", "time", "emotion", "sub_class", "metadata")
    for name in changes:
        if name not in allowed:
            raise FaceFieldError(f"{shown(name)} cannot be changed: expected one of {', '.join(allowed)}")
    values = dict(changes)
    if "metadata" in values:
        check_metadata(values["metadata"], face.id)
        values["metadata"] = _merged(face.metadata, values["metadata"])
    if "time" in values and values["time"] is None:
        raise FaceFieldError(f"the time of {shown(face.id)} can be changed, not taken away")
    result = replace(face, **values)
    check_face(result, len(face.embedding))
    return result


def json_text(value: Any) -> str:
    """The compact JSON text of metadata, as it is stored and counted."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def shown(value: Any) -> str:
    """What came, but not all of it: a message does not repeat kilobytes."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _check_value(value: Any, where: str, depth: int, face_id: str) -> None:
    if isinstance(value, Mapping | list | tuple):
        if depth > MAX_METADATA_DEPTH:
            raise FaceFieldError(f"the metadata of {shown(face_id)} may be {MAX_METADATA_DEPTH} levels deep")
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            if isinstance(value, Mapping) and not isinstance(key, str):
                raise FaceFieldError(f"{where} of {shown(face_id)}: keys should be texts, got {shown(key)}")
            _check_text(key, where, face_id)
            _check_value(inner, f"{where}.{key}", depth + 1, face_id)
    elif isinstance(value, str):
        _check_text(value, where, face_id)
    elif isinstance(value, bool) or value is None:
        return
    elif not isinstance(value, int | float) or not math.isfinite(value) or abs(value) >= 2**63:
        raise FaceFieldError(f"{shown(where)} of {shown(face_id)} should be a JSON value, got {shown(value)}")


def _check_text(text: Any, where: str, face_id: str) -> None:
    if isinstance(text, str) and any(letter == "\0" or 0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        raise FaceFieldError(f"{shown(where)} of {shown(face_id)} has a null character or half of a character")


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(new, Mapping):
        return new
    merged = dict(old) if isinstance(old, Mapping) else {}
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

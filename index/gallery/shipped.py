"""The gallery that ships with a bundle, as a ``GalleryStore``: it answers every question and takes no writes."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.errors import ReadOnlyGalleryError, UnknownFaceError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter, value_of
from mien.index.gallery.store import (
    EVERYTHING,
    Listing,
    Sample,
    SearchOptions,
    SearchResult,
    Statistics,
    check_limit,
    check_query,
    draw_sample,
)
from mien.index.gallery.validation import shown
from mien.index.gallery.vectors.columns import Field, fields_of
from mien.index.gallery.vectors.filtered_search import GallerySearch, fields_needed
from mien.index.gallery.vectors.vectors import Residents
from mien.index.mixture.labelling import named


class ShippedGallery:
    """The shipped faces; sequence numbers are their rows, from 1."""

    def __init__(self, bundle: Bundle) -> None:
        """Answer from a bundle's gallery."""
        self._bundle = bundle
        self._embeddings = np.ascontiguousarray(bundle.gallery.embeddings)
        sequences = np.arange(1, len(bundle.gallery) + 1, dtype=np.int64)
        self._residents = Residents(sequences, self._embeddings, self._column_values)
        self._lock = Lock()

    @property
    def embedding_size(self) -> int:
        """D."""
        return int(self._embeddings.shape[1])

    @property
    def embedder_sha256(self) -> str:
        """SHA-256 of the bundle's network."""
        return self._bundle.manifest.sha256[EMBEDDER]

    @property
    def read_only(self) -> bool:
        """True."""
        return True

    def shipped(self, rows: Iterable[int]) -> list[GalleryFace]:
        """The faces of some rows of the bundle's gallery."""
        return [self._face(row) for row in rows]

    def add(self, faces: Sequence[GalleryFace], *, replace: bool = False) -> NoReturn:
        """Refused."""
        self._refuse(faces, replace)

    def update(self, face_id: str, changes: Mapping[str, Any]) -> NoReturn:
        """Refused."""
        self._refuse(face_id, changes)

    def delete(self, ids: Sequence[str]) -> NoReturn:
        """Refused."""
        self._refuse(ids)

    def delete_where(self, condition: Filter) -> NoReturn:
        """Refused."""
        self._refuse(condition)

    def restore(self, folder: Path) -> NoReturn:
        """Refused."""
        self._refuse(folder)

    def snapshot(self, folder: Path) -> NoReturn:
        """Refused: the bundle's folder is the snapshot."""
        self._refuse(folder)

    def get(self, face_id: str) -> GalleryFace:
        """See ``GalleryStore.get``."""
        if face_id not in self._bundle.gallery:
            raise UnknownFaceError(f"the gallery has no face with the id {shown(face_id)}")
        return self._face(self._rows[face_id])

    def thumbnails(self, ids: Sequence[str]) -> Mapping[str, bytes]:  # noqa: ARG002
        """None: a bundle holds no pictures."""
        return {}

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        """See ``GalleryStore.get_many``."""
        return {face.id: face for face in self.shipped(sequence - 1 for sequence in self.with_ids(ids))}

    def search(self, queries: NDArray[np.float32], k: int, options: SearchOptions = EVERYTHING) -> SearchResult:
        """See ``GalleryStore.search``."""
        check_query(queries, k, options, self.embedding_size)
        search = self._search(fields_needed(options, fields_of(options.filter) if options.filter else set()))
        return SearchResult(search.matches(np.ascontiguousarray(queries, dtype=np.float32), k, options), len(self))

    def listing(
        self,
        limit: int,
        *,
        after: str | None = None,
        condition: Filter | None = None,
        snapshot: int | None = None,
    ) -> Listing:
        """See ``GalleryStore.listing``."""
        check_limit(limit)
        ids, rows = self._by_id
        first = 0 if after is None else bisect_right(ids, after)
        following: Iterable[int] = rows[first:]
        if condition is not None:
            passing = self._search(fields_of(condition)).passing(condition)
            following = (row for row in following if passing[row])
        page = self.shipped(islice(following, limit + 1))
        more = page[limit - 1].id if len(page) > limit else None
        return Listing(page[:limit], len(self) if snapshot is None else snapshot, more)

    def count(self, condition: Filter | None = None) -> int:
        """See ``GalleryStore.count``."""
        if condition is None:
            return len(self)
        return int(self._search(fields_of(condition)).passing(condition).sum())

    def statistics(self) -> Statistics:
        """See ``GalleryStore.statistics``."""
        emotions, sub_classes = zip(*self._names, strict=True) if self._names else ((), ())
        labels: Counter[str | None] = Counter(entry.emotion for entry in self._bundle.gallery.entries)
        return Statistics(len(self), 0, Counter(emotions), labels, Counter(sub_classes))

    def sample(self, most: int) -> Sample:
        """See ``GalleryStore.sample``."""
        entries = self._bundle.gallery.entries
        rows = draw_sample(np.arange(len(self), dtype=np.int64), most)
        return Sample(
            [entries[row].id for row in rows.tolist()],
            self._embeddings[rows],
            [entries[row].emotion for row in rows.tolist()],
            len(self),
        )

    def close(self) -> None:
        """There is nothing to let go of."""

    def __len__(self) -> int:
        return len(self._bundle.gallery)

    # What GallerySearch asks of records.

    def faces(self, sequences: Sequence[int]) -> Mapping[int, GalleryFace]:
        """The faces with these sequence numbers."""
        return {sequence: self._face(sequence - 1) for sequence in sequences}

    def ids(self, sequences: Sequence[int]) -> Mapping[int, str]:
        """Their ids."""
        return {sequence: self._bundle.gallery.entries[sequence - 1].id for sequence in sequences}

    def with_ids(self, ids: Iterable[str]) -> Sequence[int]:
        """The sequence numbers of ids."""
        rows = self._rows
        return [rows[each] + 1 for each in ids if each in rows]

    def with_content(self, hashes: Iterable[str]) -> Sequence[int]:  # noqa: ARG002
        """None: a bundle holds no pictures, nor their hashes."""
        return []

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {entry.id: row for row, entry in enumerate(self._bundle.gallery.entries)}

    @cached_property
    def _by_id(self) -> tuple[list[str], list[int]]:
        """All ids in their order, and the rows that have them."""
        named_rows = sorted(self._rows.items())
        return [face_id for face_id, _ in named_rows], [row for _, row in named_rows]

    @cached_property
    def _names(self) -> list[tuple[str, str | None]]:
        """(n,) emotion and sub-class that the mixture names."""
        return named(self._bundle, self._embeddings)

    def _face(self, row: int) -> GalleryFace:
        entry, (emotion, sub_class) = self._bundle.gallery.entries[row], self._names[row]
        return GalleryFace(
            entry.id,
            self._embeddings[row],
            label=entry.emotion,
            emotion=emotion,
            sub_class=sub_class,
            metadata=entry.metadata,
            sequence=row + 1,
        )

    def _search(self, fields: set[Field]) -> GallerySearch:
        with self._lock:
            columns = {field: self._residents.column(field) for field in fields}
        return GallerySearch(self._residents.view(), columns, self)

    def _column_values(self, field: Field, sequences: NDArray[np.int64]) -> Iterable[Sequence[Any]]:
        yield [value_of(self._face(sequence - 1), field) for sequence in sequences.tolist()]

    def _refuse(self, *_: object) -> NoReturn:
        raise ReadOnlyGalleryError(
            "the gallery that ships with the bundle takes no writes: set MIEN_GALLERY to a folder for one of your own"
        )

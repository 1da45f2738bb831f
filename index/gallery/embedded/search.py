"""Searching and filtering an embedded gallery: the vectors are in memory, the other fields in the database."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.memory import GalleryMemory
from mien.index.gallery.embedded.rows import UnreadableRowError, faces_by_sequence, select_in
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter
from mien.index.gallery.results import SearchResult
from mien.index.gallery.store import SearchOptions
from mien.index.gallery.vectors.columns import fields_of
from mien.index.gallery.vectors.filtered_search import DeletedFaceError, FilteredSearch, fields_needed

_ATTEMPTS: Final = 100
"""Of a search whose matches are deleted meanwhile."""


class EmbeddedSearch:
    """Searches the memory of a gallery. Thread-safe."""

    def __init__(self, memory: GalleryMemory, database: GalleryDatabase) -> None:
        self._memory = memory
        self._database = database

    def search(self, queries: NDArray[np.float32], k: int, options: SearchOptions) -> SearchResult:
        needed = fields_needed(options)
        for _ in range(_ATTEMPTS):
            # Read before the view: a face that is added in between may be on this page, but on no later one.
            snapshot = self._memory.seen if options.snapshot is None else options.snapshot
            view, columns = self._memory.with_columns(needed)
            search = FilteredSearch(view, columns, self)
            try:
                matches = search.matches(queries, k, options)
            except DeletedFaceError:
                self._memory.refresh()
                continue
            except UnreadableRowError:
                self._memory.set_aside_damaged()
                continue
            return SearchResult(matches, snapshot, search.is_exact(k, options))
        raise GalleryError(f"the memory of the gallery {self._memory.folder} does not agree with its database")

    def passing(self, condition: Filter) -> NDArray[np.int64]:
        """Sequence numbers, ascending, of the faces that pass a filter."""
        view, columns = self._memory.with_columns(fields_of(condition))
        sequences: NDArray[np.int64] = view.sequences[FilteredSearch(view, columns, self).passing(condition)]
        return sequences

    def faces(self, sequences: Sequence[int]) -> Mapping[int, GalleryFace]:
        with self._database.reading(moment=False) as connection:
            return faces_by_sequence(connection, sequences)

    def ids(self, sequences: Sequence[int]) -> Mapping[int, str]:
        with self._database.reading(moment=False) as connection:
            return dict(select_in(connection, "SELECT sequence, id FROM faces WHERE sequence IN ", sequences))

    def with_ids(self, ids: Iterable[str]) -> Sequence[int]:
        with self._database.reading(moment=False) as connection:
            return [row[0] for row in select_in(connection, "SELECT sequence FROM faces WHERE id IN ", list(ids))]

    def with_content(self, hashes: Iterable[str]) -> Sequence[int]:
        query = "SELECT sequence FROM faces WHERE content_sha256 IN "
        with self._database.reading(moment=False) as connection:
            return [row[0] for row in select_in(connection, query, list(hashes))]

"""Search over vectors with the options of a gallery: filters, exclusions, pages, and never too few matches."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.cursor import MAX_MARKED, mark
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter
from mien.index.gallery.results import GalleryMatch
from mien.index.gallery.store import SearchOptions
from mien.index.gallery.vectors.columns import Column, Field, fields_of, mask_of
from mien.index.gallery.vectors.view import Nearest, View

SUBJECT: Final[Field] = ("subject",)

_GROWTH: Final = 4
"""Where the candidates are too few, so many times more are fetched."""


class DeletedFaceError(Exception):
    """A face was deleted while it was searched for: search again."""


class Records(Protocol):
    """The fields of faces other than their embeddings, by sequence number."""

    def faces(self, sequences: Sequence[int]) -> Mapping[int, GalleryFace]:
        """The faces, without thumbnails and without those that are deleted."""

    def ids(self, sequences: Sequence[int]) -> Mapping[int, str]:
        """The ids of faces, without those that are deleted."""

    def with_ids(self, ids: Iterable[str]) -> Sequence[int]:
        """The faces that have these ids."""

    def with_content(self, hashes: Iterable[str]) -> Sequence[int]:
        """The faces that come from image files with these SHA-256."""


class FilteredSearch:
    """One search in a view of the vectors."""

    def __init__(self, view: View, columns: Mapping[Field, Column], records: Records) -> None:
        """Search in a view.

        Args:
            view: of the vectors.
            columns: of ``fields_needed``; longer than the view if faces were added since.
            records: of the same gallery.
        """
        self._view = view
        self._columns = columns
        self._records = records

    def passing(self, condition: Filter) -> NDArray[np.bool_]:
        """(n,) which faces are alive and pass a filter."""
        return mask_of(condition, self._columns.__getitem__, len(self._view)) & self._view.alive

    def is_exact(self, k: int, options: SearchOptions) -> bool:
        """Whether a search is exact, or uses an approximate index and may miss some."""
        paged = options.after is not None or options.one_per_subject or k > MAX_MARKED
        return paged or self._view.ivf is None

    def matches(self, queries: NDArray[np.float32], k: int, options: SearchOptions) -> list[list[GalleryMatch]]:
        """The k nearest faces of each query among those that the options let pass.

        Raises:
            DeletedFaceError: a face was deleted meanwhile.
        """
        among = self._among(options)
        grouped = options.one_per_subject or options.after is not None
        wanted = _GROWTH * k if grouped else k
        found = self._view.nearest(queries, wanted, among, exact=self.is_exact(k, options))
        ranked = []
        for query, first in zip(queries, found, strict=True):
            nearest, tried = first, wanted
            while (enough := self._enough(nearest, k, options)) is None:
                tried = min(_GROWTH * max(tried, 256), len(self._view))
                (nearest,) = self._view.nearest(query[None], tried, among, exact=True)
            ranked.append(enough)
        return self._with_faces(ranked, k)

    def _among(self, options: SearchOptions) -> NDArray[np.bool_] | None:
        """(n,) which faces may be candidates; None means all."""
        view, among = self._view, None
        if options.filter is not None:
            among = self.passing(options.filter)
        if options.snapshot is not None and (end := view.count_until(options.snapshot)) < len(view):
            among = view.alive.copy() if among is None else among
            among[end:] = False
        if options.exclude_subjects:
            subjects = self._columns[SUBJECT]
            codes = [subjects.code_of(subject) for subject in options.exclude_subjects]
            among = (view.alive if among is None else among) & ~np.isin(subjects.codes[: len(view)], codes)
        excluded = [
            *(self._records.with_ids(options.exclude_ids) if options.exclude_ids else ()),
            *(self._records.with_content(options.exclude_content) if options.exclude_content else ()),
        ]
        if excluded:
            among = view.alive.copy() if among is None else among
            among[np.isin(view.sequences, excluded)] = False
        return among

    def _enough(self, nearest: Nearest, k: int, options: SearchOptions) -> list[tuple[float, int]] | None:
        """Distance and sequence number of k matches, and of those that tie with the last.

        None if the candidates are too few to say.
        """
        allowed = self._allowed(nearest, options)
        beyond = options.max_distance is not None and bool((nearest.distances > options.max_distance).any())
        if len(allowed) < k and not nearest.complete and not beyond:
            return None
        end = k
        while end < len(allowed) and allowed[end][0] == allowed[k - 1][0]:
            end += 1
        return allowed[:end]

    def _allowed(self, nearest: Nearest, options: SearchOptions) -> list[tuple[float, int]]:
        """Distance and sequence number of the candidates that distances, subjects and pages let pass, sorted."""
        positions, distances = nearest.positions, nearest.distances
        near = np.ones(len(positions), dtype=bool)
        if options.copies_within is not None:
            near &= distances > options.copies_within
        if options.max_distance is not None:
            near &= distances <= options.max_distance
        positions, distances = positions[near], distances[near]
        sequences = self._view.sequences[positions]
        if not options.one_per_subject and options.after is None:
            return list(zip(distances.tolist(), sequences.tolist(), strict=True))
        ids = self._records.ids(sequences.tolist())
        if len(ids) < len(sequences):
            raise DeletedFaceError
        order = sorted(range(len(sequences)), key=lambda row: (distances[row], ids[int(sequences[row])]))
        codes = self._columns[SUBJECT].codes[positions] if options.one_per_subject else None
        seen: set[int] = set()
        allowed = []
        for row in order:
            if codes is not None and codes[row] > 0:
                if int(codes[row]) in seen:
                    continue
                seen.add(int(codes[row]))
            place = (float(distances[row]), ids[int(sequences[row])])
            follows = options.after is None or place > options.after
            if follows and not (options.marks and mark(place[1]) in options.marks):
                allowed.append((place[0], int(sequences[row])))
        return allowed

    def _with_faces(self, ranked: list[list[tuple[float, int]]], k: int) -> list[list[GalleryMatch]]:
        faces = self._records.faces(sorted({sequence for each in ranked for _, sequence in each}))
        matches = []
        for each in ranked:
            if any(sequence not in faces for _, sequence in each):
                raise DeletedFaceError
            found = [GalleryMatch(faces[sequence], distance) for distance, sequence in each]
            found.sort(key=lambda match: (match.distance, match.face.id))
            matches.append(found[:k])
        return matches


def fields_needed(options: SearchOptions) -> set[Field]:
    """The fields whose columns a search uses."""
    fields = fields_of(options.filter) if options.filter is not None else set()
    return fields | ({SUBJECT} if options.one_per_subject or options.exclude_subjects else set())

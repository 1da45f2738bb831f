"""Search over residents: options, order, pages, and no silent shortfall, wherever the rest of the faces is kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.cursor import MAX_MARKED, mark
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter
from mien.index.gallery.store import GalleryMatch, SearchOptions
from mien.index.gallery.vectors.columns import Column, Field, mask_of
from mien.index.gallery.vectors.vectors import Nearest, View

SUBJECT: Final[Field] = ("subject",)

_MORE: Final = 4
"""Where candidates did not suffice, so many times more are taken."""


class FaceHasGoneError(Exception):
    """A face was deleted between the search and the answer: search again."""


class Records(Protocol):
    """What is known of faces beside their embeddings, by sequence number."""

    def faces(self, sequences: Sequence[int]) -> Mapping[int, GalleryFace]:
        """The faces, without thumbnails; those that have gone are not in it."""

    def ids(self, sequences: Sequence[int]) -> Mapping[int, str]:
        """Their ids; those that have gone are not in it."""

    def with_ids(self, ids: Iterable[str]) -> Sequence[int]:
        """Which faces have these ids."""

    def with_content(self, hashes: Iterable[str]) -> Sequence[int]:
        """Which faces come from pictures with these SHA-256."""


class GallerySearch:
    """One search: a view, the columns as they are in it, and the records."""

    def __init__(self, view: View, columns: Mapping[Field, Column], records: Records) -> None:
        """Put the parts together.

        Args:
            view: of the residents.
            columns: of the fields that the search asks for; longer than the view where faces came since.
            records: of the same gallery.
        """
        self._view = view
        self._columns = columns
        self._records = records

    def passing(self, condition: Filter) -> NDArray[np.bool_]:
        """(n,) which faces are there and pass a filter."""
        return mask_of(condition, self._columns.__getitem__, len(self._view)) & self._view.alive

    def is_exact(self, k: int, options: SearchOptions) -> bool:
        """Whether the k nearest are searched exactly, or by what leads through the gallery and may miss some."""
        paged = options.after is not None or options.one_per_subject or k > MAX_MARKED
        return paged or self._view.cells is None

    def matches(self, queries: NDArray[np.float32], k: int, options: SearchOptions) -> list[list[GalleryMatch]]:
        """The k nearest of each query among those that the options let pass.

        Raises:
            FaceHasGoneError: a face was deleted meanwhile.
        """
        among = self._among(options)
        grouped = options.one_per_subject or options.after is not None
        wanted = _MORE * k if grouped else k
        found = self._view.nearest(queries, wanted, among, exact=self.is_exact(k, options))
        chosen = []
        for query, first in zip(queries, found, strict=True):
            nearest, tried = first, wanted
            while (enough := self._enough(nearest, k, options)) is None:
                tried = min(_MORE * max(tried, 256), len(self._view))
                (nearest,) = self._view.nearest(query[None], tried, among, exact=True)
            chosen.append(enough)
        return self._answered(chosen, k)

    def _among(self, options: SearchOptions) -> NDArray[np.bool_] | None:
        """(n,) what may be a candidate; None lets all be."""
        view, among = self._view, None
        if options.filter is not None:
            among = self.passing(options.filter)
        if options.snapshot is not None and (first := view.first(options.snapshot)) < len(view):
            among = view.alive.copy() if among is None else among
            among[first:] = False
        if options.exclude_subjects:
            subjects = self._columns[SUBJECT]
            codes = [subjects.code_of(subject) for subject in options.exclude_subjects]
            among = (view.alive if among is None else among) & ~np.isin(subjects.codes[: len(view)], codes)
        gone = [
            *(self._records.with_ids(options.exclude_ids) if options.exclude_ids else ()),
            *(self._records.with_content(options.exclude_content) if options.exclude_content else ()),
        ]
        if gone:
            among = view.alive.copy() if among is None else among
            among[np.isin(view.sequences, gone)] = False
        return among

    def _enough(self, nearest: Nearest, k: int, options: SearchOptions) -> list[tuple[float, int]] | None:
        """Distance and sequence number of k matches, and of those that are as far as the last.

        None where the candidates are too few to say.
        """
        kept = self._kept(nearest, options)
        beyond = options.max_distance is not None and bool((nearest.distances > options.max_distance).any())
        if len(kept) < k and not nearest.complete and not beyond:
            return None
        end = k
        while end < len(kept) and kept[end][0] == kept[k - 1][0]:
            end += 1
        return kept[:end]

    def _kept(self, nearest: Nearest, options: SearchOptions) -> list[tuple[float, int]]:
        positions, distances = nearest.positions, nearest.distances
        kept = np.ones(len(positions), dtype=bool)
        if options.copies_within is not None:
            kept &= distances > options.copies_within
        if options.max_distance is not None:
            kept &= distances <= options.max_distance
        positions, distances = positions[kept], distances[kept]
        sequences = self._view.sequences[positions]
        if not options.one_per_subject and options.after is None:
            return list(zip(distances.tolist(), sequences.tolist(), strict=True))
        ids = self._records.ids(sequences.tolist())
        if len(ids) < len(sequences):
            raise FaceHasGoneError
        order = sorted(range(len(sequences)), key=lambda row: (distances[row], ids[int(sequences[row])]))
        codes = self._columns[SUBJECT].codes[positions] if options.one_per_subject else None
        seen: set[int] = set()
        result = []
        for row in order:
            if codes is not None and codes[row] > 0:
                if int(codes[row]) in seen:
                    continue
                seen.add(int(codes[row]))
            place = (float(distances[row]), ids[int(sequences[row])])
            passed = options.after is None or place > options.after
            if passed and not (options.marks and mark(place[1]) in options.marks):
                result.append((place[0], int(sequences[row])))
        return result

    def _answered(self, chosen: list[list[tuple[float, int]]], k: int) -> list[list[GalleryMatch]]:
        """Matches with their faces, equal distances by id."""
        faces = self._records.faces(sorted({sequence for each in chosen for _, sequence in each}))
        answered = []
        for each in chosen:
            if any(sequence not in faces for _, sequence in each):
                raise FaceHasGoneError
            matches = [GalleryMatch(faces[sequence], distance) for distance, sequence in each]
            matches.sort(key=lambda match: (match.distance, match.face.id))
            answered.append(matches[:k])
        return answered


def fields_needed(options: SearchOptions, fields: set[Field]) -> set[Field]:
    """The fields whose columns a search looks at.

    Args:
        options: of the search.
        fields: those of its filter.
    """
    return fields | ({SUBJECT} if options.one_per_subject or options.exclude_subjects else set())

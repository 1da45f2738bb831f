"""Searching a Milvus collection so that no match is missing: k faces if k pass, in the one correct order.

Milvus returns the nearest rows by distances in single precision, in no order among equal ones. So a few more are
fetched than asked for, distances are computed again in double precision, and only rows nearer than the farthest one are
settled: there may be others as far as that. Where too few are settled, more are fetched; where Milvus returns no more
though more pass (16,384 are its limit, and an approximate index may miss some), all that pass are compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.cursor import mark
from mien.index.gallery.milvus import expressions
from mien.index.gallery.milvus.collection import MAX_ROWS, MilvusCollection
from mien.index.gallery.milvus.schema import FACE_FIELDS, face_of
from mien.index.gallery.results import GalleryMatch
from mien.index.gallery.store import SearchOptions

EXHAUSTIVE_BELOW: Final = 16_384
"""If no more faces pass a filter, all of them are compared in place of an approximate search."""

_MARGIN: Final = 8
_GROWTH: Final = 8

_QUERIES_AT_ONCE: Final = 256
_ROWS_AT_ONCE: Final = 200_000
"""Rows of one response, over its queries: each may have 16 KiB of metadata, most have little."""

_FACES_AT_ONCE: Final = 1000

_SINGLE_PRECISION: Final = 1e-5
"""The relative error that Milvus's squared distances may have."""

_NARROW_FIELDS: Final = ("id", "subject", "embedding")


@dataclass(frozen=True)
class _Candidate:
    distance: float
    id: str
    subject: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class _Search:
    """The arguments of a search.

    Attributes:
        k: matches of each query.
        options: which faces may match.
        passing: the options that the server evaluates, as an expression.
        level: how recent the read must be, options of the client.
    """

    k: int
    options: SearchOptions
    passing: str
    level: Mapping[str, Any]


class MilvusSearch:
    """Searches a collection. Thread-safe."""

    def __init__(self, collection: MilvusCollection) -> None:
        self._collection = collection
        self._index = collection.note.index

    def search(
        self, queries: NDArray[np.float32], k: int, options: SearchOptions, level: Mapping[str, Any]
    ) -> list[list[GalleryMatch]]:
        """The k nearest faces of each query among those that the options let pass.

        Args:
            queries: (q, d) float32.
            k: at least 1.
            options: which faces may match.
            level: how recent the read must be, options of the client.

        Returns:
            (q,) lists, nearest first, equal distances by id.
        """
        search = _Search(k, options, expressions.from_options(options), level)
        limit = _first_limit(k, options)
        if (
            self._index != "flat"
            and options.filter is not None
            and self._collection.count(search.passing, level) <= EXHAUSTIVE_BELOW
        ):
            return self._compare_all(queries, search)
        matches: list[list[GalleryMatch]] = []
        step = max(1, min(_QUERIES_AT_ONCE, _ROWS_AT_ONCE // limit))
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            for query, rows in zip(part, self._nearest_rows(part, limit, search), strict=True):
                matches.append(self._settle(query, search, rows, limit))
        return matches

    def _settle(
        self, query: NDArray[np.float32], search: _Search, rows: Sequence[Mapping[str, Any]], limit: int
    ) -> list[GalleryMatch]:
        """The matches of one query, of which the nearest ``limit`` rows are known."""
        narrowed, known = search, dict[str, _Candidate]()
        while True:
            whole = len(rows) < limit
            if whole and self._index != "flat":
                passing = self._collection.count(narrowed.passing, narrowed.level)
                if len(rows) < passing:  # the index has missed some
                    return self._compare_all(query[None], search)[0]
            known |= {each.id: each for each in _candidates(query, rows)}
            candidates = sorted(known.values(), key=_order)
            if not whole:
                farthest = max(float(row["distance"]) for row in rows)
                horizon = np.sqrt(farthest * (1 - _SINGLE_PRECISION))
                candidates = [each for each in candidates if each.distance < horizon]
            accepted = _accept(candidates, search.k, search.options)
            enough = len(accepted) == search.k or _is_beyond(candidates, search.options)
            if whole or enough:
                return [GalleryMatch(face_of(each.row), each.distance) for each in accepted]
            if limit == MAX_ROWS:
                return self._compare_all(query[None], search)[0]
            known = {each.id: each for each in candidates}
            if search.options.one_per_subject:
                narrowed, known = _without_seen_subjects(search, candidates)
            limit = min(_GROWTH * limit, MAX_ROWS)
            (rows,) = self._nearest_rows(query[None], limit, narrowed)

    def _nearest_rows(self, queries: NDArray[np.float32], limit: int, search: _Search) -> list[list[dict[str, Any]]]:
        """The nearest rows of each query, with the squared distance that Milvus computed."""
        hits_of_queries = self._collection.connection.call(
            "search",
            self._collection.name,
            data=list(queries),
            limit=limit,
            filter=search.passing,
            output_fields=list(FACE_FIELDS),
            search_params={"metric_type": "L2", "params": self._effort(limit)},
            **search.level,
        )
        return [[{**hit["entity"], "distance": hit["distance"]} for hit in hits] for hits in hits_of_queries]

    def _effort(self, limit: int) -> dict[str, int]:
        if self._index == "ivf":
            return {"nprobe": 64}
        if self._index == "hnsw":
            return {"ef": min(max(2 * limit, 128), 2 * MAX_ROWS)}
        return {}

    def _compare_all(self, queries: NDArray[np.float32], search: _Search) -> list[list[GalleryMatch]]:
        """Compare with every face that passes, a page at a time."""
        options = search.options
        # Which face is the nearest of its subject, and what comes after the page before, is known once all are seen.
        first_pass = replace(options, after=None) if options.one_per_subject else options
        plain = not options.one_per_subject and options.after is None and options.copies_within is None
        nearest: list[list[_Candidate]] = [[] for _ in queries]
        for rows in self._collection.pages(search.passing, _NARROW_FIELDS, search.level, MAX_ROWS):
            points = _points(rows)
            for place, query in enumerate(queries):
                found = (
                    _nearest_candidates(query, rows, points, search.k) if plain else _candidates(query, rows, points)
                )
                narrow = [replace(each, row={}) for each in found]
                candidates = sorted([*nearest[place], *narrow], key=_order)
                size = len(candidates) if options.one_per_subject else search.k
                nearest[place] = _accept(candidates, size, first_pass)
        accepted = [_accept(candidates, search.k, options) for candidates in nearest]
        ids = sorted({each.id for candidates in accepted for each in candidates})
        faces = {
            row["id"]: face_of(row)
            for row in self._collection.query_ids(ids, FACE_FIELDS, search.level, page=_FACES_AT_ONCE)
        }
        # A face that was deleted since its distance was computed does not match any more.
        return [
            [GalleryMatch(faces[each.id], each.distance) for each in candidates if each.id in faces]
            for candidates in accepted
        ]


def _first_limit(k: int, options: SearchOptions) -> int:
    """How many rows are fetched at first: somewhat more than k, as some will not be accepted."""
    wanted = k + _MARGIN
    if options.one_per_subject or options.after is not None or options.copies_within is not None:
        wanted = 4 * wanted
    return min(wanted, MAX_ROWS)


def _candidates(
    query: NDArray[np.float32], rows: Sequence[Mapping[str, Any]], points: NDArray[np.float64] | None = None
) -> list[_Candidate]:
    """Rows with their distances in double precision, nearest first."""
    if not rows:
        return []
    distances = _distances(query, _points(rows) if points is None else points)
    return _sort(rows, distances, range(len(rows)))


def _nearest_candidates(
    query: NDArray[np.float32], rows: Sequence[Mapping[str, Any]], points: NDArray[np.float64], k: int
) -> list[_Candidate]:
    """The k nearest rows, and those that tie with the last of them, nearest first."""
    distances = _distances(query, points)
    if len(rows) <= k:
        return _sort(rows, distances, range(len(rows)))
    farthest = np.partition(distances, k - 1)[k - 1]
    return _sort(rows, distances, np.flatnonzero(distances <= farthest).tolist())


def _points(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    return np.array([row["embedding"] for row in rows], dtype=np.float64)


def _distances(query: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float64]:
    difference = points - query.astype(np.float64)
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", difference, difference)))


def _sort(rows: Sequence[Mapping[str, Any]], distances: NDArray[np.float64], places: Iterable[int]) -> list[_Candidate]:
    candidates = (
        _Candidate(float(distances[place]), rows[place]["id"], rows[place]["subject"], rows[place]) for place in places
    )
    return sorted(candidates, key=_order)


def _accept(candidates: Sequence[_Candidate], k: int, options: SearchOptions) -> list[_Candidate]:
    """The first k of sorted candidates that pass the options which the server does not evaluate."""
    accepted: list[_Candidate] = []
    seen: set[str] = set()
    for each in candidates:
        if len(accepted) == k or (options.max_distance is not None and each.distance > options.max_distance):
            break
        if options.copies_within is not None and each.distance <= options.copies_within:
            continue
        if options.one_per_subject and each.subject:
            if each.subject in seen:
                continue
            seen.add(each.subject)
        if options.after is not None and _order(each) <= options.after:
            continue
        if options.marks and mark(each.id) in options.marks:
            continue
        accepted.append(each)
    return accepted


def _is_beyond(candidates: Sequence[_Candidate], options: SearchOptions) -> bool:
    """Whether everything after sorted candidates is farther than the options allow."""
    return bool(candidates) and options.max_distance is not None and candidates[-1].distance > options.max_distance


def _without_seen_subjects(search: _Search, candidates: Sequence[_Candidate]) -> tuple[_Search, dict[str, _Candidate]]:
    """A search without the subjects whose nearest face is among sorted candidates, and these faces."""
    nearest = _accept(candidates, len(candidates), replace(search.options, after=None))
    seen = sorted({each.subject for each in nearest if each.subject})
    passing = expressions.every(search.passing, expressions.without_subjects(seen))
    return replace(search, passing=passing), {each.id: each for each in nearest}


def _order(candidate: _Candidate) -> tuple[float, str]:
    return candidate.distance, candidate.id

"""Searching a Milvus collection so that nothing is missing: k faces if k pass, in the one right order.

Milvus answers the nearest rows by distances in single precision, in no order among equal ones. So a few more are asked
for than are wanted, distances are computed anew in double precision, and only what lies nearer than the farthest answer
is settled: of what is as far, there may be more. Where too few are settled, more are asked for; where Milvus has no
more to give though more pass (16,384 are its limit, and an approximate index may miss some), all that pass are
compared.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.cursor import mark
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.milvus import expressions
from mien.index.gallery.milvus.connection import MilvusConnection
from mien.index.gallery.milvus.schema import FACE_FIELDS, CollectionNote, face_of
from mien.index.gallery.store import GalleryMatch, SearchOptions

MOST_ROWS: Final = 16_384
"""The most that Milvus answers to one query."""

EXHAUSTIVE_BELOW: Final = 16_384
"""Where so few faces pass a filter, all of them are compared, and no approximate index is asked."""

_MARGIN: Final = 8
_GROWTH: Final = 8

_QUERIES_AT_ONCE: Final = 256
_ROWS_AT_ONCE: Final = 200_000
"""Rows of one answer, over its queries: each may have 16 KiB of metadata, most have little."""

_FACES_AT_ONCE: Final = 1000

_SINGLE_PRECISION: Final = 1e-5
"""By how much, relatively, Milvus's squared distances may be wrong."""

_NARROW_FIELDS: Final = ("id", "subject", "embedding")


@dataclass(frozen=True)
class _Candidate:
    distance: float
    id: str
    subject: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class _Question:
    """What is asked for each query.

    Attributes:
        k: matches wanted.
        options: which faces may be answered.
        passing: the part of the options that the server sees to, as an expression.
        level: how recent what is read must be, options of the client.
    """

    k: int
    options: SearchOptions
    passing: str
    level: Mapping[str, Any]


class MilvusSearch:
    """Searches a collection. Thread-safe."""

    def __init__(self, connection: MilvusConnection, note: CollectionNote) -> None:
        """Search the collection of the connection's address."""
        self._connection = connection
        self._name = connection.address.collection
        self._index = note.index

    def search(
        self, queries: NDArray[np.float32], k: int, options: SearchOptions, level: Mapping[str, Any]
    ) -> list[list[GalleryMatch]]:
        """The k nearest faces of each query among those that the options let pass.

        Args:
            queries: (q, d) float32.
            k: at least 1.
            options: which faces may be answered.
            level: how recent what is read must be, options of the client.

        Returns:
            (q,) lists, nearest first, equal distances by id.
        """
        asked = _Question(k, options, expressions.searching(options), level)
        limit = _first_limit(k, options)
        if (
            self._index != "flat"
            and options.filter is not None
            and self.count(asked.passing, level) <= EXHAUSTIVE_BELOW
        ):
            return self._compare_all(queries, asked)
        found: list[list[GalleryMatch]] = []
        step = max(1, min(_QUERIES_AT_ONCE, _ROWS_AT_ONCE // limit))
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            for query, rows in zip(part, self._ask(part, limit, asked), strict=True):
                found.append(self._settle(query, asked, rows, limit))
        return found

    def count(self, passing: str, level: Mapping[str, Any]) -> int:
        """How many faces pass an expression."""
        rows = self._connection.call(
            "query", self._name, filter=expressions.every(passing), output_fields=["count(*)"], **level
        )
        return int(rows[0]["count(*)"])

    def _settle(
        self, query: NDArray[np.float32], asked: _Question, rows: Sequence[Mapping[str, Any]], limit: int
    ) -> list[GalleryMatch]:
        """The matches of one query, of which the nearest ``limit`` rows are known already."""
        narrowed, kept = asked, dict[str, _Candidate]()
        while True:
            whole = len(rows) < limit
            if whole and self._index != "flat" and len(rows) < min(self.count(narrowed.passing, asked.level), limit):
                return self._compare_all(query[None], asked)[0]  # the index has missed some
            kept |= {each.id: each for each in _candidates(query, rows)}
            candidates = sorted(kept.values(), key=_order)
            if not whole:
                farthest = max(float(row["distance"]) for row in rows)
                horizon = np.sqrt(farthest * (1 - _SINGLE_PRECISION))
                candidates = [each for each in candidates if each.distance < horizon]
            accepted = _accepted(candidates, asked.k, asked.options)
            enough = len(accepted) == asked.k or _beyond(candidates, asked.options)
            if whole or enough:
                return [GalleryMatch(face_of(each.row), each.distance) for each in accepted]
            if limit == MOST_ROWS:
                return self._compare_all(query[None], asked)[0]
            kept = {each.id: each for each in candidates}
            if asked.options.one_per_subject:
                narrowed, kept = _without_the_seen(asked, candidates)
            limit = min(_GROWTH * limit, MOST_ROWS)
            (rows,) = self._ask(query[None], limit, narrowed)

    def _ask(self, queries: NDArray[np.float32], limit: int, asked: _Question) -> list[list[dict[str, Any]]]:
        """The nearest rows of each query, with the squared distance that Milvus computed."""
        answers = self._connection.call(
            "search",
            self._name,
            data=list(queries),
            limit=limit,
            filter=asked.passing,
            output_fields=list(FACE_FIELDS),
            search_params={"metric_type": "L2", "params": self._effort(limit)},
            **asked.level,
        )
        return [[{**hit["entity"], "distance": hit["distance"]} for hit in hits] for hits in answers]

    def _effort(self, limit: int) -> dict[str, int]:
        if self._index == "ivf":
            return {"nprobe": 64}
        if self._index == "hnsw":
            return {"ef": min(max(2 * limit, 128), 2 * MOST_ROWS)}
        return {}

    def _compare_all(self, queries: NDArray[np.float32], asked: _Question) -> list[list[GalleryMatch]]:
        """Compare with every face that passes, a page at a time."""
        options = asked.options
        # Who is a subject's nearest, and stands before or after a page's end, is known when all have been seen.
        keeping = replace(options, after=None) if options.one_per_subject else options
        plain = not options.one_per_subject and options.after is None and options.copies_within is None
        nearest: list[list[_Candidate]] = [[] for _ in queries]
        after: str | None = None
        while True:
            beyond = "" if after is None else f"id > {expressions.text(after)}"
            rows = self._connection.call(
                "query",
                self._name,
                filter=expressions.every(asked.passing, beyond),
                output_fields=list(_NARROW_FIELDS),
                limit=MOST_ROWS,
                **asked.level,
            )
            points = _points(rows)
            for place, query in enumerate(queries if rows else ()):
                found = _nearest_candidates(query, rows, points, asked.k) if plain else _candidates(query, rows, points)
                narrow = [replace(each, row={}) for each in found]
                candidates = sorted([*nearest[place], *narrow], key=_order)
                most = len(candidates) if options.one_per_subject else asked.k
                nearest[place] = _accepted(candidates, most, keeping)
            if len(rows) < MOST_ROWS:
                break
            after = max(str(row["id"]) for row in rows)
        accepted = [_accepted(candidates, asked.k, options) for candidates in nearest]
        faces = self._faces({each.id for candidates in accepted for each in candidates}, asked.level)
        # What was deleted since its distance was computed is no match any more.
        return [
            [GalleryMatch(faces[each.id], each.distance) for each in candidates if each.id in faces]
            for candidates in accepted
        ]

    def _faces(self, ids: Collection[str], level: Mapping[str, Any]) -> dict[str, GalleryFace]:
        wanted = sorted(ids)
        faces: dict[str, GalleryFace] = {}
        for start in range(0, len(wanted), _FACES_AT_ONCE):
            part = wanted[start : start + _FACES_AT_ONCE]
            rows = self._connection.call(
                "query",
                self._name,
                filter=expressions.with_ids(part),
                output_fields=list(FACE_FIELDS),
                limit=len(part),
                **level,
            )
            faces |= {row["id"]: face_of(row) for row in rows}
        return faces


def _first_limit(k: int, options: SearchOptions) -> int:
    """How many rows are asked for at first: somewhat more than k, where some are bound to drop out."""
    wanted = k + _MARGIN
    if options.one_per_subject or options.after is not None or options.copies_within is not None:
        wanted = 4 * wanted
    return min(wanted, MOST_ROWS)


def _candidates(
    query: NDArray[np.float32], rows: Sequence[Mapping[str, Any]], points: NDArray[np.float64] | None = None
) -> list[_Candidate]:
    """Rows with their distances in double precision, nearest first."""
    if not rows:
        return []
    distances = _distances(query, _points(rows) if points is None else points)
    return _sorted(rows, distances, range(len(rows)))


def _nearest_candidates(
    query: NDArray[np.float32], rows: Sequence[Mapping[str, Any]], points: NDArray[np.float64], k: int
) -> list[_Candidate]:
    """The k nearest rows, and those that are as near as the last of them, nearest first."""
    distances = _distances(query, points)
    if len(rows) <= k:
        return _sorted(rows, distances, range(len(rows)))
    farthest = np.partition(distances, k - 1)[k - 1]
    return _sorted(rows, distances, np.flatnonzero(distances <= farthest).tolist())


def _points(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    return np.array([row["embedding"] for row in rows], dtype=np.float64)


def _distances(query: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float64]:
    difference = points - query.astype(np.float64)
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", difference, difference)))


def _sorted(
    rows: Sequence[Mapping[str, Any]], distances: NDArray[np.float64], chosen: Iterable[int]
) -> list[_Candidate]:
    candidates = (
        _Candidate(float(distances[place]), rows[place]["id"], rows[place]["subject"], rows[place]) for place in chosen
    )
    return sorted(candidates, key=_order)


def _accepted(candidates: Sequence[_Candidate], k: int, options: SearchOptions) -> list[_Candidate]:
    """The first k of sorted candidates that the options let pass, as far as the server has not seen to it."""
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


def _beyond(candidates: Sequence[_Candidate], options: SearchOptions) -> bool:
    """Whether what comes after sorted candidates is farther than the options let pass."""
    return bool(candidates) and options.max_distance is not None and candidates[-1].distance > options.max_distance


def _without_the_seen(asked: _Question, candidates: Sequence[_Candidate]) -> tuple[_Question, dict[str, _Candidate]]:
    """A question without the subjects whose nearest is among sorted candidates, and these nearest."""
    nearest = _accepted(candidates, len(candidates), replace(asked.options, after=None))
    seen = sorted({each.subject for each in nearest if each.subject})
    passing = expressions.every(asked.passing, expressions.without_subjects(seen))
    return replace(asked, passing=passing), {each.id: each for each in nearest}


def _order(candidate: _Candidate) -> tuple[float, str]:
    return candidate.distance, candidate.id

"""The gallery that ships with a bundle, its demonstration among it: searched like any other, and read-only."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import ClassVar, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.deadline import check_deadline, locked_in_time
from mien.index.errors import ReadOnlyGalleryError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter, value_of
from mien.index.gallery.results import Sample, SearchResult, Statistics, draw_sample
from mien.index.gallery.store import GalleryStore, SearchOptions
from mien.index.gallery.vectors.columns import Column, Field, fields_of, values_read
from mien.index.gallery.vectors.filtered_search import FilteredSearch, fields_needed
from mien.index.gallery.vectors.vectors import VectorIndex
from mien.index.mixture.labelling import label_points

_PAGE: Final = 2000

_NAMED_AT_ONCE: Final = 8000
"""Faces that are labelled together, in about 30 ms."""


class ShippedGallery(GalleryStore):
    """The faces of a bundle, and after them those of its demonstration; sequence numbers are their rows, from 1."""

    read_only: ClassVar[bool] = True

    def __init__(self, bundle: Bundle) -> None:
        """Search the gallery of a bundle."""
        self._bundle = bundle
        self._entries, self._shown = bundle.gallery.entries, bundle.demonstration
        self._ids = [*(entry.id for entry in self._entries), *(face.id for face in self._shown)]
        self._labels = [*(entry.emotion for entry in self._entries), *(face.label for face in self._shown)]
        self._rows = {face_id: row for row, face_id in enumerate(self._ids)}
        self._embeddings = np.concatenate([bundle.gallery.embeddings, *(face.embedding[None] for face in self._shown)])
        super().__init__(int(self._embeddings.shape[1]), bundle.manifest.sha256[EMBEDDER])
        sequences = np.arange(1, len(self._ids) + 1, dtype=np.int64)
        self._vectors = VectorIndex(sequences, self._embeddings)
        self._lock = Lock()
        self._naming = Lock()
        self._known_names: dict[int, tuple[str, str | None]] = {}

    @property
    def index(self) -> str:
        return "exact"

    def check_writable(self) -> NoReturn:
        raise ReadOnlyGalleryError(
            "the gallery that ships with the bundle is read-only: set MIEN_GALLERY to a folder for your gallery"
        )

    def values_read(self, condition: Filter) -> int:
        return values_read(condition, self._vectors.columns, len(self._ids))

    def prepare(self, options: SearchOptions) -> None:
        self._searcher(fields_needed(options))

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        present = [each for each in ids if each in self._rows]
        return dict(zip(present, self._faces([self._rows[each] for each in present]), strict=True))

    def thumbnails(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        kept = {face.id: face.thumbnail for face in self._shown if face.thumbnail is not None}
        return {each: kept[each] for each in ids if each in kept}

    def pages(self) -> Iterator[list[GalleryFace]]:
        """See ``GalleryStore.pages``; in the order of the bundle."""
        for start in range(0, len(self._ids), _PAGE):
            faces = self._faces(range(start, min(start + _PAGE, len(self._ids))))
            thumbnails = self.thumbnails([face.id for face in faces if face.has_thumbnail])
            yield [replace(face, thumbnail=thumbnails.get(face.id)) for face in faces]

    def delete_where(self, condition: Filter) -> NoReturn:  # noqa: ARG002
        """Refused."""
        self.check_writable()

    def count(self, condition: Filter | None = None) -> int:
        if condition is None:
            return len(self._ids)
        return int(self._searcher(fields_of(condition)).passing(condition).sum())

    def statistics(self) -> Statistics:
        return self._statistics

    def sample(self, size: int) -> Sample:
        rows = draw_sample(np.arange(len(self._ids), dtype=np.int64), size)
        return Sample(
            [self._ids[row] for row in rows.tolist()],
            self._embeddings[rows],
            [
                self._labels[row] or name
                for row, (name, _) in zip(rows.tolist(), self._names(rows.tolist()), strict=True)
            ],
            len(self._ids),
        )

    def snapshot(self, folder: Path) -> NoReturn:  # noqa: ARG002
        """Refused: the bundle's folder is the snapshot."""
        self.check_writable()

    def restore(self, folder: Path) -> NoReturn:  # noqa: ARG002
        """Refused."""
        self.check_writable()

    def close(self) -> None:
        """Nothing to release."""

    def faces(self, sequences: Sequence[int]) -> Mapping[int, GalleryFace]:
        return dict(zip(sequences, self._faces([sequence - 1 for sequence in sequences]), strict=True))

    def ids(self, sequences: Sequence[int]) -> Mapping[int, str]:
        return {sequence: self._ids[sequence - 1] for sequence in sequences}

    def with_ids(self, ids: Iterable[str]) -> Sequence[int]:
        return [self._rows[each] + 1 for each in ids if each in self._rows]

    def with_content(self, hashes: Iterable[str]) -> Sequence[int]:
        wanted = set(hashes)
        return [self._rows[face.id] + 1 for face in self._shown if face.content_sha256 in wanted]

    def label_all(self) -> Iterator[None]:
        """Label all faces, part by part, and count them, so that no answer has to."""
        for start in range(0, len(self._ids), _NAMED_AT_ONCE):
            self._names(range(start, min(start + _NAMED_AT_ONCE, len(self._ids))))
            yield
        _ = self._statistics, self._by_id

    @cached_property
    def _by_id(self) -> tuple[list[str], list[int]]:
        """All ids, sorted, and their rows."""
        pairs = sorted(self._rows.items())
        return [face_id for face_id, _ in pairs], [row for _, row in pairs]

    @cached_property
    def _statistics(self) -> Statistics:
        emotions, sub_classes = Counter[str | None](), Counter[str | None]()
        for (emotion, sub_class), count in Counter(self._names(range(len(self._ids)))).items():
            emotions[emotion] += count
            sub_classes[sub_class] += count
        subjects = {face.subject for face in self._shown} - {None}
        return Statistics(len(self._ids), len(subjects), emotions, Counter(self._labels), sub_classes)

    def _names(self, rows: Sequence[int]) -> list[tuple[str, str | None]]:
        """Emotion and sub-class that the mixture gives the faces of some rows; each is computed once."""
        known = self._known_names
        for start in range(0, len(rows), _NAMED_AT_ONCE):
            with self._naming:
                unknown = [row for row in rows[start : start + _NAMED_AT_ONCE] if row not in known]
                names = label_points(self._bundle.mixture, self._bundle.sub_classes, self._embeddings[unknown])
                known.update(zip(unknown, names, strict=True))
        return [known[row] for row in rows]

    def _faces(self, rows: Sequence[int]) -> list[GalleryFace]:
        names = self._names(rows)
        return [self._face(row, emotion, sub_class) for row, (emotion, sub_class) in zip(rows, names, strict=True)]

    def _face(self, row: int, emotion: str, sub_class: str | None) -> GalleryFace:
        if row >= len(self._entries):
            face = self._shown[row - len(self._entries)]
            return replace(face, emotion=emotion, sub_class=sub_class, thumbnail=None, sequence=row + 1)
        entry = self._entries[row]
        return GalleryFace(
            entry.id,
            self._embeddings[row],
            label=entry.emotion,
            emotion=emotion,
            sub_class=sub_class,
            metadata=entry.metadata,
            sequence=row + 1,
        )

    def _searcher(self, fields: set[Field]) -> FilteredSearch:
        columns = {field: self._column(field) for field in fields}
        return FilteredSearch(self._vectors.view(), columns, self)

    def _column(self, field: Field) -> Column:
        """The column of a field, which is read if it is not in memory.

        Raises:
            DeadlineError: that takes too long.
        """
        with locked_in_time(self._lock):  # one at a time
            column = self._vectors.columns.get(field)
            if column is None:
                column = Column()
                for start in range(0, len(self._ids), _PAGE):
                    rows = range(start, min(start + _PAGE, len(self._ids)))
                    column.append(value_of(face, field) for face in self._faces(rows))
                    check_deadline()
                self._vectors.keep_column(field, column)
            return column

    def _write(self, ids: Collection[str]) -> NoReturn:  # noqa: ARG002
        self.check_writable()

    def _find(self, face_id: str) -> GalleryFace | None:
        face = self.get_many([face_id]).get(face_id)
        return None if face is None else replace(face, thumbnail=self.thumbnails([face_id]).get(face_id))

    def _search(self, queries: NDArray[np.float32], k: int, options: SearchOptions) -> SearchResult:
        matches = self._searcher(fields_needed(options)).matches(queries, k, options)
        return SearchResult(matches, len(self._ids))

    def _list(
        self, limit: int, after: str | None, condition: Filter | None, snapshot: int | None
    ) -> tuple[list[GalleryFace], int]:
        ids, rows = self._by_id
        following: Iterable[int] = rows[0 if after is None else bisect_right(ids, after) :]
        if condition is not None:
            passing = self._searcher(fields_of(condition)).passing(condition)
            following = (row for row in following if passing[row])
        faces = self._faces(list(islice(following, limit)))
        return faces, len(self._ids) if snapshot is None else snapshot

"""The distributed gallery: Milvus keeps and searches the faces, for any number of processes and machines.

Reads see every write of this process, and those of others within ``staleness_ms``. What decides on a write, such as
whether an id exists already, is read with every write of every process.

Milvus does not isolate requests: where two processes add *different* content under one id within the same milliseconds,
neither is refused, and the later one stays. A request of more than ``BATCH_BYTES`` is written in parts; if the server
is gone for good in the midst of one, some parts are there and ``GalleryError`` is raised. Making the request again
completes it.
"""

import threading
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter
from mien.index.gallery.milvus import expressions
from mien.index.gallery.milvus.address import IndexType, MilvusAddress
from mien.index.gallery.milvus.collection import MilvusCollection, create_collection, open_collection
from mien.index.gallery.milvus.connection import all_until, sequence_of
from mien.index.gallery.milvus.schema import FACE_FIELDS, THUMBNAIL_PARTS, WHOLE_FACE_FIELDS, face_of, thumbnail_of
from mien.index.gallery.milvus.search import MilvusSearch
from mien.index.gallery.milvus.write import PAGE_FACES, MilvusWrite
from mien.index.gallery.results import GalleryMatch, Sample, SearchResult, Statistics, draw_sample
from mien.index.gallery.snapshots import read_snapshot, write_snapshot
from mien.index.gallery.store import GalleryStore, SearchOptions
from mien.index.gallery.validation import check_faces

PAGE_NAMES: Final = 16_000
"""Faces whose names alone are read at once; Milvus returns at most 16,384."""

PAGE_THUMBNAILS: Final = 200

_STRIPES: Final = 64


class MilvusGallery(GalleryStore):
    """A gallery in a collection of a Milvus server.

    Attributes:
        collection: of the gallery.
    """

    def __init__(self, collection: MilvusCollection) -> None:
        """Use ``open_milvus_gallery``."""
        super().__init__(collection.note.embedding_size, collection.note.embedder_sha256)
        self.collection = collection
        self._connection = collection.connection
        self._searcher = MilvusSearch(collection)
        # Of two writes to one id, the second must see what the first has written.
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    @property
    def index(self) -> IndexType:
        return self.collection.note.index

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        """See ``GalleryStore.get_many``; sees every write of every process."""
        return MilvusWrite(self.collection).get_many(ids)

    def thumbnails(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        fields = ("id", *THUMBNAIL_PARTS)
        rows = self.collection.query_ids(ids, fields, self.collection.recent(), page=PAGE_THUMBNAILS)
        return {row["id"]: image for row in rows if (image := thumbnail_of(row)) is not None}

    def pages(self) -> Iterator[list[GalleryFace]]:
        level = all_until(self._connection.now())
        for page in self.collection.pages("", WHOLE_FACE_FIELDS, level, PAGE_THUMBNAILS):
            yield [face_of(row) for row in page]

    def delete_where(self, condition: Filter) -> int:
        passing = expressions.expression(condition)
        pages = self.collection.pages(passing, ["id"], all_until(self._connection.now()), PAGE_NAMES)
        return sum(len(self.delete([row["id"] for row in page])) for page in pages)

    def count(self, condition: Filter | None = None) -> int:
        passing = expressions.EVERY_FACE if condition is None else expressions.expression(condition)
        return self.collection.count(passing, self.collection.recent())

    def statistics(self) -> Statistics:
        """See ``GalleryStore.statistics``; reads every face."""
        names = ("subject", "emotion", "label", "sub_class")
        counters: dict[str, Counter[str | None]] = {name: Counter() for name in names}
        for page in self.collection.pages("", ["id", *names], self.collection.recent(), PAGE_NAMES):
            for name, counter in counters.items():
                counter.update(row[name] or None for row in page)
        subjects = counters.pop("subject")
        return Statistics(subjects.total(), len(subjects.keys() - {None}), *counters.values())

    def sample(self, size: int) -> Sample:
        """See ``GalleryStore.sample``; reads every face, but keeps a bounded number in memory."""
        fields, rows, faces = ["id", "embedding", "label", "emotion"], list[dict[str, Any]](), 0
        for page in self.collection.pages("", fields, self.collection.recent(), PAGE_NAMES):
            faces += len(page)
            rows += page
            keys = np.array([zlib.crc32(str(row["id"]).encode()) for row in rows], dtype=np.int64)
            rows = [rows[place] for place in draw_sample(keys, size).tolist()]
        return Sample(
            [str(row["id"]) for row in rows],
            np.array([row["embedding"] for row in rows], dtype=np.float32).reshape(len(rows), self.embedding_size),
            [row["label"] or row["emotion"] or None for row in rows],
            faces,
        )

    def snapshot(self, folder: Path) -> int:
        """See ``GalleryStore.snapshot``. A face that is changed meanwhile is in it as it was or as it is."""
        return write_snapshot(folder, self)

    def restore(self, folder: Path) -> int:
        """See ``GalleryStore.restore``. What others write meanwhile is lost with the old faces."""
        return self.replace_all(read_snapshot(folder, self.embedding_size, self.embedder_sha256))

    def replace_all(self, pages: Iterable[Sequence[GalleryFace]]) -> int:
        """Replace all faces, or change nothing; returns how many there are.

        Args:
            pages: of faces; none is larger than an ``add`` may be.
        """
        with ExitStack() as stack:
            for stripe in self._stripes:
                stack.enter_context(stripe)
            draft = create_collection(self._connection, self.collection.note)
            write = MilvusWrite(self.collection)
            faces = 0
            try:
                for page in pages:
                    check_faces(page, self.embedding_size)
                    write.put_into(draft, page)
                    faces += len(page)
                old = self._connection.call("describe_collection", self.collection.name)["collection_name"]
                self._connection.call("alter_alias", draft, self.collection.name)
            except BaseException:
                self._connection.call("drop_collection", draft)
                raise
            self._connection.call("drop_collection", old)
            self._connection.note_write()
        return faces

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _write(self, ids: Collection[str]) -> Iterator[MilvusWrite]:
        with ExitStack() as stack:
            for stripe in sorted({hash(face_id) % _STRIPES for face_id in ids}):  # one order: no two wait on each other
                stack.enter_context(self._stripes[stripe])
            yield MilvusWrite(self.collection)

    def _find(self, face_id: str) -> GalleryFace | None:
        passing = expressions.with_ids([face_id])
        rows = self.collection.query(passing, WHOLE_FACE_FIELDS, self.collection.recent(), limit=1)
        return face_of(rows[0]) if rows else None

    def _search(self, queries: NDArray[np.float32], k: int, options: SearchOptions) -> SearchResult:
        now = self._connection.now()
        level = self._connection.recent(now)
        found = self._searcher.search(queries, k, options, level)
        faces = self.collection.flag_thumbnails((match.face for each in found for match in each), level)
        matches = [[GalleryMatch(faces[match.face.id], match.distance) for match in each] for each in found]
        if options.snapshot is not None:
            return SearchResult(matches, options.snapshot)
        # A face that was added during the search may be among its matches, and then belongs to the snapshot.
        sequences = (match.face.sequence for each in matches for match in each)
        return SearchResult(matches, max(sequence_of(now), max(sequences, default=0)))

    def _list(
        self, limit: int, after: str | None, condition: Filter | None, snapshot: int | None
    ) -> tuple[list[GalleryFace], int]:
        now = self._connection.now()
        if snapshot is None:
            snapshot = sequence_of(now)
        passing = expressions.every(
            "" if condition is None else expressions.expression(condition), expressions.by_snapshot(snapshot)
        )
        level, size = self._connection.recent(now), min(limit, PAGE_FACES)
        faces: list[GalleryFace] = []
        for page in self.collection.pages(passing, FACE_FIELDS, level, size, after=after):
            faces.extend(face_of(row) for row in page)
            if len(faces) >= limit:
                break
        return list(self.collection.flag_thumbnails(faces[:limit], level).values()), snapshot


def open_milvus_gallery(
    address: MilvusAddress, embedding_size: int, embedder_sha256: str, *, create: bool = True
) -> MilvusGallery:
    """Open the gallery of a collection; see ``mien.index.gallery.milvus.collection.open_collection``."""
    return MilvusGallery(open_collection(address, embedding_size, embedder_sha256, create=create))

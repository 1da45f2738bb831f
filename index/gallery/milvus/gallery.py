"""The distributed gallery: the faces are kept and searched by Milvus, shared by any number of processes and machines.

The name of the gallery is an alias; the collection that it stands for is replaced whole by ``restore``, so that others
see all of the old faces or all of the new. Reads see every write of this process, and those of others half a second
later at most. What decides on a write, such as whether an id is there already, is read with every write of everybody.

A server keeps no two requests apart: where two processes add *different* content under one id within the same
milliseconds, neither is refused, and the later one stays. A request of more than ``BATCH_BYTES`` is written in parts;
where the server is gone for good in the midst of one, some parts are there and ``GalleryError`` is raised. Making the
request again completes it.
"""

import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import FaceConflictError, GalleryError, UnknownFaceError
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.embedded.pages import folder_pages
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter
from mien.index.gallery.milvus import expressions
from mien.index.gallery.milvus.address import MilvusAddress
from mien.index.gallery.milvus.collection import make_collection, open_collection
from mien.index.gallery.milvus.connection import EVERY_WRITE, MilvusConnection, all_until, sequence_of
from mien.index.gallery.milvus.schema import (
    FACE_FIELDS,
    THUMBNAIL_PARTS,
    CollectionNote,
    face_of,
    row_bytes,
    row_of,
    thumbnail_of,
)
from mien.index.gallery.milvus.search import MilvusSearch
from mien.index.gallery.store import (
    EVERYTHING,
    AddResult,
    Listing,
    Sample,
    SearchOptions,
    SearchResult,
    Statistics,
    check_limit,
    check_query,
    draw_sample,
)
from mien.index.gallery.validation import changed, check_faces, shown
from mien.index.gallery.vectors.flat import ExactSearch

BATCH_FACES: Final = 2000
BATCH_BYTES: Final = 8 * 2**20
"""The largest part of a request that is written at once."""

PAGE_FACES: Final = 2000
"""Faces that are read at once: their metadata may be 16 KiB each."""

PAGE_NAMES: Final = 16_000
"""Faces whose names alone are read at once; Milvus answers at most 16,384."""

PAGE_THUMBNAILS: Final = 200

_STRIPES: Final = 64


class MilvusGallery:
    """A gallery in a collection of a Milvus server; see ``mien.index.gallery.store.GalleryStore``. Thread-safe."""

    def __init__(self, connection: MilvusConnection, note: CollectionNote) -> None:
        """Use a collection that ``open_milvus_gallery`` made or found."""
        self._connection = connection
        self._note = note
        self._name = connection.address.collection
        self._search = MilvusSearch(connection, note)
        # Of writes to one id, the second must see what the first has left.
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    @property
    def embedding_size(self) -> int:
        """d, the dimensions of every embedding."""
        return self._note.embedding_size

    @property
    def embedder_sha256(self) -> str:
        """SHA-256 of the network that made every embedding."""
        return self._note.embedder_sha256

    @property
    def read_only(self) -> bool:
        """Never: every process writes to the server."""
        return False

    @property
    def remarks(self) -> tuple[str, ...]:
        """What an owner should know of the opening: nothing; what goes wrong is raised."""
        return ()

    def is_new(self) -> bool:
        """Whether it has no faces."""
        return self.count() == 0

    @property
    def index(self) -> str:
        """How the embeddings are searched."""
        return self._note.index

    def add(self, faces: Sequence[GalleryFace], *, replace: bool = False) -> AddResult:
        """See ``GalleryStore.add``."""
        check_faces(faces, self.embedding_size)
        if not faces:
            return AddResult((), (), ())
        with self._writing(face.id for face in faces):
            stored = self.get_many([face.id for face in faces])
            unchanged = [face for face in faces if face.id in stored and face.same_content(stored[face.id])]
            same = {face.id for face in unchanged}
            others = [face for face in faces if face.id in stored and face.id not in same]
            if others and not replace:
                raise FaceConflictError(
                    f"the gallery has {shown(others[0].id)} already, with other content: "
                    "ask for its replacement, or choose another id"
                )
            self._write([face for face in faces if face.id not in same])
        replaced = tuple(face.id for face in others)
        added = tuple(face.id for face in faces if face.id not in stored)
        return AddResult(added, replaced, tuple(face.id for face in unchanged))

    def get(self, face_id: str) -> GalleryFace:
        """See ``GalleryStore.get``."""
        return self._one(face_id, self._connection.recent(self._connection.now()))

    def thumbnails(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """See ``GalleryStore.thumbnails``."""
        level = self._connection.recent(self._connection.now())
        found: dict[str, bytes] = {}
        for part in _parts(ids, PAGE_THUMBNAILS):
            rows = self._query(expressions.with_ids(part), ("id", *THUMBNAIL_PARTS), level, limit=len(part))
            found |= {row["id"]: image for row in rows if (image := thumbnail_of(row)) is not None}
        return found

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        """See ``GalleryStore.get_many``."""
        found: dict[str, GalleryFace] = {}
        for part in _parts(ids, PAGE_FACES):
            rows = self._query(expressions.with_ids(part), FACE_FIELDS, EVERY_WRITE, limit=len(part))
            found |= {row["id"]: face_of(row) for row in rows}
        return found

    def update(self, face_id: str, changes: Mapping[str, Any]) -> GalleryFace:
        """See ``GalleryStore.update``."""
        with self._writing([face_id]):
            face = changed(self._one(face_id, EVERY_WRITE), changes)
            self._write_rows([face], self._name)
            return face

    def delete(self, ids: Sequence[str]) -> tuple[str, ...]:
        """See ``GalleryStore.delete``."""
        wanted = list(dict.fromkeys(ids))
        with self._writing(wanted):
            there: set[str] = set()
            for part in _parts(wanted, BATCH_FACES):
                rows = self._query(expressions.with_ids(part), ["id"], EVERY_WRITE, limit=len(part))
                there |= {row["id"] for row in rows}
            self._delete(there)
        return tuple(face_id for face_id in wanted if face_id in there)

    def delete_where(self, condition: Filter) -> int:
        """See ``GalleryStore.delete_where``."""
        passing = expressions.expression(condition)
        pages = self._pages(passing, ["id"], all_until(self._connection.now()), PAGE_NAMES)
        return sum(len(self.delete([row["id"] for row in page])) for page in pages)

    def search(self, queries: NDArray[np.float32], k: int, options: SearchOptions = EVERYTHING) -> SearchResult:
        """See ``GalleryStore.search``."""
        check_query(queries, k, options, self.embedding_size)
        now = self._connection.now()
        matches = self._search.search(queries, k, options, self._connection.recent(now))
        if options.snapshot is not None:
            return SearchResult(matches, options.snapshot)
        # A face that was added while the search went on may be among its answers, and is part of the snapshot then.
        sequences = (match.face.sequence for found in matches for match in found)
        return SearchResult(matches, max(sequence_of(now), max(sequences, default=0)))

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
        now = self._connection.now()
        number = sequence_of(now) if snapshot is None else snapshot
        passing = expressions.every(
            "" if condition is None else expressions.expression(condition), expressions.by_snapshot(number)
        )
        recent = self._connection.recent(now)
        faces: list[GalleryFace] = []
        # One more than asked for says whether there is another page.
        for page in self._pages(passing, FACE_FIELDS, recent, min(limit + 1, PAGE_FACES), after=after):
            faces.extend(face_of(row) for row in page)
            if len(faces) > limit:
                break
        more = len(faces) > limit
        return Listing(faces[:limit], number, faces[limit - 1].id if more else None)

    def count(self, condition: Filter | None = None) -> int:
        """See ``GalleryStore.count``."""
        passing = expressions.EVERY_FACE if condition is None else expressions.expression(condition)
        return self._search.count(passing, self._connection.recent(self._connection.now()))

    def statistics(self) -> Statistics:
        """See ``GalleryStore.statistics``."""
        fields = ("emotion", "label", "sub_class")
        counts: dict[str, dict[str | None, int]] = {name: {} for name in fields}
        subjects: set[str] = set()
        faces = 0
        recent = self._connection.recent(self._connection.now())
        for page in self._pages("", ["id", "subject", *fields], recent, PAGE_NAMES):
            faces += len(page)
            for row in page:
                subjects.add(row["subject"])
                for name in fields:
                    value = row[name] or None
                    counts[name][value] = counts[name].get(value, 0) + 1
        return Statistics(faces, len(subjects - {""}), counts["emotion"], counts["label"], counts["sub_class"])

    def sample(self, most: int) -> Sample:
        """See ``GalleryStore.sample``; every face is read, and what is kept of them is bounded."""
        fields, kept, faces = ["id", "embedding", "label", "emotion"], list[dict[str, Any]](), 0
        for page in self._pages("", fields, self._connection.recent(self._connection.now()), PAGE_NAMES):
            faces += len(page)
            kept += page
            keys = np.array([zlib.crc32(str(row["id"]).encode()) for row in kept], dtype=np.int64)
            kept = [kept[place] for place in draw_sample(keys, most).tolist()]
        return Sample(
            [str(row["id"]) for row in kept],
            np.array([row["embedding"] for row in kept], dtype=np.float32).reshape(len(kept), self.embedding_size),
            [row["label"] or row["emotion"] or None for row in kept],
            faces,
        )

    def every_face_whole(self) -> Iterator[list[GalleryFace]]:
        """Every face that is there now, by id, with thumbnails, a page at a time.

        A face that is changed meanwhile comes once, as it was or as it is.
        """
        fields = (*FACE_FIELDS, *THUMBNAIL_PARTS)
        for page in self._pages("", fields, all_until(self._connection.now()), PAGE_THUMBNAILS):
            yield [face_of(row) for row in page]

    def snapshot(self, folder: Path) -> int:
        """See ``GalleryStore.snapshot``. A face that is changed meanwhile is in it as it was or as it is."""
        if folder.exists():
            raise GalleryError(f"{folder} is there already: a snapshot wants a new folder")
        written = open_embedded_gallery(folder, self.embedding_size, self.embedder_sha256)
        try:
            for page in self.every_face_whole():
                written.add(page)
            return written.count()
        finally:
            written.close()

    def restore(self, folder: Path) -> int:
        """See ``GalleryStore.restore``. What others write meanwhile goes with the old faces."""
        return self.replace_all(folder_pages(folder, self.embedding_size, self.embedder_sha256))

    def replace_all(self, pages: Iterable[Sequence[GalleryFace]]) -> int:
        """Put faces in the place of all there are, or leave all as it is; returns their number.

        Args:
            pages: of faces; none is larger than an ``add`` may be.
        """
        with ExitStack() as stack:
            for stripe in self._stripes:
                stack.enter_context(stripe)
            draft = make_collection(self._connection, self._note)
            faces = 0
            try:
                for page in pages:
                    check_faces(page, self.embedding_size)
                    self._write(page, draft)
                    faces += len(page)
                old = self._connection.call("describe_collection", self._name)["collection_name"]
                self._connection.call("alter_alias", draft, self._name)
            except BaseException:
                self._connection.call("drop_collection", draft)
                raise
            self._connection.call("drop_collection", old)
            self._connection.wrote()
        return faces

    def check(self, queries: int = 200, k: int = 10) -> dict[str, Any]:
        """Compare what is served with exact search on the gallery's own faces; JSON values.

        Args:
            queries: faces of the gallery, moved a little, that are searched for.
            k: matches of each.
        """
        recent = self._connection.recent(self._connection.now())
        pages = list(self._pages("", ["id", "embedding"], recent, PAGE_NAMES))
        ids = [row["id"] for page in pages for row in page]
        report: dict[str, Any] = {"faces": len(ids), "index": self.index, "remarks": list(self.remarks)}
        if not ids:
            return report
        points = np.concatenate([np.array([row["embedding"] for row in page], dtype=np.float32) for page in pages])
        generator = np.random.default_rng(0)
        asked = points[np.sort(generator.choice(len(ids), min(queries, len(ids)), replace=False))]
        asked = (asked + generator.normal(size=asked.shape) * 0.2 * asked.std(axis=0)).astype(np.float32)
        began = time.perf_counter()
        served = [{match.face.id for match in self.search(query[None], k).matches[0]} for query in asked]
        served_ms = 1000 * (time.perf_counter() - began) / len(asked)
        exact, _ = ExactSearch(points).search(asked, min(k, len(ids)))
        hits = [len(each & {ids[row] for row in rows}) / len(rows) for each, rows in zip(served, exact, strict=True)]
        return report | {
            f"recall_at_{k}": float(np.mean(hits)),
            "queries": len(asked),
            "served_ms": round(served_ms, 3),
        }

    def close(self) -> None:
        """See ``GalleryStore.close``."""
        self._connection.close()

    @contextmanager
    def _writing(self, ids: Iterable[str]) -> Iterator[None]:
        """Alone in this process with some ids."""
        with ExitStack() as stack:
            for stripe in sorted({hash(face_id) % _STRIPES for face_id in ids}):  # one order: no two wait on each other
                stack.enter_context(self._stripes[stripe])
            yield

    def _one(self, face_id: str, level: Mapping[str, Any]) -> GalleryFace:
        fields = (*FACE_FIELDS, *THUMBNAIL_PARTS)
        rows = self._query(expressions.with_ids([face_id]), fields, level, limit=1)
        if not rows:
            raise UnknownFaceError(f"the gallery has no face with the id {shown(face_id)}")
        return face_of(rows[0])

    def _write(self, faces: Sequence[GalleryFace], collection: str | None = None) -> None:
        """Write new faces, or over those that have their ids."""
        if faces:
            sequence, present = sequence_of(self._connection.now()), time.time()
            stamped = [
                replace(face, time=present if face.time is None else float(face.time), sequence=sequence)
                for face in faces
            ]
            self._write_rows(stamped, collection or self._name)

    def _write_rows(self, faces: Sequence[GalleryFace], collection: str) -> None:
        for part in _batches(row_of(face) for face in faces):
            self._connection.call("upsert", collection, part)
        self._connection.wrote()

    def _delete(self, ids: Iterable[str]) -> None:
        for part in _parts(sorted(ids), BATCH_FACES):
            self._connection.call("delete", self._name, ids=part)
        self._connection.wrote()

    def _query(
        self, passing: str, fields: Sequence[str], level: Mapping[str, Any], *, limit: int
    ) -> list[dict[str, Any]]:
        rows = self._connection.call(
            "query", self._name, filter=passing, output_fields=list(fields), limit=limit, **level
        )
        return list(rows)

    def _pages(
        self, passing: str, fields: Sequence[str], level: Mapping[str, Any], size: int, *, after: str | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Rows that pass, by id, a page at a time; a row that is changed meanwhile keeps its place."""
        while True:
            beyond = "" if after is None else f"id > {expressions.text(after)}"
            rows = self._query(expressions.every(passing, beyond), fields, level, limit=size)
            if rows:
                yield sorted(rows, key=lambda row: str(row["id"]))
            if len(rows) < size:
                return
            after = max(str(row["id"]) for row in rows)


def open_milvus_gallery(
    address: MilvusAddress, embedding_size: int, embedder_sha256: str, *, create: bool = True
) -> MilvusGallery:
    """Open the gallery of a collection; see ``mien.index.gallery.milvus.collection.open_collection``."""
    return MilvusGallery(*open_collection(address, embedding_size, embedder_sha256, create=create))


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        if batch and (len(batch) >= BATCH_FACES or size + row_bytes(row) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row_bytes(row)
    if batch:
        yield batch


def _parts(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield list(ids[start : start + size])

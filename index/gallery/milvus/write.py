"""Writing faces to a Milvus collection."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mien.index.gallery.face import GalleryFace
from mien.index.gallery.milvus import expressions
from mien.index.gallery.milvus.collection import MilvusCollection
from mien.index.gallery.milvus.connection import EVERY_WRITE, sequence_of
from mien.index.gallery.milvus.schema import FACE_FIELDS, WHOLE_FACE_FIELDS, face_of, row_bytes, row_of

BATCH_FACES: Final = 2000
BATCH_BYTES: Final = 8 * 2**20
"""The largest part of a request that is written at once."""

PAGE_FACES: Final = 2000
"""Faces that are read at once: their metadata may be 16 KiB each."""


class MilvusWrite:
    """A write to a collection; ``mien.index.gallery.store.GalleryWrite``.

    What it reads includes every write of every process.
    """

    def __init__(self, collection: MilvusCollection) -> None:
        """Write to the collection behind the alias."""
        self._collection = collection
        self._connection = collection.connection

    def find(self, face_id: str) -> GalleryFace | None:
        rows = self._collection.query(expressions.with_ids([face_id]), WHOLE_FACE_FIELDS, EVERY_WRITE, limit=1)
        return face_of(rows[0]) if rows else None

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        rows = self._collection.query_ids(ids, FACE_FIELDS, EVERY_WRITE, page=PAGE_FACES)
        return self._collection.flag_thumbnails(map(face_of, rows), EVERY_WRITE)

    def put(self, faces: Sequence[GalleryFace], replaced: Sequence[GalleryFace]) -> None:  # noqa: ARG002
        """See ``GalleryWrite.put``: Milvus replaces rows by id."""
        self.put_into(self._collection.name, faces)

    def put_into(self, name: str, faces: Sequence[GalleryFace]) -> None:
        """Write faces to a collection of the server by its name, replacing those that have their ids."""
        if faces:
            sequence, now = sequence_of(self._connection.now()), time.time()
            self._upsert(
                name,
                [
                    replace(face, time=now if face.time is None else float(face.time), sequence=sequence)
                    for face in faces
                ],
            )

    def update(self, face: GalleryFace) -> None:
        self._upsert(self._collection.name, [face])

    def delete(self, ids: Sequence[str]) -> Collection[str]:
        stored = sorted(row["id"] for row in self._collection.query_ids(ids, ["id"], EVERY_WRITE, page=BATCH_FACES))
        for start in range(0, len(stored), BATCH_FACES):
            self._connection.call("delete", self._collection.name, ids=stored[start : start + BATCH_FACES])
        self._connection.note_write()
        return set(stored)

    def _upsert(self, name: str, faces: Sequence[GalleryFace]) -> None:
        for batch in _batches(map(row_of, faces)):
            self._connection.call("upsert", name, batch)
        self._connection.note_write()


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

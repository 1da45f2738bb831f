"""A transaction of an embedded gallery, and what it changes, for memory to follow once it is durable."""

import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from mien.index.gallery.embedded.damage import forget_set_aside
from mien.index.gallery.embedded.rows import (
    delete_faces,
    faces_by_id,
    find_face,
    insert_faces,
    select_in,
    to_row,
)
from mien.index.gallery.face import GalleryFace


class Transaction:
    """A write in one transaction; ``mien.index.gallery.store.GalleryWrite``.

    Attributes:
        counter: the database's counter after the transaction.
        inserted: new faces, with their sequence numbers and times.
        updated: faces as they are after the transaction.
        deleted: sequence numbers of deleted faces.
    """

    def __init__(self, connection: sqlite3.Connection, counter: int) -> None:
        """Write through a connection, from the database's counter on."""
        self._connection = connection
        self.counter = counter
        self.inserted: list[GalleryFace] = []
        self.updated: list[GalleryFace] = []
        self.deleted: list[int] = []

    def find(self, face_id: str) -> GalleryFace | None:
        return find_face(self._connection, face_id)

    def get_many(self, ids: Sequence[str]) -> Mapping[str, GalleryFace]:
        return faces_by_id(self._connection, ids)

    def put(self, faces: Sequence[GalleryFace], replaced: Sequence[GalleryFace]) -> None:
        self.delete_sequences([face.sequence for face in replaced])
        forget_set_aside(self._connection, [face.id for face in faces])
        now = time.time()
        added = []
        for face in faces:
            self.counter += 1
            added.append(replace(face, sequence=self.counter, time=now if face.time is None else float(face.time)))
        insert_faces(self._connection, added)
        self.inserted.extend(added)

    def update(self, face: GalleryFace) -> None:
        self.counter += 1
        names = "label, emotion, sub_class, subject, metadata, content_sha256, time"
        self._connection.execute(
            f"UPDATE faces SET ({names}) = (?, ?, ?, ?, ?, ?, ?) WHERE sequence = ?",  # noqa: S608
            (*to_row(face)[3:], face.sequence),
        )
        if face.thumbnail is not None:
            self._connection.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", (face.sequence, face.thumbnail))
        self._record_changes([face.sequence], gone=False)
        self.updated.append(face)

    def delete(self, ids: Sequence[str]) -> Collection[str]:
        stored = dict(select_in(self._connection, "SELECT id, sequence FROM faces WHERE id IN ", ids))
        self.delete_sequences(list(stored.values()))
        return {*stored, *forget_set_aside(self._connection, ids)}

    def delete_sequences(self, sequences: Sequence[int]) -> None:
        """Delete the faces with these sequence numbers."""
        delete_faces(self._connection, sequences)
        self.counter += len(sequences)
        self._record_changes(sequences, gone=True)
        self.deleted.extend(sequences)

    def _record_changes(self, sequences: Sequence[int], *, gone: bool) -> None:
        first = self.counter - len(sequences) + 1
        rows = [(first + row, sequence, int(gone)) for row, sequence in enumerate(sequences)]
        self._connection.executemany("INSERT INTO changes VALUES (?, ?, ?)", rows)

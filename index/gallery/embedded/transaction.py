"""What one transaction does to an embedded gallery, for memory to follow once it is durable."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mien.index.gallery.embedded.database import FACE, delete_faces, in_parts, insert_faces, to_face, to_row
from mien.index.gallery.face import GalleryFace


class GalleryWrite:
    """A transaction.

    Attributes:
        connection: that it goes through.
        counter: the database's, as it will be.
        inserted: new faces, with their sequence numbers and times.
        updated: faces as they are now.
        deleted: sequence numbers of faces that are gone.
    """

    def __init__(self, connection: Any, counter: int) -> None:
        """Begin at the counter of the database."""
        self.connection = connection
        self.counter = counter
        self.inserted: list[GalleryFace] = []
        self.updated: list[GalleryFace] = []
        self.deleted: list[int] = []

    def faces_with_ids(self, ids: Sequence[str]) -> dict[str, GalleryFace]:
        """The faces that have these ids already."""
        rows = in_parts(self.connection, f"SELECT {FACE} FROM faces WHERE id IN ", ids)  # noqa: S608
        return {row[1]: to_face(row) for row in rows}

    def insert(self, faces: Sequence[GalleryFace]) -> None:
        """Add faces, whose ids nobody has."""
        now = time.time()
        added = []
        for face in faces:
            self.counter += 1
            added.append(replace(face, sequence=self.counter, time=now if face.time is None else float(face.time)))
        insert_faces(self.connection, added)
        self.inserted.extend(added)

    def update(self, face: GalleryFace) -> None:
        """Write what is said of a face anew."""
        self.counter += 1
        names = "label, emotion, sub_class, subject, metadata, content_sha256, time"
        self.connection.execute(
            f"UPDATE faces SET ({names}) = (?, ?, ?, ?, ?, ?, ?) WHERE sequence = ?",  # noqa: S608
            (*to_row(face)[3:], face.sequence),
        )
        self._note([face.sequence], gone=False)
        self.updated.append(face)

    def delete(self, sequences: Sequence[int]) -> None:
        """Delete faces."""
        delete_faces(self.connection, sequences)
        self.counter += len(sequences)
        self._note(sequences, gone=True)
        self.deleted.extend(sequences)

    def _note(self, sequences: Sequence[int], *, gone: bool) -> None:
        first = self.counter - len(sequences) + 1
        rows = [(first + row, sequence, int(gone)) for row, sequence in enumerate(sequences)]
        self.connection.executemany("INSERT INTO changes VALUES (?, ?, ?)", rows)

"""Faces as rows of the database."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import GalleryError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import value_at
from mien.index.gallery.validation import excerpt, json_text

FACE: Final = "sequence, id, embedding, label, emotion, sub_class, subject, metadata, content_sha256, time"
"""The columns of the table."""

_HAS_THUMBNAIL: Final = "EXISTS (SELECT 1 FROM thumbnails WHERE thumbnails.sequence = faces.sequence)"

READ_FACE: Final = f"{FACE}, {_HAS_THUMBNAIL}"
"""What ``to_face`` reads."""

INSERT_FACE: Final = "INSERT INTO faces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_THUMBNAIL: Final = "INSERT INTO thumbnails VALUES (?, ?)"

_MAX_IN: Final = 5000
"""Values of one IN."""

_ROWS_AT_ONCE: Final = 16_384

_PLAIN_KEY: Final = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
"""A key of metadata that the JSON text has without escapes, so that SQLite finds it."""

_LITTLE_ENDIAN: Final = np.dtype("<f4")
_JSON: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""Reads a JSON value at an offset of a text; what the database holds was checked when it was written."""


class UnreadableRowError(GalleryError):
    """A row cannot be read as a face; rows are checked when a gallery is opened, or soon after."""


def to_row(face: GalleryFace) -> tuple[Any, ...]:
    """A face as the columns of ``FACE``."""
    return (
        face.sequence,
        face.id,
        face.embedding.astype("<f4").tobytes(),
        face.label,
        face.emotion,
        face.sub_class,
        face.subject,
        json_text(face.metadata),
        face.content_sha256,
        face.time,
    )


def to_face(row: Sequence[Any], thumbnail: bytes | None = None) -> GalleryFace:
    """A face from ``READ_FACE``.

    Raises:
        UnreadableRowError: the row is damaged.
    """
    sequence, face_id, embedding, label, emotion, sub_class, subject, metadata, content_sha256, time, has_thumbnail = (
        row
    )
    try:
        point = np.frombuffer(embedding, _LITTLE_ENDIAN).astype(np.float32, copy=False)
        values = _JSON(metadata, 0)[0]
    except (ValueError, TypeError, StopIteration, RecursionError):
        raise UnreadableRowError(f"the face {excerpt(face_id)} is damaged: mien gallery check sets it aside") from None
    return GalleryFace(
        face_id,
        point,
        label,
        emotion,
        sub_class,
        subject,
        values,
        content_sha256,
        time,
        thumbnail,
        sequence,
        bool(has_thumbnail),
    )


def insert_faces(connection: sqlite3.Connection, faces: Sequence[GalleryFace]) -> None:
    """Insert faces that have their sequence numbers."""
    connection.executemany(INSERT_FACE, map(to_row, faces))
    thumbnails = [(face.sequence, face.thumbnail) for face in faces if face.thumbnail is not None]
    connection.executemany(INSERT_THUMBNAIL, thumbnails)


def delete_faces(connection: sqlite3.Connection, sequences: Sequence[int]) -> None:
    """Delete faces and their thumbnails."""
    for table in ("faces", "thumbnails"):
        connection.executemany(f"DELETE FROM {table} WHERE sequence = ?", [(each,) for each in sequences])  # noqa: S608


def find_face(connection: sqlite3.Connection, face_id: str) -> GalleryFace | None:
    """The face with an id, with its thumbnail."""
    row = connection.execute(f"SELECT {READ_FACE} FROM faces WHERE id = ?", (face_id,)).fetchone()  # noqa: S608
    if row is None:
        return None
    thumbnail = connection.execute("SELECT image FROM thumbnails WHERE sequence = ?", (row[0],)).fetchone()
    return to_face(row, thumbnail[0] if thumbnail else None)


def faces_by_id(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, GalleryFace]:
    """The faces with some ids, without thumbnails."""
    return {row[1]: to_face(row) for row in select_in(connection, f"SELECT {READ_FACE} FROM faces WHERE id IN ", ids)}  # noqa: S608


def faces_by_sequence(connection: sqlite3.Connection, sequences: Sequence[int]) -> dict[int, GalleryFace]:
    """The faces with some sequence numbers, without thumbnails."""
    rows = select_in(connection, f"SELECT {READ_FACE} FROM faces WHERE sequence IN ", sequences)  # noqa: S608
    return {row[0]: to_face(row) for row in rows}


def select_in(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of a query that ends with IN, for any number of values."""
    for start in range(0, len(values), _MAX_IN):
        part = values[start : start + _MAX_IN]
        yield from connection.execute(f"{query}({','.join('?' * len(part))})", part)


def embeddings_of(blobs: Iterable[bytes], size: int) -> NDArray[np.float32]:
    """(n, d) embeddings from their column, writable."""
    flat = np.frombuffer(bytearray().join(blobs), dtype="<f4")
    return flat.astype(np.float32, copy=False).reshape(-1, size)


def values_of(
    connection: sqlite3.Connection, field: tuple[str, ...], first: int
) -> Iterator[tuple[NDArray[np.int64], list[Any]]]:
    """One field of all faces, block by block: sequence numbers (ascending) and values.

    Args:
        connection: to read with.
        field: as in a filter.
        first: the smallest sequence number to read.
    """
    name, *path = field  # the name is one of a filter's fields, never user input
    in_sql = name == "metadata" and all(map(_PLAIN_KEY.fullmatch, path))
    column = "metadata -> ?" if in_sql else name
    if name == "has_thumbnail":
        column = _HAS_THUMBNAIL
    arguments = ["$" + "".join(f'."{key}"' for key in path)] if in_sql else []
    query = f"SELECT sequence, {column} FROM faces WHERE sequence >= ? ORDER BY sequence"  # noqa: S608
    rows = connection.execute(query, [*arguments, first])
    while block := rows.fetchmany(_ROWS_AT_ONCE):
        values: list[Any] = [row[1] for row in block]
        if in_sql:
            values = json.loads(f"[{','.join('null' if value is None else value for value in values)}]")
        elif name == "metadata":
            values = [value_at(json.loads(value), path) for value in values]
        elif name == "has_thumbnail":
            values = [bool(value) for value in values]
        yield np.array([row[0] for row in block], dtype=np.int64), values

"""Damaged rows of a gallery's database: found where they are read, and set aside, so that all others are served.

A row is damaged if it cannot be served: its embedding has another length or is not finite, its metadata is no JSON
object, a text is no text, or its time is no time. Rules for new faces that came later than a gallery do not make its
rows damaged.

A row that is set aside keeps its fields in the table ``set_aside``, with the fault, until a face with its id is added
or deleted again.
"""

import json
import math
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np

from mien.index.gallery.embedded.database import MAX_COUNTER, GalleryDatabase
from mien.index.gallery.embedded.rows import FACE, delete_faces
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Filter, passes

_SET_ASIDE: Final = f"""
CREATE TABLE IF NOT EXISTS set_aside ({FACE.replace("sequence", "sequence INTEGER PRIMARY KEY")}, thumbnail, fault TEXT)
"""

_NAMES: Final = ("label", "emotion", "sub_class", "subject")
_IS_TYPED: Final = " AND ".join(
    [
        "typeof(embedding) = 'blob' AND typeof(time) = 'real'",
        *(f"typeof({name}) = 'text'" for name in ("id", "metadata")),
        *(f"typeof({name}) IN ('text', 'null')" for name in (*_NAMES, "content_sha256")),
        "CASE WHEN json_valid(metadata) THEN json_type(metadata) = 'object' ELSE 0 END",
    ]
)
"""Whether columns have their types, which SQLite does not enforce, and the metadata is an object."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SHA256_LENGTH: Final = 64
_BLOCK: Final = 5_000


class DamagedRow(NamedTuple):
    """A row that cannot be served.

    Attributes:
        sequence: its number.
        id: as far as it can be read.
        fault: what is wrong with it.
    """

    sequence: int
    id: str
    fault: str


def find_damaged(connection: sqlite3.Connection, embedding_size: int) -> Iterator[DamagedRow]:
    """The damaged rows of the table of faces, as the database is at this moment.

    Args:
        connection: to read with; no other rows may be read through it until the end.
        embedding_size: d.
    """
    rows = connection.execute(f"SELECT {FACE}, {_IS_TYPED} FROM faces ORDER BY sequence")  # noqa: S608
    texts = connection.text_factory
    connection.text_factory = bytes  # one text that is not UTF-8 would end the whole query
    try:
        while block := rows.fetchmany(_BLOCK):
            if not _are_sound(block, embedding_size):
                for row in block:
                    fault = fault_of(row, embedding_size)
                    if fault is not None:
                        yield DamagedRow(row[0], _readable(row[1]), fault)
    finally:
        connection.text_factory = texts


def fault_of(row: Sequence[Any], embedding_size: int) -> str | None:
    """What is wrong with a row of ``FACE`` and whether it is typed, with texts as bytes; None if it can be served."""
    return next(_faults(row, embedding_size), None)


def _faults(row: Sequence[Any], embedding_size: int) -> Iterator[str]:
    sequence, face_id, embedding, *names, metadata, content_sha256, time, typed = row
    if not 0 < sequence <= MAX_COUNTER:
        yield f"its sequence number must be from 1 to {MAX_COUNTER}, got {sequence}"
    for name, value in zip(("id", *_NAMES), (face_id, *names), strict=True):
        if (value is not None or name == "id") and (fault := _fault_of_text(value)) is not None:
            yield f"its {name} {fault}"
    length = len(embedding) if isinstance(embedding, bytes) else None
    if length != 4 * embedding_size:
        yield f"its embedding must have {4 * embedding_size} bytes, got {length}"
    elif not np.isfinite(np.frombuffer(embedding, "<f4")).all():
        yield "its embedding has numbers that are not finite"
    if not _is_object(metadata):
        yield "its metadata is no JSON object"
    if not isinstance(time, int | float) or not math.isfinite(time):
        yield f"its time must be seconds since 1970, got {time!r}"
    if content_sha256 is not None and (_fault_of_text(content_sha256) or len(content_sha256) != _SHA256_LENGTH):
        yield f"its content_sha256 must have {_SHA256_LENGTH} digits"
    if not typed:
        yield "a column has another type than it should"


def _is_object(metadata: Any) -> bool:
    try:
        return isinstance(json.loads(metadata.decode()), dict)
    except (ValueError, AttributeError, RecursionError):
        return False


def set_aside_damaged(database: GalleryDatabase) -> list[DamagedRow]:
    """Set aside the damaged rows, and correct a counter that is behind its faces; returns what was set aside.

    Raises:
        GalleryError: the database cannot be read or written.
    """
    with database.reading() as connection:
        damaged = list(find_damaged(connection, database.state(connection).embedding_size))
    with database.reading() as connection:
        counter = database.state(connection).counter
        (last,) = connection.execute("SELECT max(sequence) FROM faces").fetchone()
    behind = last is not None and counter < last <= MAX_COUNTER
    if damaged or behind:
        with database.writing() as connection:
            connection.execute(_SET_ASIDE)
            for row in damaged:
                thumbnail = "(SELECT image FROM thumbnails WHERE thumbnails.sequence = faces.sequence)"
                insert = f"INSERT OR REPLACE INTO set_aside SELECT {FACE}, {thumbnail}, ? FROM faces WHERE sequence = ?"  # noqa: S608
                connection.execute(insert, (row.fault, row.sequence))
            delete_faces(connection, [row.sequence for row in damaged])
            # All faces are read again by whoever has the gallery open: the changes of a wrong counter say nothing.
            counter = max(database.state().counter, last if behind else 0) + 1
            connection.execute(
                "UPDATE gallery SET counter = ?, forgotten = ?, generation = lower(hex(randomblob(16)))",
                (counter, counter),
            )
    return damaged


def rows_set_aside(connection: sqlite3.Connection) -> list[DamagedRow]:
    """The rows that are set aside."""
    if not _has_table(connection):
        return []
    rows = connection.execute("SELECT sequence, CAST(id AS BLOB), fault FROM set_aside ORDER BY sequence")
    return [DamagedRow(sequence, _readable(face_id), fault) for sequence, face_id, fault in rows]


def forget_set_aside(connection: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    """Delete the rows with some ids from those that are set aside; returns the ids of those that were there."""
    if not _has_table(connection):
        return []
    delete = "DELETE FROM set_aside WHERE id = ?"
    return [face_id for face_id in ids if connection.execute(delete, (face_id,)).rowcount > 0]


def forget_passing(connection: sqlite3.Connection, condition: Filter) -> int:
    """Delete what passes a filter from the rows that are set aside, as far as they can be read; returns how many."""
    if not _has_table(connection):
        return 0
    columns = ", ".join(f"CAST({name} AS BLOB)" for name in ("id", *_NAMES, "metadata"))
    query = f"SELECT sequence, time, thumbnail IS NOT NULL, {columns} FROM set_aside"  # noqa: S608
    passing = []
    for sequence, time, has_thumbnail, face_id, *names, metadata in connection.execute(query).fetchall():
        values: Any = {}
        with suppress(ValueError, RecursionError):
            values = json.loads(_readable(metadata))
        label, emotion, sub_class, subject = (None if name is None else _readable(name) for name in names)
        face = GalleryFace(
            _readable(face_id),
            np.empty(0, np.float32),
            label,
            emotion,
            sub_class,
            subject,
            metadata=values if isinstance(values, dict) else {},
            time=time if isinstance(time, float) else 0.0,
            has_thumbnail=bool(has_thumbnail),
        )
        if passes(condition, face):
            passing.append(sequence)
    connection.executemany("DELETE FROM set_aside WHERE sequence = ?", [(sequence,) for sequence in passing])
    return len(passing)


def forget_all_set_aside(connection: sqlite3.Connection) -> None:
    """Delete all rows that are set aside."""
    if _has_table(connection):
        connection.execute("DELETE FROM set_aside")


def _are_sound(rows: Sequence[Sequence[Any]], embedding_size: int) -> bool:
    """Whether all rows of a block are sound, by a few operations on all; if not, ``fault_of`` says which."""
    sequences, ids, embeddings, *names, metadata, hashes, times, typed = zip(*rows, strict=True)
    try:
        given = [text for column in (ids, *names) for text in column if text is not None]
        texts = b" ".join(given).decode()
        b" ".join(metadata).decode()
        numbers = (np.frombuffer(b"".join(embeddings), "<f4"), np.array(times, dtype=np.float64))
        lengths = {len(each) for each in embeddings}
        digits = {len(each) for each in hashes if each is not None}
    except (TypeError, ValueError):
        return False
    return (
        all(typed)
        and None not in ids
        and min(map(len, given)) > 0
        and _CONTROL.search(texts) is None
        and lengths == {4 * embedding_size}
        and digits <= {_SHA256_LENGTH}
        and all(np.isfinite(each).all() for each in numbers)
        and 0 < sequences[0] <= sequences[-1] <= MAX_COUNTER
    )


def _fault_of_text(value: Any) -> str | None:
    if not isinstance(value, bytes):
        return f"must be a text, got {type(value).__name__}"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    if not text or _CONTROL.search(text):
        return "has control characters" if text else "is empty"
    return None


def _readable(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _has_table(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'set_aside'").fetchone() is not None

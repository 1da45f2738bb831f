"""Columns of an embedded gallery: a field of all faces, read from the database while others write."""

import sqlite3
from collections.abc import Iterator
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.index.deadline import check_deadline
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.rows import faces_by_sequence, values_of
from mien.index.gallery.filters import value_of
from mien.index.gallery.vectors.columns import Column, Field


def read_column(database: GalleryDatabase, field: Field, sequences: NDArray[np.int64]) -> tuple[Column, int]:
    """Read a field of the faces with some sequence numbers, without a lock.

    Args:
        database: of the gallery.
        field: as in a filter.
        sequences: (n,) ascending; deleted faces have null.

    Returns:
        The column, and the database's counter at that moment; ``update_column`` adds what changed since.

    Raises:
        DeadlineError: it takes too long.
    """
    column = Column()
    with database.reading() as connection:
        counter = database.state(connection).counter
        for part in _values(connection, field, sequences):
            column.append(part)
            check_deadline()
    return column, counter


def update_column(
    connection: sqlite3.Connection, column: Column, field: Field, sequences: NDArray[np.int64], counter: int
) -> None:
    """Bring a column up to date with the database.

    Args:
        connection: to read with.
        column: of the first of the faces, as they were.
        field: of the column.
        sequences: (n,) ascending, at least as long as the column.
        counter: the database's, when the column was read.
    """
    count = len(column)
    if count < len(sequences):
        for part in _values(connection, field, sequences[count:]):
            column.append(part)
    changes = connection.execute("SELECT sequence FROM changes WHERE number > ? AND NOT gone", (counter,))
    touched = sorted({sequence for (sequence,) in changes})
    for sequence, face in faces_by_sequence(connection, touched).items():
        row = int(np.searchsorted(sequences, sequence))
        if row < len(sequences) and sequences[row] == sequence:
            column.set(row, value_of(face, field))


def _values(connection: sqlite3.Connection, field: Field, sequences: NDArray[np.int64]) -> Iterator[list[Any]]:
    """The values of a field, face by face, in parts.

    Memory may have tombstones of faces that the database has deleted, and the database faces that memory has not seen
    yet.
    """
    if not len(sequences):
        return
    done, ended = 0, np.append(sequences, -1)
    for stored, values in values_of(connection, field, int(sequences[0])):
        places = np.searchsorted(sequences, stored)
        known = ended[places] == stored
        end = int(places[-1]) + int(known[-1])
        part: list[Any] = [None] * (end - done)
        for place, value in zip((places[known] - done).tolist(), compress(values, known), strict=True):
            part[place] = value
        yield part
        done = end
    yield [None] * (len(sequences) - done)

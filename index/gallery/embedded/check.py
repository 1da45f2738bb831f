"""A check of an embedded gallery: memory is compared with the database."""

from typing import Any, Final

import numpy as np

from mien.index.gallery.embedded.damage import rows_set_aside
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.memory import GalleryMemory
from mien.index.gallery.embedded.rows import embeddings_of

_BLOCK: Final = 10_000
_MAX_FAULTS: Final = 100
"""Rows that are set aside whose faults are reported."""


def check_memory(memory: GalleryMemory, database: GalleryDatabase, *, thorough: bool) -> dict[str, Any]:
    """Whether the database is sound and memory has the same embeddings, as JSON values.

    Args:
        memory: of the gallery.
        database: of the gallery, without damaged rows.
        thorough: also compare the database's indices with its tables.
    """
    with database.lock:
        memory.catch_up()
        view = memory.vectors.view()
        alive = np.flatnonzero(view.alive)
        with database.reading() as connection:
            (integrity,) = connection.execute(f"PRAGMA {'integrity' if thorough else 'quick'}_check(1)").fetchone()
            set_aside = rows_set_aside(connection)
            rows = connection.execute("SELECT sequence, embedding FROM faces ORDER BY sequence")
            agree, count = True, 0
            while block := rows.fetchmany(_BLOCK):
                part = alive[count : count + len(block)]
                sequences = np.array([row[0] for row in block])
                embeddings = embeddings_of((row[1] for row in block), view.sealed.shape[1])
                agree &= np.array_equal(view.sequences[part], sequences)
                agree &= np.array_equal(view.embeddings(part), embeddings)
                count += len(block)
            agree &= count == len(alive)
    return {
        "database": integrity,
        "memory_agrees_with_database": bool(agree),
        "growing": memory.vectors.growing_count,
        "set_aside": len(set_aside),
        "faults": [{"id": row.id, "fault": row.fault} for row in set_aside[:_MAX_FAULTS]],
    }

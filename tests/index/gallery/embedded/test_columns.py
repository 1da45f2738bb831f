"""Columns of an embedded gallery are read while others write, and not longer than the deadline."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mien.index.deadline import DEADLINE_S
from mien.index.errors import DeadlineError
from mien.index.gallery.embedded.columns import read_column, update_column
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.folder import DATABASE
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.filters import parse_filter
from tests.support.gallery_implementations import EMBEDDER, SIZE, face

FIELD = ("metadata", "n")


def test_column_that_was_read_before_writes_is_brought_up_to_date(tmp_path: Path) -> None:
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    store.add([face(f"f{row}", row, metadata={"n": row}) for row in range(10)])
    database = GalleryDatabase(tmp_path / "g" / DATABASE)
    column, counter = read_column(database, FIELD, np.arange(1, 11))
    store.update("f3", {"metadata": {"n": 33}})
    store.delete(["f4"])
    store.add([face(f"f{row}", row, metadata={"n": row}) for row in range(10, 14)])
    store.update("f12", {"metadata": {"n": 99}})
    sequences = np.array([*range(1, 11), *(store.get(f"f{row}").sequence for row in range(10, 14))])
    with database.reading() as connection:
        update_column(connection, column, FIELD, sequences, counter)
    found = [n for n in (*range(14), 33, 99) for _ in np.flatnonzero(column.passing("eq", n))]
    assert len(column) == 14
    assert found == [0, 1, 2, *range(4, 12), 13, 33, 99]
    database.close()
    store.close()


def test_columns_are_right_while_another_thread_writes(tmp_path: Path) -> None:
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    store.add([face(f"f{row}", row, metadata={f"m{n}": row for n in range(40)}) for row in range(200)])
    done = threading.Event()

    def write() -> None:
        row = 200
        while not done.is_set():
            store.add([face(f"f{row}", row, metadata={f"m{n}": row for n in range(40)})])
            store.update(f"f{row - 200}", {"metadata": {f"m{n}": -1 for n in range(40)}})
            row += 1

    writer = threading.Thread(target=write)
    writer.start()
    for n in range(40):
        store.count(parse_filter({f"metadata.m{n}": 1}))
    done.set()
    writer.join()
    changed = store.count(parse_filter({"metadata.m39": -1}))
    assert changed > 0
    for n in range(40):
        assert store.count(parse_filter({f"metadata.m{n}": -1})) == changed
        assert store.count(parse_filter({f"metadata.m{n}": {"gte": 0}})) == 200
    store.close()


def test_write_does_not_wait_for_a_column_that_is_read(tmp_path: Path) -> None:
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    store.add([face("a", metadata={"n": 1})])
    thread = threading.Thread(target=store.count, args=[parse_filter({"metadata.n": 1})])
    with store._memory.columns_lock:
        thread.start()
        store.add([face("b", metadata={"n": 1})])
        assert store.count() == 2
    thread.join()
    assert store.count(parse_filter({"metadata.n": 1})) == 2
    assert store.delete_where(parse_filter({"metadata.n": 1})) == 2
    store.close()


def test_column_is_not_read_longer_than_the_deadline(tmp_path: Path) -> None:
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    store.add([face("a", metadata={"n": 1})])
    token = DEADLINE_S.set(time.monotonic() - 1)
    try:
        with pytest.raises(DeadlineError, match="too late"):
            store.count(parse_filter({"metadata.n": 1}))
        assert store.count() == 1
    finally:
        DEADLINE_S.reset(token)
    assert store.count(parse_filter({"metadata.n": 1})) == 1
    store.close()

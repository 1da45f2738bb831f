"""Columns agree with filters; the database returns fields as they were written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.index.errors import FilterError
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.embedded.folder import DATABASE
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.embedded.rows import values_of
from mien.index.gallery.filters import MAX_FIELDS, parse_filter, passes, value_of
from mien.index.gallery.vectors.columns import Column, mask_of
from mien.index.gallery.vectors.vectors import MAX_COLUMNS
from tests.support.gallery_implementations import EMBEDDER, SIZE, face

TEXTS = ["a", None, "b", "a", "ä", None, ""]
NUMBERS = [1, None, 2.5, -7, 2**60, None, 0]
MIXED = ["a", 1, True, None, [1], {"x": 1}, False, 1.0, "1"]


@pytest.mark.parametrize("values", [TEXTS, NUMBERS, MIXED, [None] * 3, []])
@pytest.mark.parametrize("wanted", [{"lt": 2}, {"gte": "a"}, 1, "a", True, None, {"in": ["a", 2.5]}])
@pytest.mark.parametrize("parts", [1, 2])
def test_column_agrees_with_the_definition_of_filters(values: list[Any], wanted: Any, parts: int) -> None:
    condition = parse_filter({"metadata.x": wanted})
    column = Column()
    for part in range(parts):
        column.append(values[part::parts])
    ordered = [value for part in range(parts) for value in values[part::parts]]
    faces = [face("f", metadata={} if value is None else {"x": value}) for value in ordered]
    mask = mask_of(condition, lambda _: column, len(ordered))
    assert mask.tolist() == [passes(condition, each) for each in faces]


METADATA: list[dict[str, Any]] = [
    {},
    {"a": 1, "b": {"c": "x", "d": [1, 2]}},
    {"a": "ü", 'q"': 1, "back\\slash": True, "line\n": "y"},
    {"a": None, "b": [{"c": 1}], "0": "zero"},
    {"a": True, "b": {"c": 1.5e-300, "c.d": 1}},
    {"a": 2**62, "b": {"c": {"deep": False}}, "[0]": "bracket", "$": "money"},
    {"a": {"b": 1}, "ä": "umlaut", "b": "text", "x'": "quote"},
]
FIELDS = [
    ("id",), ("label",), ("time",), ("metadata", "a"), ("metadata", "b", "c"), ("metadata", "b", "d"),
    ("metadata", "b", "0"), ("metadata", "b", "c", "deep"), ("metadata", 'q"'), ("metadata", "back\\slash"),
    ("metadata", "line\n"), ("metadata", "[0]"), ("metadata", "$"), ("metadata", "ä"), ("metadata", "x'"),
    ("metadata", "\ud800"), ("metadata", "none"),
]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_database_returns_a_field_as_it_was_written(tmp_path: Path, field: tuple[str, ...]) -> None:
    faces = [face(f"face {row}", row, time=row + 0.5, metadata=each) for row, each in enumerate(METADATA)]
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    store.add(faces)
    store.close()
    database = GalleryDatabase(tmp_path / "g" / DATABASE)
    with database.reading() as connection:
        ((sequences, values),) = values_of(connection, field, 0)
    database.close()
    assert np.all(np.diff(sequences) > 0)
    assert values == [value_of(each, field) for each in faces]
    assert [type(value) for value in values] == [type(value_of(each, field)) for each in faces]


def test_columns_follow_additions_and_deletions(tmp_path: Path) -> None:
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    store.add([face(f"face {row}", row, metadata={"row": row}) for row in range(50)])
    store.delete([f"face {row}" for row in range(0, 50, 3)])
    store.add([face(f"late {row}", row, metadata={"row": row}) for row in range(50)])
    store.delete(["late 49"])
    assert store.count(parse_filter({"metadata.row": {"gte": 40}})) == 7 + 9
    store.close()


def test_columns_in_memory_are_limited(tmp_path: Path) -> None:
    store = open_embedded_gallery(tmp_path / "g", SIZE, EMBEDDER)
    store.add([face("a", metadata={f"m{number}": number for number in range(100)})])
    for number in range(100):
        assert store.count(parse_filter({f"metadata.m{number}": number})) == 1
    assert len(store.fields_in_memory) <= MAX_COLUMNS
    store.add([face("b", metadata={"m0": 0})])
    assert store.count(parse_filter({"metadata.m0": 0})) == 2
    assert store.count(parse_filter({"metadata.m99": 99})) == 1
    store.close()
    with pytest.raises(FilterError, match=f"{MAX_FIELDS} fields, got {MAX_FIELDS + 1}"):
        parse_filter({f"metadata.m{number}": 1 for number in range(MAX_FIELDS + 1)})

"""Filters as Milvus expressions, compared with their definition on a real server."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mien.index.errors import FilterError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import parse_filter, passes
from mien.index.gallery.milvus.expressions import expression, from_options, searched_metadata
from mien.index.gallery.milvus.gallery import MilvusGallery
from mien.index.gallery.store import SearchOptions
from tests.support.milvus_galleries import open_pooled

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.0, 1.5, 2**53, 2**63 - 1, -(2**62), 1e15, 1e-300, -0.5),
    *("", "1", "true", 'a"b', "a\\b", "a\nb", "é", "日本", "😀", "a'b", "\t", "a/b", "%", "a%", "ü" * 200),
    *([], [1], ["a"], {}, {"a": 1}, {"a": None}, {"0": 5}),
]
KEYS = ["v", "a b", 'a"b', "a]b", "é", "a\\b", "a/b", "~0", "'", "1", "日本", "%41", "\n"]


def odd_faces() -> list[GalleryFace]:
    """Faces with unusual values, keys and texts, and with missing texts."""
    at = np.zeros(4, dtype=np.float32)
    faces = [GalleryFace(f"value{row:02d}", at, metadata={"v": value}) for row, value in enumerate(VALUES)]
    faces += [GalleryFace(f"key{row:02d}", at, metadata={key: {key: row}}) for row, key in enumerate(KEYS)]
    faces += [
        GalleryFace(f"text{row:02d}", at, label=text, subject=text if row % 2 else None, time=float(row))
        for row, text in enumerate(["fear", "é", 'a"b', "a\\b", "zz", "日本", "😀"])
    ]
    return [each if each.time is not None else GalleryFace(**{**vars(each), "time": 100.0}) for each in faces]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusGallery]:
    store = open_pooled(tmp_path_factory.mktemp("expressions") / "gallery", 4, "cd" * 32)
    store.add(odd_faces())
    yield store
    store.close()


def random_filter(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    if depth < 3 and chance.random() < 0.4:
        parts = [random_filter(chance, depth + 1) for _ in range(chance.randint(1, 3))]
        return chance.choice([{"and": parts}, {"or": parts}, {"not": parts[0]}])
    scalars = [value for value in VALUES if not isinstance(value, list | dict)]
    scalars += [2**63, -(2**63), 2**70, 1e300, -1e300, 3, 0.0]
    path = chance.choice(["v", "v", "v", "v.a", "v.0", "nothing", *KEYS, *(f"{key}.{key}" for key in KEYS)])
    key = "metadata." + path
    if chance.random() < 0.3:
        key, scalars = (
            chance.choice(["label", "subject", "id"]),
            ["fear", "", "é", 'a"b', "value03", "日本", "😀", None],
        )
    if chance.random() < 0.5:
        return {key: chance.choice(scalars)}
    if chance.random() < 0.4:
        return {key: {"in": chance.sample(scalars, 3)}}
    ordered = [value for value in scalars if value is not None and not isinstance(value, bool)]
    return {key: {chance.choice(["lt", "lte", "gt", "gte"]): chance.choice(ordered)}}


def check(gallery: MilvusGallery, json_filter: dict[str, Any]) -> None:
    condition = parse_filter(json_filter)
    expected = sorted(face.id for face in odd_faces() if passes(condition, face))
    assert [face.id for face in gallery.listing(1000, condition=condition).faces] == expected, json_filter
    assert gallery.count(condition) == len(expected), json_filter


@pytest.mark.milvus
@pytest.mark.parametrize("seed", range(10))
def test_random_filters_agree_with_their_definition(gallery: MilvusGallery, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    for _ in range(30):
        check(gallery, random_filter(chance))


@pytest.mark.milvus
@pytest.mark.parametrize("value", [value for value in VALUES if not isinstance(value, list | dict)])
def test_values_of_every_kind(gallery: MilvusGallery, value: Any) -> None:
    check(gallery, {"metadata.v": value})
    check(gallery, {"not": {"metadata.v": value}})
    check(gallery, {"metadata.v": {"in": [value, "a/b", 1]}})
    if value is not None and not isinstance(value, bool):
        for operator in ("lt", "lte", "gt", "gte"):
            check(gallery, {"metadata.v": {operator: value}})


@pytest.mark.milvus
@pytest.mark.parametrize("row", range(len(KEYS)))
def test_keys_of_every_kind(gallery: MilvusGallery, row: int) -> None:
    check(gallery, {f"metadata.{KEYS[row]}.{KEYS[row]}": row})
    check(gallery, {f"metadata.{KEYS[row]}": None})


@pytest.mark.milvus
def test_filter_with_a_thousand_values_and_sixteen_levels(gallery: MilvusGallery) -> None:
    check(gallery, {"metadata.v": {"in": [*range(500), *(f"x{n}" for n in range(400)), "a/b"]}})
    deep: dict[str, Any] = {"metadata.v": 1}
    for _ in range(15):
        deep = {"not": deep}
    check(gallery, deep)


def test_half_of_a_character_is_refused() -> None:
    with pytest.raises(FilterError, match="half of a character"):
        expression(parse_filter({"label": "\ud800"}))


def test_expression_of_search_options() -> None:
    assert from_options(SearchOptions()) == ""
    options = SearchOptions(
        filter=parse_filter({"label": "fear"}),
        exclude_subjects=frozenset({"b", "a"}),
        exclude_ids=frozenset({"x"}),
        exclude_content=frozenset({"0" * 64}),
        snapshot=5,
    )
    assert from_options(options) == (
        '((label == "fear") and (subject not in ["a", "b"]) and (id not in ["x"]) '
        f'and (content_sha256 not in ["{"0" * 64}"]) and (sequence <= 5))'
    )


def test_searched_metadata_has_no_nulls_and_empty_lists() -> None:
    assert searched_metadata({"a b": {"x": None, "y": [1, {}]}, "gone": None}) == {"a%20b": {"y": []}}

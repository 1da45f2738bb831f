"""The contract of ``mien.index.gallery.store``, which every implementation must keep."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.index.errors import FaceConflictError, FaceFieldError, GalleryError, QueryError, UnknownFaceError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import parse_filter, passes
from mien.index.gallery.store import GalleryStore, SearchOptions, every_face
from tests.support.gallery_implementations import (
    EACH_IMPLEMENTATION,
    EMBEDDER,
    IMPLEMENTATIONS,
    SIZE,
    OpenGallery,
    face,
    random_faces,
)

ORIGIN = np.zeros((1, SIZE), dtype=np.float32)


@pytest.fixture(params=EACH_IMPLEMENTATION)
def opener(request: pytest.FixtureRequest) -> OpenGallery:
    return IMPLEMENTATIONS[request.param]


@pytest.fixture
def gallery(opener: OpenGallery, tmp_path: Path) -> Iterator[GalleryStore]:
    store = opener(tmp_path / "gallery")
    yield store
    store.close()


def nearest_ids(gallery: GalleryStore, k: int = 10, **options: Any) -> list[str]:
    """Ids of the k nearest faces to the origin."""
    (matches,) = gallery.search(ORIGIN, k, SearchOptions(**options)).matches
    return [match.face.id for match in matches]


def ids(faces: list[GalleryFace]) -> list[str]:
    return [each.id for each in faces]


def test_empty_gallery_has_no_faces(gallery: GalleryStore) -> None:
    assert gallery.embedding_size == SIZE
    assert gallery.embedder_sha256 == EMBEDDER
    assert not gallery.read_only
    gallery.check_writable()
    assert gallery.count() == 0
    assert nearest_ids(gallery) == []
    assert gallery.listing(10).faces == []
    assert gallery.statistics().faces == 0
    assert gallery.add([]).added == ()


def test_sample_has_the_faces_of_the_gallery(gallery: GalleryStore) -> None:
    assert gallery.sample(10).ids == []
    assert gallery.sample(10).embeddings.shape == (0, SIZE)
    faces = {each.id: each for each in random_faces(60)}
    gallery.add(list(faces.values()))
    whole, part = gallery.sample(100), gallery.sample(20)
    assert sorted(whole.ids) == sorted(faces)
    assert (whole.faces, part.faces) == (60, 60)
    assert len(set(part.ids)) == 20
    assert list(part.ids) == list(gallery.sample(20).ids)
    for face_id, embedding, emotion in zip(part.ids, part.embeddings, part.emotions, strict=True):
        np.testing.assert_array_equal(embedding, faces[face_id].embedding)
        assert emotion == (faces[face_id].label or faces[face_id].emotion)
    gone = list(faces)[:50]
    gallery.delete(gone)
    assert sorted(gallery.sample(100).ids) == sorted(set(faces) - set(gone))


def test_added_face_is_found_with_all_its_fields(gallery: GalleryStore) -> None:
    given = face(
        "a/b ü.png",
        1.5,
        label="happiness",
        emotion="fear",
        sub_class="fear/2",
        subject="Anna",
        metadata={"n": 1, "deep": {"list": [1, 2.5, None, True, "x"]}, "text": "ß"},
        content_sha256="0" * 64,
        time=12.5,
        thumbnail=b"\xff\xd8",
    )
    assert gallery.add([given]).added == ("a/b ü.png",)
    (matches,) = gallery.search(ORIGIN, 1).matches
    assert matches[0].distance == pytest.approx(1.5)
    stored = gallery.get("a/b ü.png")
    assert stored.thumbnail == b"\xff\xd8"
    gallery.add([face("b")])
    assert gallery.thumbnails(["b", "a/b ü.png", "none"]) == {"a/b ü.png": b"\xff\xd8"}
    gallery.delete(["b"])
    for each in (stored, matches[0].face, gallery.listing(1).faces[0]):
        np.testing.assert_array_equal(each.embedding, given.embedding)
        for name in ("id", "label", "emotion", "sub_class", "subject", "metadata", "content_sha256", "time"):
            assert getattr(each, name) == getattr(given, name)


def test_get_many_skips_unknown_ids(gallery: GalleryStore) -> None:
    faces = random_faces(40)
    gallery.add(faces)
    found = gallery.get_many([*(each.id for each in faces[:30]), "unknown"])
    assert sorted(found) == [each.id for each in faces[:30]]
    assert all(each.same_content(found[each.id]) for each in faces[:30])
    assert gallery.get_many([]) == {}


def test_pages_have_every_face_once_with_its_thumbnail(gallery: GalleryStore) -> None:
    faces = [replace(each, thumbnail=each.id.encode()) for each in random_faces(700)]
    gallery.add(faces)
    pages = list(gallery.pages())
    assert len(pages) > 1
    assert [(each.id, each.thumbnail) for page in pages for each in page] == [
        (each.id, each.thumbnail) for each in faces
    ]


def test_faces_with_a_thumbnail_are_told_apart(gallery: GalleryStore) -> None:
    faces = random_faces(40)
    kept = {each.id for each in faces[::4]}
    gallery.add([replace(each, thumbnail=b"a picture") if each.id in kept else each for each in faces])
    for wanted, expected in ((True, kept), (False, {each.id for each in faces} - kept)):
        condition = parse_filter({"has_thumbnail": wanted})
        assert {each.id for each in every_face(gallery, condition)} == expected
        assert gallery.count(condition) == len(expected)
        assert set(nearest_ids(gallery, 100, filter=condition)) == expected
    (matches,) = gallery.search(ORIGIN, 40).matches
    assert {match.face.id for match in matches if match.face.has_thumbnail} == kept
    assert {each.id for each in gallery.get_many(ids(faces)).values() if each.has_thumbnail} == kept
    assert {each.id for page in gallery.pages() for each in page if each.has_thumbnail} == kept
    assert {each.id for each in gallery.listing(40).faces if each.has_thumbnail} == kept


def test_face_that_lacks_a_thumbnail_gets_that_of_the_same_face(gallery: GalleryStore) -> None:
    faces = random_faces(3)
    gallery.add(faces[:2])
    condition = parse_filter({"has_thumbnail": True})
    assert gallery.count(condition) == 0
    result = gallery.add([replace(each, thumbnail=each.id.encode()) for each in faces])
    assert (len(result.added), len(result.unchanged)) == (1, 2)
    assert gallery.count(condition) == 3
    assert gallery.add([replace(each, thumbnail=b"other") for each in faces]).unchanged == tuple(ids(faces))
    assert gallery.thumbnails(ids(faces)) == {each.id: each.id.encode() for each in faces}, "one that is there stays"
    gallery.update("face-00001", {"label": "surprise"})
    assert gallery.get("face-00001").thumbnail == b"face-00001"


def test_check_measures_recall(gallery: GalleryStore) -> None:
    assert gallery.is_new()
    assert gallery.check()["faces"] == 0
    gallery.add(random_faces(300))
    assert not gallery.is_new()
    report = gallery.check(queries=20, k=5)
    assert (report["faces"], report["queries"], report["recall_at_5"], report["remarks"]) == (300, 20, 1.0, [])
    assert report["index"] == gallery.index


def test_face_without_a_time_gets_that_of_its_addition(gallery: GalleryStore) -> None:
    import time

    before = time.time()
    gallery.add([face("a")])
    stored = gallery.get("a").time
    assert stored is not None
    assert before - 1 <= stored <= time.time() + 1


def test_writes_are_there_after_reopening(opener: OpenGallery, tmp_path: Path) -> None:
    store = opener(tmp_path / "gallery")
    store.add(random_faces(50))
    store.delete(["face-00003"])
    store.update("face-00004", {"label": "sadness"})
    nearest = nearest_ids(store, 49)
    store.close()
    store = opener(tmp_path / "gallery")
    assert store.count() == 49
    assert nearest_ids(store, 49) == nearest
    assert store.get("face-00004").label == "sadness"
    with pytest.raises(UnknownFaceError):
        store.get("face-00003")
    store.close()


class TestAdding:
    def test_adding_the_same_content_again_changes_nothing(self, gallery: GalleryStore) -> None:
        gallery.add([face("a", 1, label="fear", metadata={"x": [1]})])
        before = gallery.get("a")
        again = gallery.add([face("a", 1, label="fear", metadata={"x": [1]}), face("b", 2)])
        assert again.unchanged == ("a",)
        assert again.added == ("b",)
        assert gallery.get("a").sequence == before.sequence
        assert gallery.get("a").time == before.time
        assert gallery.count() == 2

    @pytest.mark.parametrize(
        "other",
        [
            face("a", 2, label="fear"),
            face("a", 1, label="anger"),
            face("a", 1, label="fear", subject="s"),
            face("a", 1, label="fear", metadata={"x": 1}),
            face("a", 1, label="fear", time=1.0),
            face("a", 1, label="fear", content_sha256="1" * 64),
        ],
    )
    def test_other_content_conflicts_unless_it_replaces(self, gallery: GalleryStore, other: GalleryFace) -> None:
        gallery.add([face("a", 1, label="fear", time=0.0)])
        with pytest.raises(FaceConflictError, match="'a'"):
            gallery.add([face("new", 9), other])
        assert nearest_ids(gallery) == ["a"], "no face of a refused request is added"
        assert gallery.get("a").label == "fear"
        done = gallery.add([face("new", 9), other], replace=True)
        assert (done.added, done.replaced) == (("new",), ("a",))
        assert gallery.count() == 2
        (matches,) = gallery.search(ORIGIN, 1).matches
        assert matches[0].distance == pytest.approx(float(other.embedding[0]))
        assert gallery.get("a").label == other.label

    def test_id_twice_in_one_request_is_refused(self, gallery: GalleryStore) -> None:
        with pytest.raises(FaceFieldError, match="'a' occurs twice"):
            gallery.add([face("a", 1), face("b"), face("a", 1)])
        assert gallery.count() == 0

    @pytest.mark.parametrize(
        "bad",
        [
            face("", 1),
            face(" a", 1),
            face("a\n", 1),
            face("a\x00b", 1),
            face("x/../y", 1),
            face("x" * 300, 1),
            face("a", float("nan")),
            face("a", float("inf")),
            GalleryFace("a", np.zeros(SIZE + 1, dtype=np.float32)),
            GalleryFace("a", np.zeros(SIZE, dtype=np.float64)),
            face("a", subject="s" * 300),
            face("a", label=""),
            face("a", metadata={"x": "y" * 20_000}),
            face("a", metadata={"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": {}}}}}}}}}),
            face("a", metadata={"x": float("nan")}),
            face("a", metadata={"x": object()}),
            face("a", metadata={"x": "\ud800"}),
            face("a", time=float("nan")),
            face("a", content_sha256="abc"),
            face("a", thumbnail=bytes(100_000)),
        ],
    )
    def test_invalid_face_refuses_the_whole_request(self, gallery: GalleryStore, bad: GalleryFace) -> None:
        with pytest.raises(FaceFieldError):
            gallery.add([face("good"), bad])
        assert gallery.count() == 0

    def test_threads_write_at_once(self, gallery: GalleryStore) -> None:
        faces = random_faces(120)
        with ThreadPoolExecutor(6) as threads:
            for _ in threads.map(lambda start: gallery.add(faces[start : start + 10]), range(0, 120, 10)):
                pass
            for _ in threads.map(lambda each: gallery.delete([each.id]), faces[::3]):
                pass
        left = [each for row, each in enumerate(faces) if row % 3]
        assert ids(list(every_face(gallery))) == ids(left)
        assert sorted(nearest_ids(gallery, 200)) == ids(left)


class TestChanging:
    def test_update_changes_fields_and_merges_metadata(self, gallery: GalleryStore) -> None:
        gallery.add([face("a", 1, label="fear", subject="s", metadata={"x": 1, "deep": {"y": 2, "z": 3}}, time=5.0)])
        now = gallery.update("a", {"label": None, "metadata": {"x": None, "deep": {"y": 9}, "new": [1]}})
        assert now.label is None
        assert now.subject == "s"
        assert now.metadata == {"deep": {"y": 9, "z": 3}, "new": [1]}
        assert gallery.get("a").metadata == now.metadata
        assert nearest_ids(gallery, filter=parse_filter({"metadata.deep.y": 9})) == ["a"]
        assert nearest_ids(gallery, filter=parse_filter({"metadata.x": 1})) == []

    @pytest.mark.parametrize(
        "changes", [{"id": "b"}, {"embedding": []}, {"label": ""}, {"metadata": 5}, {"time": None}, {"time": "x"}]
    )
    def test_invalid_change_is_refused(self, gallery: GalleryStore, changes: dict[str, Any]) -> None:
        gallery.add([face("a", 1, label="fear")])
        with pytest.raises(FaceFieldError):
            gallery.update("a", changes)
        assert gallery.get("a").label == "fear"

    def test_merged_metadata_is_limited(self, gallery: GalleryStore) -> None:
        gallery.add([face("a", metadata={"x": "y" * 9000})])
        with pytest.raises(FaceFieldError, match="16384 bytes"):
            gallery.update("a", {"metadata": {"z": "y" * 9000}})

    def test_unknown_id_is_an_error(self, gallery: GalleryStore) -> None:
        with pytest.raises(UnknownFaceError, match="'unknown'"):
            gallery.get("unknown")
        with pytest.raises(UnknownFaceError, match="'unknown'"):
            gallery.update("unknown", {"label": "fear"})


class TestDeleting:
    def test_delete_returns_the_ids_that_were_there(self, gallery: GalleryStore) -> None:
        gallery.add([face("a", 1), face("b", 2), face("c", 3)])
        assert gallery.delete(["c", "unknown", "a"]) == ("c", "a")
        assert nearest_ids(gallery) == ["b"]
        assert gallery.delete(["a"]) == ()
        gallery.add([face("a", 4)])
        assert nearest_ids(gallery) == ["b", "a"]

    def test_delete_where_deletes_all_that_pass(self, gallery: GalleryStore) -> None:
        gallery.add(random_faces(60))
        assert gallery.delete_where(parse_filter({"subject": "subject 2"})) == 10
        assert gallery.delete_where(parse_filter({"subject": "subject 2"})) == 0
        assert gallery.count() == 50
        assert gallery.count(parse_filter({"subject": "subject 2"})) == 0
        assert len(nearest_ids(gallery, 100)) == 50


FILTERS: list[dict[str, Any]] = [
    {"emotion": "happiness"},
    {"label": None},
    {"sub_class": {"in": ["fear/1", "happiness/2"]}},
    {"subject": {"gte": "subject 2", "lt": "subject 4"}},
    {"id": "face-00007"},
    {"id": {"lt": "face-00007"}},
    {"time": {"gt": 1_700_000_010, "lte": 1_700_000_020}},
    {"time": {"lt": "2023-11-14T22:13:30Z"}},
    {"metadata.row": {"gte": 90}},
    {"metadata.row": 7},
    {"metadata.row": 7.0},
    {"metadata.row": "7"},
    {"metadata.row": {"in": [1, 2, "3", None]}},
    {"metadata.camera.name": "cam3"},
    {"metadata.camera.name": {"gt": "cam4"}},
    {"metadata.camera": "cam3"},
    {"metadata.flash": True},
    {"metadata.flash": 1},
    {"metadata.nothing": None},
    {"metadata.nothing": {"lt": 5}},
    {"not": {"metadata.nothing": {"lt": 5}}},
    {"not": {"label": "fear"}},
    {"and": [{"emotion": "fear"}, {"or": [{"label": "fear"}, {"metadata.flash": True}]}]},
    {"emotion": "fear", "not": {"subject": {"in": ["subject 1", None]}}},
    {"or": [{"metadata.row": {"lt": 3}}, {"metadata.row": {"gt": 96}}]},
]


@pytest.fixture(params=EACH_IMPLEMENTATION, scope="module")
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GalleryStore]:
    store = IMPLEMENTATIONS[request.param](tmp_path_factory.mktemp("filtered") / "gallery")
    store.add(random_faces(100))
    yield store
    store.close()


@pytest.mark.parametrize("json_filter", FILTERS)
def test_filter_agrees_with_its_definition(filled: GalleryStore, json_filter: dict[str, Any]) -> None:
    condition = parse_filter(json_filter)
    expected = [each for each in random_faces(100) if passes(condition, each)]
    assert filled.count(condition) == len(expected)
    assert ids(list(every_face(filled, condition, page=7))) == ids(expected)
    by_distance = sorted(expected, key=lambda each: float(np.linalg.norm(each.embedding.astype(np.float64))))
    assert nearest_ids(filled, 100, filter=condition) == ids(by_distance)
    assert nearest_ids(filled, 3, filter=condition) == ids(by_distance[:3])


class TestSearching:
    @pytest.mark.parametrize("queries", [1, 3, 40])
    @pytest.mark.parametrize("k", [1, 10, 500])
    def test_search_agrees_with_brute_force(self, gallery: GalleryStore, queries: int, k: int) -> None:
        faces = random_faces(300)
        gallery.add(faces)
        asked = np.random.default_rng(1).normal(size=(queries, SIZE)).astype(np.float32)
        points = np.stack([each.embedding for each in faces]).astype(np.float64)
        result = gallery.search(asked, k)
        assert len(result.matches) == queries
        for query, matches in zip(asked, result.matches, strict=True):
            distances = np.linalg.norm(points - query, axis=1)
            order = np.argsort(distances)[:k]
            assert [match.face.id for match in matches] == [faces[row].id for row in order]
            np.testing.assert_allclose([match.distance for match in matches], distances[order], atol=1e-5)

    def test_equal_distances_are_sorted_by_id(self, gallery: GalleryStore) -> None:
        order = np.random.default_rng(0).permutation(40)
        gallery.add([face(f"f{row:02d}", 1) for row in order])
        assert nearest_ids(gallery, 40) == [f"f{row:02d}" for row in range(40)]
        assert nearest_ids(gallery, 5) == [f"f{row:02d}" for row in range(5)]

    @pytest.mark.parametrize("k", [0, -1])
    def test_k_below_one_is_refused(self, gallery: GalleryStore, k: int) -> None:
        with pytest.raises(QueryError, match=f"k must be at least 1, got {k}"):
            gallery.search(ORIGIN, k)

    def test_invalid_queries_are_refused(self, gallery: GalleryStore) -> None:
        with pytest.raises(QueryError, match=r"expected queries \(q, 8\), got \(1, 9\)"):
            gallery.search(np.zeros((1, SIZE + 1), dtype=np.float32), 1)
        with pytest.raises(QueryError, match="NaN"):
            gallery.search(np.full((1, SIZE), np.nan, dtype=np.float32), 1)
        with pytest.raises(QueryError, match="max_distance"):
            gallery.search(ORIGIN, 1, SearchOptions(max_distance=-1.0))
        with pytest.raises(QueryError, match="one query"):
            gallery.search(np.zeros((2, SIZE), dtype=np.float32), 1, SearchOptions(after=(0.0, "a")))

    def test_one_per_subject_returns_the_nearest_of_each(self, gallery: GalleryStore) -> None:
        gallery.add([face(f"{subject}{n}", n, subject=subject) for subject in ("a", "b") for n in range(1, 60)])
        gallery.add([face("alone1", 70), face("alone2", 71)])
        assert nearest_ids(gallery, 10, one_per_subject=True) == ["a1", "b1", "alone1", "alone2"]
        assert nearest_ids(gallery, 1, one_per_subject=True) == ["a1"]

    def test_excluded_faces_do_not_match(self, gallery: GalleryStore) -> None:
        gallery.add([face(f"a{n:02d}", n, subject="a" if n < 50 else None) for n in range(60)])
        gallery.add([face("picture", 0.5, content_sha256="c" * 64)])
        assert nearest_ids(gallery, 2, exclude_subjects=frozenset({"a"})) == ["picture", "a50"]
        assert nearest_ids(gallery, 2, exclude_ids=frozenset({"a00", "a01", "unknown"})) == ["picture", "a02"]
        assert nearest_ids(gallery, 2, exclude_content=frozenset({"c" * 64})) == ["a00", "a01"]
        assert nearest_ids(gallery, 2, copies_within=0.5) == ["a01", "a02"]
        assert nearest_ids(gallery, 60, max_distance=2.0) == ["a00", "picture", "a01", "a02"]
        assert nearest_ids(gallery, 60, max_distance=0.0) == ["a00"]

    def test_rare_faces_are_all_found_among_many(self, gallery: GalleryStore) -> None:
        gallery.add([face(f"near{n:04d}", n / 1000) for n in range(900)])
        gallery.add([face(f"far{n}", 50 + n, label="rare") for n in range(5)])
        rare = parse_filter({"label": "rare"})
        assert nearest_ids(gallery, 5, filter=rare) == [f"far{n}" for n in range(5)]
        assert nearest_ids(gallery, 9, filter=rare) == [f"far{n}" for n in range(5)]

    def test_pages_together_are_the_whole_while_the_gallery_grows(self, gallery: GalleryStore) -> None:
        gallery.add([face(f"f{n:02d}", n // 2, subject=f"s{n % 9}") for n in range(40)])
        for options in ({}, {"one_per_subject": True}, {"filter": parse_filter({"subject": {"lt": "s5"}})}):
            whole = nearest_ids(gallery, 100, **options)
            pages: list[str] = []
            after, snapshot = None, None
            for page in range(100):
                result = gallery.search(
                    ORIGIN,
                    3,
                    SearchOptions(**options, after=after, snapshot=snapshot),
                )
                (matches,) = result.matches
                if not matches:
                    break
                pages.extend(match.face.id for match in matches)
                after, snapshot = (matches[-1].distance, matches[-1].face.id), result.snapshot
                gallery.add([face(f"later{len(pages)}-{page}", 0.1, subject="s0")])
            assert pages == whole
            gallery.delete_where(parse_filter({"id": {"gte": "later"}}))

    def test_face_replaced_later_is_not_in_an_older_snapshot(self, gallery: GalleryStore) -> None:
        gallery.add([face("a", 1), face("b", 2)])
        snapshot = gallery.search(ORIGIN, 1).snapshot
        gallery.add([face("a", 3)], replace=True)
        gallery.update("b", {"label": "fear"})
        assert nearest_ids(gallery) == ["b", "a"]
        assert nearest_ids(gallery, snapshot=snapshot) == ["b"]


class TestListing:
    def test_pages_follow_ids(self, gallery: GalleryStore) -> None:
        faces = random_faces(25)
        gallery.add(faces[::-1])
        page = gallery.listing(10)
        assert ids(page.faces) == ids(faces[:10])
        assert page.next_after == "face-00009"
        gallery.add([face("face-00009b")])
        rest = gallery.listing(100, after=page.next_after, snapshot=page.snapshot)
        assert ids(rest.faces) == ids(faces[10:])
        assert rest.next_after is None
        with pytest.raises(QueryError, match="limit"):
            gallery.listing(0)

    def test_statistics_count_each_field(self, gallery: GalleryStore) -> None:
        gallery.add(random_faces(60))
        statistics = gallery.statistics()
        assert statistics.faces == 60
        assert statistics.subjects == 5
        assert statistics.emotions == {"happiness": 30, "fear": 30}
        assert statistics.labels == {"happiness": 20, "fear": 20, None: 20}
        assert statistics.sub_classes == {"happiness/1": 15, "happiness/2": 15, "fear/1": 15, "fear/2": 15}


class TestSnapshots:
    def test_restore_replaces_everything(self, gallery: GalleryStore, tmp_path: Path) -> None:
        gallery.add(random_faces(40))
        nearest = nearest_ids(gallery, 40)
        assert gallery.snapshot(tmp_path / "snapshot") == 40
        gallery.delete(["face-00001"])
        gallery.update("face-00002", {"label": "anger", "metadata": {"row": None}})
        gallery.add([face("later", 0)])
        assert gallery.restore(tmp_path / "snapshot") == 40
        assert nearest_ids(gallery, 100) == nearest
        assert ids(list(every_face(gallery))) == ids(random_faces(40))
        assert gallery.get("face-00002").label is None
        assert gallery.get("face-00002").metadata["row"] == 2

    @pytest.mark.parametrize("other_implementation", EACH_IMPLEMENTATION)
    def test_snapshot_is_restored_by_any_implementation(
        self, gallery: GalleryStore, other_implementation: str, tmp_path: Path
    ) -> None:
        gallery.add(random_faces(12))
        gallery.snapshot(tmp_path / "snapshot")
        other = IMPLEMENTATIONS[other_implementation](tmp_path / "other")
        other.add([face("replaced")])
        other.restore(tmp_path / "snapshot")
        assert nearest_ids(other, 100) == nearest_ids(gallery, 100)
        other.close()

    def test_invalid_snapshot_changes_nothing(self, gallery: GalleryStore, tmp_path: Path) -> None:
        gallery.add([face("a")])
        (tmp_path / "empty").mkdir()
        for folder in (tmp_path / "nowhere", tmp_path / "empty"):
            with pytest.raises(GalleryError):
                gallery.restore(folder)
        with pytest.raises(GalleryError, match="already"):
            gallery.snapshot(tmp_path / "empty")
        assert nearest_ids(gallery) == ["a"]

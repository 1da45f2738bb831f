"""The gallery that ships with a bundle answers like any other, but takes no writes."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle
from mien.index.errors import ReadOnlyGalleryError, UnknownFaceError
from mien.index.gallery.filters import parse_filter, passes
from mien.index.gallery.shipped import ShippedGallery
from mien.index.gallery.store import GalleryStore, SearchOptions, every_face


@pytest.fixture(scope="module")
def gallery(shipped_bundle: Bundle) -> GalleryStore:
    return ShippedGallery(shipped_bundle)


def test_it_has_the_faces_of_the_bundle(shipped_bundle: Bundle, gallery: GalleryStore) -> None:
    entries = shipped_bundle.gallery.entries
    ids = [entry.id for entry in entries] + [face.id for face in shipped_bundle.demonstration]
    assert [face.id for page in gallery.pages() for face in page] == ids
    assert [face.id for face in every_face(gallery)] == sorted(ids)
    assert gallery.count() == gallery.statistics().faces == gallery.sample(10).faces == len(ids)
    assert gallery.get(entries[5].id).label == entries[5].emotion
    assert list(gallery.get_many([entries[5].id, "unknown"])) == [entries[5].id]
    with pytest.raises(UnknownFaceError):
        gallery.get("unknown")


def test_a_face_has_the_same_labels_before_and_after_all_are_labelled(shipped_bundle: Bundle) -> None:
    gallery = ShippedGallery(shipped_bundle)
    ids = [entry.id for entry in shipped_bundle.gallery.entries[::1500]]
    before = gallery.get_many(ids)
    for _ in gallery.label_all():  # labels all faces
        pass
    after = gallery.get_many(ids)
    assert [(each.emotion, each.sub_class) for each in before.values()] == [
        (each.emotion, each.sub_class) for each in after.values()
    ]


def test_statistics_count_each_face_once(shipped_bundle: Bundle) -> None:
    gallery = ShippedGallery(shipped_bundle)
    faces = list(every_face(gallery))
    counted = gallery.statistics()
    assert counted.emotions == Counter(face.emotion for face in faces)
    assert counted.labels == Counter(face.label for face in faces)
    assert counted.sub_classes == Counter(face.sub_class for face in faces)


def test_page_labels_its_own_faces_only(shipped_bundle: Bundle) -> None:
    gallery = ShippedGallery(shipped_bundle)
    gallery.listing(100)
    assert len(gallery._known_names) <= 101  # and whether there is a next page


def test_search_agrees_with_the_search_of_the_bundle(shipped_bundle: Bundle, gallery: GalleryStore) -> None:
    queries = shipped_bundle.gallery.embeddings[::2000] + np.float32(0.1)
    options = SearchOptions(filter=parse_filter({"has_thumbnail": False}))
    for found, wanted in zip(
        gallery.search(queries, 10, options).matches, shipped_bundle.gallery.search(queries, 10), strict=True
    ):
        assert [match.face.id for match in found] == [match.entry.id for match in wanted]


def test_demonstration_is_among_its_faces_with_thumbnails(shipped_bundle: Bundle, gallery: GalleryStore) -> None:
    shown = {face.id: face for face in shipped_bundle.demonstration}
    listed = list(every_face(gallery, parse_filter({"has_thumbnail": True})))
    assert [face.id for face in listed] == sorted(shown)
    assert all(face.has_thumbnail and face.thumbnail is None for face in listed)
    assert gallery.thumbnails([*shown, "unknown"]) == {face_id: face.thumbnail for face_id, face in shown.items()}
    face = shown["darwin/plate-3/5"]
    stored = gallery.get(face.id)
    assert (stored.label, stored.subject, stored.metadata) == ("happiness", "darwin/old-man", face.metadata)
    named = shipped_bundle.mixture.posterior(face.embedding[None]).argmax()
    assert (stored.emotion, stored.thumbnail) == (shipped_bundle.mixture.emotions[named], face.thumbnail)
    (matches,) = gallery.search(face.embedding[None], 1).matches
    assert (matches[0].face.id, matches[0].distance) == (face.id, 0)
    masked = SearchOptions(exclude_content=frozenset({str(face.content_sha256)}))
    (matches,) = gallery.search(face.embedding[None], 1, masked).matches
    assert not matches[0].face.id.startswith("darwin/plate-3")
    assert [face.id for page in gallery.pages() for face in page if face.thumbnail] == list(shown)
    assert gallery.statistics().subjects == len({face.subject for face in shown.values()} - {None})


def test_filter_agrees_with_its_definition(gallery: GalleryStore) -> None:
    condition = parse_filter({"label": "fear", "emotion": {"in": ["fear", "surprise"]}})
    passing = [face.id for face in every_face(gallery) if passes(condition, face)]
    assert gallery.count(condition) == len(passing) > 10
    assert [face.id for face in every_face(gallery, condition, page=50)] == passing
    (matches,) = gallery.search(np.zeros((1, 64), np.float32), 10**6, SearchOptions(filter=condition)).matches
    assert sorted(match.face.id for match in matches) == passing


def test_check_measures_recall(gallery: GalleryStore) -> None:
    report = gallery.check(queries=10)
    assert (report["faces"], report["index"], report["recall_at_10"]) == (gallery.count(), "exact", 1.0)


@pytest.mark.parametrize(
    "write",
    [
        lambda gallery: gallery.add([]),
        lambda gallery: gallery.update("a", {"label": "fear"}),
        lambda gallery: gallery.delete(["a"]),
        lambda gallery: gallery.delete_where(parse_filter({"label": "fear"})),
        lambda gallery: gallery.restore(Path("snapshot")),
        lambda gallery: gallery.snapshot(Path("snapshot")),
        lambda gallery: gallery.check_writable(),
    ],
)
def test_writes_are_refused(gallery: GalleryStore, write: Callable[[GalleryStore], object]) -> None:
    assert gallery.read_only
    with pytest.raises(ReadOnlyGalleryError, match="read-only: set MIEN_GALLERY"):
        write(gallery)

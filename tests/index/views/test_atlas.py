import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle
from mien.index.gallery.filters import Comparison
from mien.index.gallery.shipped import ShippedGallery
from mien.index.gallery.store import GalleryStore, every_face
from mien.index.views.atlas import NEAREST, emotion_regions, regions_in, sub_class_regions


@pytest.fixture(scope="module")
def gallery(shipped_bundle: Bundle) -> GalleryStore:
    return ShippedGallery(shipped_bundle)


def test_emotions_share_out_the_gallery(shipped_bundle: Bundle, gallery: GalleryStore) -> None:
    regions = regions_in(emotion_regions(shipped_bundle), gallery)
    assert [region.id for region in regions] == list(shipped_bundle.mixture.emotions)
    assert {region.id: region.faces for region in regions} == gallery.statistics().emotions
    assert sum(region.share for region in regions) == pytest.approx(1)


def test_votes_are_shares_and_most_are_for_the_emotion(shipped_bundle: Bundle) -> None:
    for region in emotion_regions(shipped_bundle):
        assert sum(region.votes.values()) == pytest.approx(1)
        assert max(region.votes, key=region.votes.__getitem__) == region.emotion


def test_nearest_faces_are_those_of_a_plain_search(shipped_bundle: Bundle, gallery: GalleryStore) -> None:
    (region,) = regions_in(emotion_regions(shipped_bundle)[5:6], gallery)
    faces = list(every_face(gallery, Comparison(("emotion",), "eq", region.emotion)))
    distances = np.linalg.norm(np.stack([face.embedding for face in faces]) - region.centroid, axis=1)
    assert [match.distance for match in region.nearest] == pytest.approx(
        np.sort(distances)[:NEAREST].tolist(), abs=1e-5
    )
    assert {gallery.get(match.id).emotion for match in region.nearest} == {region.emotion}


def test_sub_classes_share_out_the_faces_of_their_emotion(shipped_bundle: Bundle, gallery: GalleryStore) -> None:
    parts = regions_in(sub_class_regions(shipped_bundle), gallery)
    if shipped_bundle.sub_classes is None:
        assert parts == []
        return
    for region in regions_in(emotion_regions(shipped_bundle), gallery):
        assert sum(part.faces for part in parts if part.emotion == region.emotion) == region.faces

import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.views.atlas import NEAREST, emotion_regions, sub_class_regions


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle())


def test_emotions_share_out_the_gallery(bundle: Bundle) -> None:
    regions = emotion_regions(bundle)
    assert [region.id for region in regions] == list(bundle.mixture.emotions)
    assert sum(region.faces for region in regions) == len(bundle.gallery)
    assert sum(region.share for region in regions) == pytest.approx(1)


def test_votes_are_shares_and_most_are_for_the_emotion(bundle: Bundle) -> None:
    for region in emotion_regions(bundle):
        assert sum(region.votes.values()) == pytest.approx(1)
        assert max(region.votes, key=region.votes.__getitem__) == region.emotion


def test_nearest_faces_are_those_of_a_plain_search(bundle: Bundle) -> None:
    region = emotion_regions(bundle)[5]
    rows = [row for row, entry in enumerate(bundle.gallery.entries) if entry.emotion == region.emotion]
    distances = np.linalg.norm(bundle.gallery.embeddings[rows] - region.centroid, axis=1)
    assert [match.distance for match in region.nearest] == pytest.approx(
        np.sort(distances)[:NEAREST].tolist(), abs=1e-5
    )
    assert {bundle.gallery.get(match.id).emotion for match in region.nearest} == {region.emotion}


def test_sub_classes_share_out_the_faces_of_their_emotion(bundle: Bundle) -> None:
    parts = sub_class_regions(bundle)
    if bundle.sub_classes is None:
        assert parts == []
        return
    for region in emotion_regions(bundle):
        assert sum(part.faces for part in parts if part.emotion == region.emotion) == region.faces

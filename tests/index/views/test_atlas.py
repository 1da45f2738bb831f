import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.views.atlas import NEAREST, emotions_of, sub_classes_of


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle())


def test_the_emotions_share_out_the_gallery(bundle: Bundle) -> None:
    regions = emotions_of(bundle)
    assert [region.id for region in regions] == list(bundle.mixture.emotions)
    assert sum(region.faces for region in regions) == len(bundle.gallery)
    assert sum(region.share for region in regions) == pytest.approx(1)


def test_votes_are_shares_and_their_own_emotion_leads(bundle: Bundle) -> None:
    for region in emotions_of(bundle):
        assert sum(region.votes.values()) == pytest.approx(1)
        assert max(region.votes, key=region.votes.__getitem__) == region.emotion


def test_the_nearest_faces_are_those_of_a_search_by_hand(bundle: Bundle) -> None:
    region = emotions_of(bundle)[5]
    rows = [row for row, entry in enumerate(bundle.gallery.entries) if entry.emotion == region.emotion]
    far = np.linalg.norm(bundle.gallery.embeddings[rows] - region.centroid, axis=1)
    assert [match.distance for match in region.nearest] == pytest.approx(np.sort(far)[:NEAREST].tolist(), abs=1e-5)
    assert {bundle.gallery.get(match.id).emotion for match in region.nearest} == {region.emotion}


def test_sub_classes_share_out_the_faces_of_their_emotion(bundle: Bundle) -> None:
    parts = sub_classes_of(bundle)
    if bundle.subclasses is None:
        assert parts == []
        return
    for region in emotions_of(bundle):
        assert sum(part.faces for part in parts if part.emotion == region.emotion) == region.faces

import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle
from mien.index.views.atlas import NEAREST, emotion_regions, sub_class_regions


def test_emotions_share_out_the_gallery(shipped_bundle: Bundle) -> None:
    regions = emotion_regions(shipped_bundle)
    assert [region.id for region in regions] == list(shipped_bundle.mixture.emotions)
    assert sum(region.faces for region in regions) == len(shipped_bundle.gallery)
    assert sum(region.share for region in regions) == pytest.approx(1)


def test_votes_are_shares_and_most_are_for_the_emotion(shipped_bundle: Bundle) -> None:
    for region in emotion_regions(shipped_bundle):
        assert sum(region.votes.values()) == pytest.approx(1)
        assert max(region.votes, key=region.votes.__getitem__) == region.emotion


def test_nearest_faces_are_those_of_a_plain_search(shipped_bundle: Bundle) -> None:
    region = emotion_regions(shipped_bundle)[5]
    rows = [row for row, entry in enumerate(shipped_bundle.gallery.entries) if entry.emotion == region.emotion]
    distances = np.linalg.norm(shipped_bundle.gallery.embeddings[rows] - region.centroid, axis=1)
    assert [match.distance for match in region.nearest] == pytest.approx(
        np.sort(distances)[:NEAREST].tolist(), abs=1e-5
    )
    assert {shipped_bundle.gallery.get(match.id).emotion for match in region.nearest} == {region.emotion}


def test_sub_classes_share_out_the_faces_of_their_emotion(shipped_bundle: Bundle) -> None:
    parts = sub_class_regions(shipped_bundle)
    if shipped_bundle.sub_classes is None:
        assert parts == []
        return
    for region in emotion_regions(shipped_bundle):
        assert sum(part.faces for part in parts if part.emotion == region.emotion) == region.faces

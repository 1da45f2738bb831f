from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from mien.index.fitting.sub_classes import Discovery, DiscoveryFaces, discover_sub_classes
from mien.index.mixture.mixture import Mixture, fit_mixture
from mien.model.emotions import EMOTIONS, VOTE_COLUMNS
from mien.model.errors import DatasetError
from tests.support.clouds import QUICK_DISCOVERY, two_sorts_of_happiness

SIZE = 10


@pytest.fixture(scope="module")
def faces() -> DiscoveryFaces:
    return two_sorts_of_happiness()[0]


@pytest.fixture(scope="module")
def mixture(faces: DiscoveryFaces) -> Mixture:
    clear = faces.clear >= 0
    return fit_mixture(faces.embeddings[clear], faces.clear[clear], EMOTIONS, 1.0)


@pytest.fixture(scope="module")
def found(mixture: Mixture, faces: DiscoveryFaces) -> Discovery:
    return discover_sub_classes(mixture, faces, QUICK_DISCOVERY)


def test_only_the_emotion_of_two_sorts_is_split(found: Discovery) -> None:
    assert [len(found.sub_classes.rows_of(emotion)) for emotion in EMOTIONS] == [1, 2, 1, 1, 1, 1, 1, 1]
    sort = two_sorts_of_happiness()[1]
    own = np.arange(120, 240)
    assert adjusted_rand_score(found.rows[own] - 1, sort[own]) > 0.95


def test_sub_classes_have_shares_votes_and_nearest_faces(found: Discovery) -> None:
    one, other = (found.sub_classes.each[row] for row in found.sub_classes.rows_of("happiness"))
    assert (one.id, other.id) == ("happiness/1", "happiness/2")
    assert one.weight >= other.weight
    assert one.weight + other.weight == pytest.approx(1)
    surprise = VOTE_COLUMNS.index("surprise")
    assert abs(one.difference[surprise]) > 0.2
    np.testing.assert_allclose(one.difference, -other.difference, atol=1e-12)
    assert len(one.nearest) == 12
    assert all(found.sub_classes.of_face[face] == 1 for face in one.nearest)
    alone = found.sub_classes.each[0]
    assert not alone.difference.any()


def test_face_without_a_majority_has_a_sub_class(found: Discovery, faces: DiscoveryFaces) -> None:
    unclear = np.flatnonzero(faces.clear < 0)
    assert len(unclear) == 12
    assert set(found.rows[unclear].tolist()) <= {1, 2}
    assert (found.probabilities[unclear] > 0.5).all()


def test_sub_class_that_keeps_its_faces_keeps_its_id(mixture: Mixture, faces: DiscoveryFaces, found: Discovery) -> None:
    """In a second round, in a rotated space."""
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(SIZE, SIZE)))
    turned = replace(faces, embeddings=faces.embeddings @ turn)
    clear = faces.clear >= 0
    space = fit_mixture(turned.embeddings[clear], turned.clear[clear], EMOTIONS, 1.0)
    words = {each.id: (f"name of {each.id}", f"description of {each.id}") for each in found.sub_classes.each}
    named = [replace(each, name=words[each.id][0], description=words[each.id][1]) for each in found.sub_classes.each]
    previous = replace(found.sub_classes, each=tuple(named))
    again = discover_sub_classes(space, turned, QUICK_DISCOVERY, previous=previous)
    same = [
        found.sub_classes.each[found.sub_classes.of_face[face]].id
        == again.sub_classes.each[again.sub_classes.of_face[face]].id
        for face in faces.ids
    ]
    assert np.mean(same) > 0.98
    assert again.sub_classes.highest == found.sub_classes.highest
    assert {each.id: (each.name, each.description) for each in again.sub_classes.each} == words
    assert all(each.name is None for each in found.sub_classes.each)


def test_sub_class_of_other_faces_keeps_no_name(mixture: Mixture, faces: DiscoveryFaces, found: Discovery) -> None:
    """Four in ten faces of a sub-class had its id before: the id stays, but what was seen there is not seen here."""
    each = [replace(each, name="name", description="description") for each in found.sub_classes.each]
    first = next(place for place, sub_class in enumerate(each) if sub_class.id == "happiness/1")
    each.insert(first + 2, replace(each[first + 1], id="happiness/3"))
    of_face: dict[str, int] = {}
    for number, (face, place) in enumerate(found.sub_classes.of_face.items()):
        if place == first:
            of_face[face] = first + (0, 0, 0, 0, 1, 1, 1, 2, 2, 2)[number % 10]
        elif place != first + 1:
            of_face[face] = place if place < first else place + 1
    previous = replace(found.sub_classes, each=tuple(each), of_face=of_face)
    again = discover_sub_classes(mixture, faces, QUICK_DISCOVERY, previous=previous).sub_classes
    names = {sub_class.id: sub_class.name for sub_class in again.each}
    assert names["neutral/1"] == "name"
    assert names["happiness/1"] is None
    members = [face for face, place in again.of_face.items() if again.each[place].id == "happiness/1"]
    assert {found.sub_classes.of_face[face] for face in members} == {first}


def test_emotion_of_few_faces_is_not_split(mixture: Mixture, faces: DiscoveryFaces) -> None:
    found = discover_sub_classes(mixture, faces, QUICK_DISCOVERY.model_copy(update={"least_faces": 100}))
    assert len(found.sub_classes) == len(EMOTIONS)


def test_emotion_without_faces_is_refused(mixture: Mixture, faces: DiscoveryFaces) -> None:
    without = faces.votes.copy()
    without[faces.clear == 7] = 0
    with pytest.raises(DatasetError, match="contempt has 0"):
        discover_sub_classes(mixture, replace(faces, votes=without), QUICK_DISCOVERY)

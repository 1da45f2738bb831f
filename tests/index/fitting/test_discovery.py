from dataclasses import replace

import numpy as np
import pytest

from mien.index.evaluation.partitions import adjusted_rand_index
from mien.index.fitting.discovery import Discovery, DiscoveryConfig, DiscoveryFaces, discover
from mien.index.mixture.mixture import Mixture, fit_mixture
from mien.model.emotions import EMOTIONS, VOTE_COLUMNS
from mien.model.errors import DatasetError

SIZE = 10
QUICK = DiscoveryConfig(components_max=3, least_faces=20, halvings=2, restarts=2)


def made_faces(each: int = 120, seed: int = 0) -> tuple[DiscoveryFaces, np.ndarray]:
    """Eight emotions; happiness has two sorts of faces, of which one has votes for surprise as well; the last tenth of
    happiness has no majority."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(EMOTIONS)), each)
    sort = generator.integers(0, 2, len(labels)) * (labels == 1)
    points = 0.4 * generator.normal(size=(len(labels), SIZE))
    points[np.arange(len(labels)), labels] += 8.0
    points[:, 9] += 5.0 * sort
    votes = np.zeros((len(labels), len(VOTE_COLUMNS)), dtype=np.int64)
    votes[np.arange(len(labels)), labels] = 10
    votes[sort == 1, 1], votes[sort == 1, 2] = 7, 3
    unclear = np.flatnonzero(labels == 1)[-each // 10 :]
    votes[unclear] = 0
    votes[unclear, 1], votes[unclear, 3] = 5, 5
    ids = tuple(f"face{row}" for row in range(len(labels)))
    known = np.ones(len(labels), dtype=np.bool_)
    return DiscoveryFaces(ids, points, votes, np.arange(len(labels)), known), sort


@pytest.fixture(scope="module")
def faces() -> DiscoveryFaces:
    return made_faces()[0]


@pytest.fixture(scope="module")
def mixture(faces: DiscoveryFaces) -> Mixture:
    clear = faces.clear >= 0
    return fit_mixture(faces.embeddings[clear], faces.clear[clear], EMOTIONS, 1.0)


@pytest.fixture(scope="module")
def found(mixture: Mixture, faces: DiscoveryFaces) -> Discovery:
    return discover(mixture, faces, QUICK)


def test_the_emotion_of_two_sorts_is_split_and_no_other(found: Discovery) -> None:
    assert [len(found.subclasses.rows_of(emotion)) for emotion in EMOTIONS] == [1, 2, 1, 1, 1, 1, 1, 1]
    sort = made_faces()[1]
    own = np.arange(120, 240)
    assert adjusted_rand_index(found.places[own] - 1, sort[own]) > 0.95


def test_each_is_described(found: Discovery) -> None:
    one, other = (found.subclasses.each[row] for row in found.subclasses.rows_of("happiness"))
    assert (one.id, other.id) == ("happiness/1", "happiness/2")
    assert one.weight >= other.weight
    assert one.weight + other.weight == pytest.approx(1)
    surprise = VOTE_COLUMNS.index("surprise")
    assert abs(one.difference[surprise]) > 0.2
    np.testing.assert_allclose(one.difference, -other.difference, atol=1e-12)
    assert len(one.nearest) == 12
    assert all(found.subclasses.of_face[face] == 1 for face in one.nearest)
    alone = found.subclasses.each[0]
    assert not alone.difference.any()


def test_a_face_without_a_majority_has_a_sub_class(found: Discovery, faces: DiscoveryFaces) -> None:
    unclear = np.flatnonzero(faces.clear < 0)
    assert len(unclear) == 12
    assert set(found.places[unclear].tolist()) <= {1, 2}
    assert (found.probabilities[unclear] > 0.5).all()


def test_ids_stay_when_faces_stay(mixture: Mixture, faces: DiscoveryFaces, found: Discovery) -> None:
    """A second round in a space that is turned around: other points, the same faces, the same ids."""
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(SIZE, SIZE)))
    turned = replace(faces, embeddings=faces.embeddings @ turn)
    clear = faces.clear >= 0
    space = fit_mixture(turned.embeddings[clear], turned.clear[clear], EMOTIONS, 1.0)
    again = discover(space, turned, QUICK, previous=found.subclasses)
    same = [
        found.subclasses.each[found.subclasses.of_face[face]].id
        == again.subclasses.each[again.subclasses.of_face[face]].id
        for face in faces.ids
    ]
    assert np.mean(same) > 0.98
    assert again.subclasses.highest == found.subclasses.highest


def test_a_class_of_few_faces_stays_whole(mixture: Mixture, faces: DiscoveryFaces) -> None:
    found = discover(mixture, faces, QUICK.model_copy(update={"least_faces": 100}))
    assert len(found.subclasses) == len(EMOTIONS)


def test_an_emotion_without_faces(mixture: Mixture, faces: DiscoveryFaces) -> None:
    without = faces.votes.copy()
    without[faces.clear == 7] = 0
    with pytest.raises(DatasetError, match="contempt has 0"):
        discover(mixture, replace(faces, votes=without), QUICK)

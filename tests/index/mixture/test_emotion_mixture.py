import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from mien.index.mixture.emotion_mixture import EmotionFaces, fit_emotion
from tests.support.clouds import two_clouds


def test_two_clouds_are_two_components() -> None:
    faces, owner = two_clouds()
    found = fit_emotion(faces, 2, np.eye(12))
    assert adjusted_rand_score(found.log_joint(faces.points).argmax(axis=1), owner) > 0.99
    assert (np.linalg.eigvalsh(found.covariances) > 0).all()


def test_one_component_has_the_mean_of_the_clear_faces() -> None:
    faces, _ = two_clouds()
    found = fit_emotion(faces, 1, np.eye(12))
    np.testing.assert_allclose(found.means[0], faces.points.mean(axis=0), atol=1e-6)
    assert len(found) == 1


def test_face_counts_by_its_weight() -> None:
    faces, owner = two_clouds()
    doubtful = EmotionFaces(faces.points, np.where(owner == 1, 0.01, 1.0), owner == 0, faces.groups)
    found = fit_emotion(doubtful, 2, np.eye(12))
    assert found.weights.min() < 0.05


def test_few_faces_borrow_the_background() -> None:
    faces, _ = two_clouds(count=8)
    found = fit_emotion(faces, 1, np.eye(12))
    assert (np.linalg.eigvalsh(found.covariances) > 0).all()
    assert found.covariances[0].trace() == pytest.approx(12, rel=0.5)

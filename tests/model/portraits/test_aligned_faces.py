import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.model.errors import DatasetError
from mien.model.faces.detection import Detector
from mien.model.portraits.aligned_faces import align_faces
from tests.support.cartoon import cartoon


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


def small_cartoon(left: int, top: int) -> NDArray[np.uint8]:
    """A drawn face of 48 pixels, shifted."""
    face = Image.fromarray(cartoon(192)).crop((left, top, left + 150, top + 150))
    return np.asarray(face.convert("L").resize((48, 48), Image.Resampling.BICUBIC), dtype=np.uint8)


def test_aligned_faces_are_more_alike(detector: Detector) -> None:
    crops = np.stack([small_cartoon(left, 14) for left in (12, 21, 30)] + [np.full((48, 48), 90, np.uint8)])
    labels = np.array([0, 1, 2, 3])
    steps: list[tuple[int, int]] = []
    aligned = align_faces(
        crops, labels, detector, most=5, seed=0, on_progress=lambda done, total: steps.append((done, total))
    )
    assert set(aligned.rows.tolist()) == {0, 1, 2}, "a grey square has no landmarks"
    assert steps[-1] == (4, 4)
    inner = aligned.crops[:, 10:38, 10:38].astype(float)
    before = crops[:3, 10:38, 10:38].astype(float)
    assert np.abs(inner[0] - inner[2]).mean() < 0.5 * np.abs(before[0] - before[2]).mean()


def test_half_of_each_emotion_is_kept(detector: Detector) -> None:
    crops = np.stack([small_cartoon(left, 14) for left in (12, 15, 18, 21, 24, 27, 30)])
    labels = np.array([0] * 6 + [1])
    aligned = align_faces(crops, labels, detector, most=4, seed=0)
    assert len(aligned.rows) == 3, "half of four, and the only one"
    assert 6 in aligned.rows.tolist()
    assert len(set(aligned.rows.tolist())) == 3


def test_crops_without_a_face_are_refused(detector: Detector) -> None:
    with pytest.raises(DatasetError, match="no face was found in any of 2 crops"):
        align_faces(np.zeros((2, 48, 48), np.uint8), np.array([0, 1]), detector, most=5, seed=0)

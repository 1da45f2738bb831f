from pathlib import Path

import numpy as np
import pytest
import torch

from mien.model.datasets.ferplus import read_ferplus
from mien.model.faces.detection import Detector
from mien.model.faces.framing import DETECTION_PX, frame_face
from mien.model.training.config import TrainingConfig
from mien.model.training.framing import FRAMED_NAME, FramedImages, framed_images
from mien.model.training.targets import TrainingSet, select_training_set
from tests.support.data import FERPLUS, needs_ferplus


@pytest.fixture(scope="module")
def samples() -> TrainingSet:
    return select_training_set(read_ferplus(FERPLUS, "Training").take(np.arange(0, 3000, 300)), TrainingConfig())


@needs_ferplus
def test_framed_face_has_its_eyes_at_the_height_of_the_template(samples: TrainingSet) -> None:
    detector = Detector()
    tilts = []
    for image in samples.images:
        found = frame_face(image, detector)
        again = None if found is None else frame_face(found[0], detector)
        if again is not None:
            right, left = again[1][:2] / DETECTION_PX
            tilts.append(abs(right[1] - left[1]))
            assert abs((right[1] + left[1]) / 2 - 0.383) < 0.06
    assert frame_face(np.zeros((48, 48), np.uint8), detector) is None
    assert len(tilts) >= 5
    assert np.median(tilts) < 0.03


@needs_ferplus
def test_framed_images_are_kept_for_a_resumed_run(samples: TrainingSet, tmp_path: Path) -> None:
    whole = framed_images(samples, 1.0, tmp_path)
    rows = torch.arange(len(samples.names))
    assert not torch.equal(whole.take(rows, seed=0), torch.from_numpy(samples.images))
    kept = (tmp_path / FRAMED_NAME).stat().st_mtime_ns
    assert torch.equal(framed_images(samples, 1.0, tmp_path).take(rows, seed=1), whole.take(rows, seed=0))
    assert (tmp_path / FRAMED_NAME).stat().st_mtime_ns == kept


@needs_ferplus
def test_framed_images_of_other_faces_are_made_again(samples: TrainingSet, tmp_path: Path) -> None:
    np.savez(tmp_path / FRAMED_NAME, names=np.array(["other.png"]), crops=np.zeros((1, 48, 48), np.uint8))
    assert len(framed_images(samples, 0.5, tmp_path).take(torch.arange(len(samples.names)), seed=0)) == len(
        samples.names
    )


def test_seed_decides_which_faces_are_framed_and_their_share() -> None:
    both = FramedImages(torch.zeros(1000, 2, 2, dtype=torch.uint8), torch.ones(1000, 2, 2, dtype=torch.uint8), 0.3)
    rows = torch.arange(1000)
    assert torch.equal(both.take(rows, seed=5), both.take(rows, seed=5))
    assert not torch.equal(both.take(rows, seed=5), both.take(rows, seed=6))
    assert 0.25 < both.take(rows, seed=5).float().mean() < 0.35

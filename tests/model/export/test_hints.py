"""The training of the detector's hints, with few pictures and steps."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.model.export.hints import SCALES, YuNet, attach, compose, examples, train
from mien.model.faces.detection import YUNET, Detector
from tests.support.cartoon import cartoon

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn faces, and a ground."""
    folder = tmp_path_factory.mktemp("hints")
    for name, side in (("face-1.png", 48), ("face-2.png", 64)):
        Image.fromarray(cartoon(side)).save(folder / name)
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((320, 240)).save(folder / "ground.png")
    return folder


def test_a_picture_depends_on_its_seed_alone(folder: Path) -> None:
    faces, grounds = sorted(folder.glob("face-*")), [folder / "ground.png"]
    (one, placed), (same, _), (other, _) = (compose(faces, grounds, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(np.asarray(one), np.asarray(same))
    assert not np.array_equal(np.asarray(one), np.asarray(other))
    assert placed
    assert max(width for _, _, width in placed) <= 64


def test_hints_learn_where_small_faces_are(folder: Path, tmp_path: Path) -> None:
    yunet = YuNet(YUNET)
    faces, grounds = sorted(folder.glob("face-*")), [folder / "ground.png"]
    data = list(examples(yunet, faces, grounds, pictures=2, seed=0))
    assert len(data) == 2 * len(SCALES)
    assert any(example.faces.any() for example in data)
    attach(YUNET, train(data, steps=120, seed=0, batch=2), tmp_path / "trained.onnx")

    trained, carried = Detector(tmp_path / "trained.onnx"), Detector()
    picture, _ = compose(faces, grounds, np.random.default_rng([0, 0]))
    seen, hints = trained._look(picture.resize((360, 276)), 0.5)
    expected, _ = carried._look(picture.resize((360, 276)), 0.5)
    assert np.array_equal(seen, expected)
    assert hints is not None
    example = data[SCALES.index(0.375)]
    rows, columns = hints.shape
    there = example.faces[:rows, :columns]
    nowhere = ~there & ~example.ignored[:rows, :columns]
    assert hints[there].mean() > hints[nowhere].mean() + 0.5


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(Exception, match="pars"):
        YuNet(broken)

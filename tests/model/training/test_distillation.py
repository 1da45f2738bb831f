from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mien.model.datasets.ferplus import LabelledFaces
from mien.model.errors import CheckpointError, ConfigError, DatasetError
from mien.model.networks.config import NetworkConfig
from mien.model.networks.network import new_network
from mien.model.networks.preprocessing import to_unit
from mien.model.training.checkpoint import read_checkpoint, write_checkpoint
from mien.model.training.config import TrainingConfig
from mien.model.training.distillation import Teacher, mix_table, mix_teachers
from mien.model.training.targets import select_training_set
from mien.model.training.train import train
from mien.model.training.validation import embed_with

MakeFaces = Callable[..., LabelledFaces]

CPU = torch.device("cpu")
CONFIG = TrainingConfig(
    network=NetworkConfig(widths=(8,), blocks=(1,), dropout=0.0), epochs=1, batch_size=32, sigma=0.5
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path, network = tmp_path / "teacher.pt", new_network(CONFIG.network, seed=5)
    state = network.state_dict()
    write_checkpoint(
        path, {"config": CONFIG.model_dump(mode="json"), "network": state, "average": state, "sigma": 0.25}
    )
    return path


def test_teacher_gives_the_posterior_of_its_mixture(checkpoint: Path, make_faces: MakeFaces) -> None:
    taken = select_training_set(make_faces(40, seed=1), CONFIG)
    teacher = Teacher.read(checkpoint, taken, CPU)
    z = embed_with(teacher.network, taken.images, CPU).double().numpy()
    centroids = np.stack([z[taken.emotions == emotion].mean(axis=0) for emotion in range(8)])
    logits = -np.square(z[:, None] - centroids).sum(axis=2) / (2 * 0.25**2)  # sigma at the end of training
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    found = teacher.posterior(to_unit(torch.from_numpy(taken.images)))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 1e-3  # not all the same


def test_targets_are_mixed_with_the_mean_of_the_teachers(checkpoint: Path, make_faces: MakeFaces) -> None:
    taken = select_training_set(make_faces(40, seed=1), CONFIG)
    one = Teacher.read(checkpoint, taken, CPU)
    other = Teacher(one.network, one.centroids.flip(0), one.sigma)
    faces, targets = to_unit(torch.from_numpy(taken.images[:6])), torch.from_numpy(taken.targets[:6])
    found = mix_teachers(targets, [one, other], faces, share=0.4)
    expected = 0.6 * targets + 0.2 * (one.posterior(faces) + other.posterior(faces))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(6))
    assert torch.equal(mix_teachers(targets, [one], faces, share=0.0), targets)


def test_checkpoint_records_the_teachers(checkpoint: Path, tmp_path: Path, make_faces: MakeFaces) -> None:
    training, validation = make_faces(64, seed=1), make_faces(24, seed=2)
    config = CONFIG.model_copy(update={"teacher_share": 1.0})
    alone = train(training, validation, config, tmp_path / "alone", device=CPU)
    path = train(training, validation, config, tmp_path / "student", device=CPU, teachers=[checkpoint])
    state, other = read_checkpoint(path), read_checkpoint(alone)
    assert len(state["config"]["teachers_sha256"]) == 1
    assert other["config"]["teachers_sha256"] == []
    assert not torch.equal(state["average"]["head.weight"], other["average"]["head.weight"])
    with pytest.raises(CheckpointError, match="made with another configuration"):
        train(training, validation, config, tmp_path / "student", device=CPU, resume=True)


def write_table(path: Path, faces: LabelledFaces, posteriors: NDArray[np.float32]) -> Path:
    np.savez(path, names=np.array(faces.names), posteriors=posteriors)
    return path


def test_table_of_posteriors_is_mixed_into_the_targets_by_name(tmp_path: Path, make_faces: MakeFaces) -> None:
    faces = make_faces(40, seed=1)
    posteriors = np.random.default_rng(0).dirichlet(np.ones(8), 40).astype(np.float32)
    table = write_table(tmp_path / "table.npz", faces.take(np.arange(40)[::-1]), posteriors[::-1])
    samples = select_training_set(faces, CONFIG)
    rows = [faces.names.index(name) for name in samples.names]
    found = mix_table(samples, table, share=0.25)
    np.testing.assert_allclose(found.targets, 0.75 * samples.targets + 0.25 * posteriors[rows], atol=1e-6)


def test_table_that_does_not_fit_is_refused(tmp_path: Path, make_faces: MakeFaces) -> None:
    faces = make_faces(40, seed=1)
    samples = select_training_set(faces, CONFIG)
    with pytest.raises(DatasetError, match="posteriors cannot be read"):
        mix_table(samples, tmp_path / "none.npz", share=0.5)
    some = write_table(tmp_path / "some.npz", faces.take(np.arange(10)), np.full((10, 8), 0.125, np.float32))
    with pytest.raises(DatasetError, match="must be of all training faces, 30 are missing"):
        mix_table(samples, some, share=0.5)
    wrong = write_table(tmp_path / "wrong.npz", faces, np.full((40, 7), 1 / 7, np.float32))
    with pytest.raises(DatasetError, match="must be 40 rows of 8 that sum to 1"):
        mix_table(samples, wrong, share=0.5)


def test_training_learns_from_a_table_alone(tmp_path: Path, checkpoint: Path, make_faces: MakeFaces) -> None:
    faces = make_faces(64, seed=1)
    table = write_table(tmp_path / "table.npz", faces, np.full((64, 8), 0.125, np.float32))
    config = CONFIG.model_copy(update={"teacher_share": 1.0})
    losses = []
    for teachers in ([table], []):
        path = train(faces, faces, config, tmp_path / f"{len(teachers)}", device=CPU, teachers=teachers)
        losses.append(read_checkpoint(path)["reports"][0]["loss"])
    assert losses[0] < losses[1], "uniform targets are nearer to what an untrained network says"
    with pytest.raises(ConfigError, match="checkpoints or one table"):
        train(faces, faces, config, tmp_path / "both", device=CPU, teachers=[table, checkpoint])

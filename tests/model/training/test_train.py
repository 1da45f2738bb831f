import csv
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mien.model.datasets.ferplus import LabelledFaces
from mien.model.emotions import EMOTIONS, UNLABELLED, labels
from mien.model.errors import CheckpointError, ConfigError, DatasetError
from mien.model.networks.config import NetworkConfig
from mien.model.networks.network import EMBEDDING_SIZE
from mien.model.training.checkpoint import read_checkpoint, write_checkpoint
from mien.model.training.config import AugmentationConfig, TrainingConfig
from mien.model.training.initial_weights import initial_sha256
from mien.model.training.state import EpochReport, has_fast_bfloat16, with_background
from mien.model.training.targets import SubClassLabels
from mien.model.training.train import (
    Progress,
    choose_device,
    learning_rate_at,
    train,
)

MakeFaces = Callable[..., LabelledFaces]

CPU = torch.device("cpu")

# With dropout and every augmentation, a resumed run that draws other random numbers is noticed.
TINY = TrainingConfig(
    network=NetworkConfig(widths=(8, 16), blocks=(1, 1), dropout=0.1),
    augmentation=AugmentationConfig(rotation_deg=5, scale=0.05, shift=0.03),
    epochs=3,
    batch_size=16,
    balance=1.0,
    early_side_px=24,
    early_share=0.5,
    average_decay=0.9,
)
TRAINING_FACES, VALIDATION_FACES = 80, 40  # five steps an epoch


class Killed(BaseException):
    """Ends a run between two steps, as a kill does."""


def kill_at(epoch: int, step: int) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (epoch, step):
            raise Killed

    return on_progress


def run_tiny(folder: Path, make_faces: MakeFaces, config: TrainingConfig = TINY, **options: Any) -> Path:
    training, validation = make_faces(TRAINING_FACES, seed=1), make_faces(VALIDATION_FACES, seed=2)
    return train(training, validation, config, folder, device=CPU, **options)


def tensors(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor of a checkpoint by its place."""
    if isinstance(value, Tensor):
        return {prefix: value}
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {place: tensor for key, part in places for place, tensor in tensors(part, f"{prefix}/{key}").items()}


def without_times(state: dict[str, Any]) -> list[dict[str, float]]:
    return [{key: value for key, value in report.items() if key != "seconds"} for report in state["reports"]]


def assert_same_run(found: Path, expected: Path) -> None:
    """Weights, average, moments and curves are equal bit for bit."""
    state, other = read_checkpoint(found), read_checkpoint(expected)
    ours, theirs = tensors(state), tensors(other)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 60
    assert [place for place in ours if not torch.equal(ours[place], theirs[place])] == []
    assert without_times(state) == without_times(other)
    assert (state["epoch"], state["step_in_epoch"]) == (other["epoch"], other["step_in_epoch"])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A network this small trains fastest on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make_faces: MakeFaces) -> Path:
    """The checkpoint of a run without interruption."""
    return run_tiny(tmp_path_factory.mktemp("whole"), make_faces)


def test_loss_falls_and_the_average_recognises_emotions(tmp_path: Path, make_faces: MakeFaces) -> None:
    reports: list[EpochReport] = []
    gentle = AugmentationConfig(mirror=False, rotation_deg=2, scale=0.02, shift=0.01, erase=0.1)
    config = TINY.model_copy(
        update={"epochs": 6, "learning_rate": 1e-2, "early_share": 1.0, "augmentation": gentle, "sigma": 2.0}
    )
    run_tiny(tmp_path, make_faces, config, on_epoch=reports.append)
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert reports[-1].validation_accuracy > 0.8


def test_curves_hold_a_row_for_each_epoch(whole: Path) -> None:
    with (whole.parent / "curves.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    reports = read_checkpoint(whole)["reports"]
    assert list(rows[0]) == ["epoch", "loss", "validation_accuracy", "learning_rate", "seconds"]
    assert [{key: float(value) for key, value in row.items()} for row in rows] == reports
    assert {file.name for file in whole.parent.iterdir()} == {"checkpoint.pt", "curves.csv"}


def test_progress_counts_steps_and_epochs(tmp_path: Path, make_faces: MakeFaces) -> None:
    seen: list[Progress] = []
    reports: list[EpochReport] = []
    run_tiny(tmp_path, make_faces, on_progress=seen.append, on_epoch=reports.append)
    assert [(each.epoch, each.step) for each in seen] == [(e, s) for e in (1, 2, 3) for s in (1, 2, 3, 4, 5)]
    assert {(each.epochs, each.steps) for each in seen} == {(3, 5)}
    assert all(each.faces_per_s > 0 and math.isfinite(each.loss) for each in seen)
    for report in reports:
        losses = [each.loss for each in seen if each.epoch == report.epoch]
        assert report.loss == pytest.approx(np.mean(losses), rel=1e-12)
        assert report.learning_rate == learning_rate_at(5 * report.epoch - 1, 5, TINY)


def test_seed_decides_a_run(tmp_path: Path, make_faces: MakeFaces, whole: Path) -> None:
    torch.rand(7)  # the state of the global generator must not matter
    assert_same_run(run_tiny(tmp_path / "again", make_faces), whole)
    other = read_checkpoint(run_tiny(tmp_path / "other", make_faces, TINY.model_copy(update={"seed": 1})))
    assert not torch.equal(other["network"]["head.weight"], read_checkpoint(whole)["network"]["head.weight"])


@pytest.mark.parametrize(("epoch", "step"), [(1, 1), (2, 3), (3, 1), (3, 5)])
def test_killed_and_resumed_run_equals_one_that_was_not(
    tmp_path: Path, make_faces: MakeFaces, whole: Path, epoch: int, step: int
) -> None:
    with pytest.raises(Killed):
        run_tiny(tmp_path, make_faces, checkpoint_every_s=0, on_progress=kill_at(epoch, step))
    assert_same_run(run_tiny(tmp_path, make_faces, resume=True), whole)


def test_run_can_be_killed_again_and_again(tmp_path: Path, make_faces: MakeFaces, whole: Path) -> None:
    for epoch, step in ((1, 2), (1, 4), (2, 1), (2, 5), (3, 3)):
        with pytest.raises(Killed):
            run_tiny(tmp_path, make_faces, resume=True, checkpoint_every_s=0, on_progress=kill_at(epoch, step))
    assert_same_run(run_tiny(tmp_path, make_faces, resume=True), whole)


def test_steps_since_the_last_checkpoint_are_done_again(tmp_path: Path, make_faces: MakeFaces, whole: Path) -> None:
    with pytest.raises(Killed):
        run_tiny(tmp_path, make_faces, checkpoint_every_s=3600, on_progress=kill_at(2, 4))
    seen: list[Progress] = []
    assert_same_run(run_tiny(tmp_path, make_faces, resume=True, on_progress=seen.append), whole)
    assert (seen[0].epoch, seen[0].step) == (2, 1)


def test_kill_after_the_last_step_of_an_epoch_resumes_with_its_report(
    tmp_path: Path, make_faces: MakeFaces, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_here(*_: object) -> float:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("mien.model.training.train.nearest_centroid_accuracy", killed_here)
        with pytest.raises(Killed):
            run_tiny(tmp_path, make_faces, checkpoint_every_s=0)
    state = read_checkpoint(tmp_path / "checkpoint.pt")
    assert (state["epoch"], state["step_in_epoch"]) == (0, 5)
    assert_same_run(run_tiny(tmp_path, make_faces, resume=True), whole)


@pytest.mark.parametrize("step", [3, 5])
def test_checkpoints_without_the_losses_of_their_epoch_can_be_resumed(
    tmp_path: Path, make_faces: MakeFaces, whole: Path, step: int
) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        run_tiny(tmp_path, make_faces, checkpoint_every_s=0, on_progress=kill_at(2, step))
    write_checkpoint(
        path, {key: part for key, part in read_checkpoint(path).items() if key not in ("losses", "seconds")}
    )
    seen: list[Progress] = []
    state = read_checkpoint(run_tiny(tmp_path, make_faces, resume=True, on_progress=seen.append))
    expected = read_checkpoint(whole)
    assert all(torch.equal(state["average"][key], expected["average"][key]) for key in expected["average"])
    since = [each.loss for each in seen if each.epoch == 2]
    assert state["reports"][1]["loss"] == pytest.approx(np.mean(since))


def test_process_killed_by_the_system_resumes(tmp_path: Path, make_faces: MakeFaces, whole: Path) -> None:
    faces = tmp_path / "faces.npz"
    t, v = make_faces(TRAINING_FACES, seed=1), make_faces(VALIDATION_FACES, seed=2)
    np.savez(faces, t_images=t.images, t_votes=t.votes, v_images=v.images, v_votes=v.votes)
    script = """
import sys, time
from pathlib import Path
import numpy as np, torch
from mien.model.datasets.ferplus import LabelledFaces
from mien.model.training.config import TrainingConfig
from mien.model.training.train import train

torch.set_num_threads(int(sys.argv[4]))
faces = np.load(sys.argv[1])
def split(name):
    images = faces[f"{name}_images"]
    return LabelledFaces(tuple(map(str, range(len(images)))), images, faces[f"{name}_votes"])
def show(progress):
    print(progress.epoch, progress.step, flush=True)
    if (progress.epoch, progress.step) == (2, 3):
        time.sleep(600)  # the parent kills
train(
    split("t"), split("v"), TrainingConfig.model_validate_json(sys.argv[3]), Path(sys.argv[2]),
    device=torch.device("cpu"), checkpoint_every_s=0, on_progress=show,
)
"""
    arguments = [str(faces), str(tmp_path / "run"), TINY.model_dump_json(), str(torch.get_num_threads())]
    with subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            steps = [process.stdout.readline().split() for _ in range(8)]
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    assert steps[-1] == ["2", "3"]
    state = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert (state["epoch"], state["step_in_epoch"]) == (1, 2)
    assert_same_run(run_tiny(tmp_path / "run", make_faces, resume=True), whole)


def test_finished_run_is_left_as_it_is(tmp_path: Path, make_faces: MakeFaces, whole: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(whole.read_bytes())
    seen: list[Progress] = []
    assert run_tiny(tmp_path, make_faces, resume=True, on_progress=seen.append) == path
    assert seen == []
    assert path.read_bytes() == whole.read_bytes()
    # After a kill between the last checkpoint and its curves, the curves are written again.
    assert (tmp_path / "curves.csv").read_bytes() == (whole.parent / "curves.csv").read_bytes()


def test_checkpoint_is_not_written_over(tmp_path: Path, make_faces: MakeFaces, whole: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(whole.read_bytes())
    with pytest.raises(CheckpointError, match="exists: resume it, or choose another folder"):
        run_tiny(tmp_path, make_faces)
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    "change", [{"epochs": 4}, {"learning_rate": 1e-3}, {"network": NetworkConfig(widths=(8, 8), blocks=(1, 1))}]
)
def test_another_configuration_is_not_resumed(make_faces: MakeFaces, whole: Path, change: dict[str, Any]) -> None:
    before = whole.read_bytes()
    with pytest.raises(CheckpointError, match="made with another configuration"):
        run_tiny(whole.parent, make_faces, TINY.model_copy(update=change), resume=True)
    assert whole.read_bytes() == before


@pytest.mark.parametrize(
    "change", [{"optimiser": {}}, {"reports": [{"score": 1}]}, {"network": {}}, {"reports": 3}, {"average": 5}]
)
def test_checkpoint_with_broken_parts_is_refused(
    tmp_path: Path, make_faces: MakeFaces, whole: Path, change: dict[str, Any]
) -> None:
    write_checkpoint(tmp_path / "checkpoint.pt", read_checkpoint(whole) | change)
    with pytest.raises(CheckpointError, match="holds no run that can go on"):
        run_tiny(tmp_path, make_faces, resume=True)


def test_checkpoint_without_an_optimiser_is_refused(tmp_path: Path, make_faces: MakeFaces, whole: Path) -> None:
    state = read_checkpoint(whole)
    del state["optimiser"]
    write_checkpoint(tmp_path / "checkpoint.pt", state)
    with pytest.raises(CheckpointError, match="holds no run that can go on: KeyError"):
        run_tiny(tmp_path, make_faces, resume=True)


def test_resume_without_a_checkpoint_starts_a_run(tmp_path: Path, make_faces: MakeFaces, whole: Path) -> None:
    assert_same_run(run_tiny(tmp_path, make_faces, resume=True), whole)


def test_global_state_of_torch_is_unchanged(tmp_path: Path, make_faces: MakeFaces) -> None:
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    run_tiny(tmp_path / "through", make_faces)
    with pytest.raises(Killed):
        run_tiny(tmp_path / "killed", make_faces, on_progress=kill_at(1, 2))
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path, make_faces: MakeFaces) -> None:
    config = TINY.model_copy(update={"learning_rate": 1e30, "warmup_epochs": 0.0})
    with pytest.raises(ConfigError, match="needs a finite loss, got nan at a learning rate of"):
        run_tiny(tmp_path, make_faces, config, checkpoint_every_s=3600)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_faces_without_labels_are_refused(tmp_path: Path, make_faces: MakeFaces) -> None:
    faces = make_faces(32)
    nobody = LabelledFaces(faces.names, faces.images, np.zeros_like(faces.votes))
    with pytest.raises(DatasetError, match=r"two or more emotions, .* got none"):
        train(nobody, faces, TINY, tmp_path, device=CPU)
    with pytest.raises(DatasetError, match="majority emotion, got none among 32"):
        train(faces, nobody, TINY, tmp_path, device=CPU)
    assert list(tmp_path.iterdir()) == []


def test_learning_rate_warms_up_and_decays() -> None:
    config = TINY.model_copy(update={"epochs": 10, "learning_rate": 1.0, "warmup_epochs": 2.0})
    rates = [learning_rate_at(step, 100, config) for step in range(1000)]
    np.testing.assert_allclose(rates[:200], np.arange(1, 201) / 200)
    assert np.diff(rates[200:]).max() < 0
    assert rates[600] == pytest.approx(0.01 + 0.99 / 2)
    assert rates[-1] == pytest.approx(0.01, abs=1e-4)


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.25, 0.5, 1.7, 50.0])
def test_learning_rate_never_exceeds_its_peak(warmup_epochs: float) -> None:
    config = TINY.model_copy(update={"warmup_epochs": warmup_epochs})
    rates = [learning_rate_at(step, 5, config) for step in range(15)]
    assert min(rates) > 0
    assert max(rates) <= config.learning_rate * (1 + 1e-12)


def test_state_of_the_loss_is_resumed(tmp_path: Path, make_faces: MakeFaces) -> None:
    config = TINY.model_copy(
        update={"loss": "gaussian-components", "sigma_schedule": "learned", "background_share": 0.25, "epochs": 2}
    )
    expected = run_tiny(tmp_path / "whole", make_faces, config)
    with pytest.raises(Killed):
        run_tiny(tmp_path / "cut", make_faces, config, on_progress=kill_at(2, 2), checkpoint_every_s=0)
    assert_same_run(run_tiny(tmp_path / "cut", make_faces, config, resume=True), expected)
    state = read_checkpoint(expected)
    assert state["loss"]["running.centroids"].shape == ((len(EMOTIONS) + 1) * 2, EMBEDDING_SIZE)  # one background
    assert state["sigma"] == pytest.approx(float(state["loss"]["sigma.logarithm"].exp()))
    assert state["sigma"] != 1.0


def test_training_goes_on_from_a_checkpoint_with_sub_classes(
    tmp_path: Path, make_faces: MakeFaces, whole: Path
) -> None:
    training = make_faces(TRAINING_FACES, seed=1)
    emotions = labels(training.votes, "argmax")
    of_face = {
        name: f"{EMOTIONS[emotion]}/{row % 2 + 1}"
        for row, (name, emotion) in enumerate(zip(training.names, emotions, strict=True))
        if emotion != UNLABELLED
    }
    given = SubClassLabels({Path(name).stem: sub_class for name, sub_class in of_face.items()}, "f" * 64)
    config = TINY.model_copy(update={"batch_size": 40, "epochs": 1, "learning_rate": 1e-9, "average_decay": 0.0})
    path = run_tiny(tmp_path, make_faces, config, initial=whole, sub_classes=given)
    state = read_checkpoint(path)
    assert state["config"]["sub_classes_sha256"] == "f" * 64
    assert state["config"]["initial_sha256"] == initial_sha256(whole)
    weights, earlier = state["average"]["head.weight"], read_checkpoint(whole)["average"]["head.weight"]
    torch.testing.assert_close(
        weights, earlier, atol=1e-5, rtol=0
    )  # the learning rate is so small that the weights stay
    with pytest.raises(CheckpointError, match="made with another configuration"):
        run_tiny(tmp_path, make_faces, config, resume=True)


def test_sub_classes_need_the_gaussian_loss(tmp_path: Path, make_faces: MakeFaces) -> None:
    config = TINY.model_copy(update={"loss": "softmax"})
    given = SubClassLabels({Path(name).stem: "fear/1" for name in make_faces(TRAINING_FACES, seed=1).names}, "f" * 64)
    with pytest.raises(ConfigError, match=r"loss must be gaussian for sub-classes, got softmax"):
        run_tiny(tmp_path, make_faces, config, sub_classes=given)


def test_background_is_a_class_and_an_emotion_more() -> None:
    classes, targets = with_background(torch.tensor([0, 2]), torch.eye(3)[[0, 2]], class_count=3, count=2)
    assert classes.tolist() == [0, 2, 3, 3]
    assert targets.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_devices_are_chosen_by_name() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert isinstance(has_fast_bfloat16(CPU), bool)
    for wrong in ("tpu", "", "cuda:99"):
        with pytest.raises(ConfigError, match="auto, cpu or one of"):
            choose_device(wrong)


def test_configuration_survives_json() -> None:
    assert TrainingConfig.model_validate(TINY.model_dump(mode="json")) == TINY


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"sigma": 0.0}, {"balance": 2.0}, {"seed": 2**32}, {"momentum": 0.9}])
def test_invalid_configurations_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainingConfig(**wrong)

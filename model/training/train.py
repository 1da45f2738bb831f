"""The training loop: data, network, loss and steps; a run that was killed resumes where it stopped."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from mien.model.datasets.ferplus import LabelledFaces
from mien.model.emotions import UNLABELLED, labels
from mien.model.errors import CheckpointError, ConfigError, DatasetError
from mien.model.files import write_table
from mien.model.training.config import TrainingConfig
from mien.model.training.distillation import Teacher, mix_table_of
from mien.model.training.framing import framed_images
from mien.model.training.initial_weights import initial_sha256
from mien.model.training.sampler import balanced_batches
from mien.model.training.state import EpochReport, Run
from mien.model.training.targets import SubClassLabels, TrainingSet, select_training_set
from mien.model.training.validation import LabelledCrops, nearest_centroid_accuracy

CHECKPOINT_NAME: Final = "checkpoint.pt"
CURVES_NAME: Final = "curves.csv"

INITIAL_FACES: Final = 512
"""Training faces on which the normalisation of initial weights is measured."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run, for display.

    Attributes:
        epoch: number of the epoch, from 1.
        epochs: number of all epochs.
        step: number of steps done in this epoch.
        steps: number of steps of an epoch.
        loss: of the last batch.
        faces_per_s: since this epoch began or was resumed.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    faces_per_s: float


def choose_device(name: str = "auto") -> torch.device:
    """The device to train on; ``auto`` is the GPU if there is one, otherwise the CPU.

    Raises:
        ConfigError: the name is none of auto, cpu and cuda (or cuda:0, ...), or there is no such GPU.
    """
    gpus = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    known = {"cpu", "cuda", *(f"cuda:{number}" for number in range(gpus))}
    if name not in known or (name == "cuda" and not gpus):
        raise ConfigError(f"the device must be auto, cpu or one of {gpus} CUDA devices, got {name}")
    return torch.device(name)


def learning_rate_at(step: int, steps_per_epoch: int, config: TrainingConfig) -> float:
    """The learning rate of a step: linear warm-up, then a cosine decay to a hundredth of the peak."""
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * min(step + 1, warmup) / warmup
    done = (step - warmup) / max(1, config.epochs * steps_per_epoch - warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def emotions_of(faces: LabelledFaces) -> tuple[str, ...]:
    """The emotions that training faces show, in the order of ``faces.emotions``; one that none shows is left out.

    Raises:
        DatasetError: fewer than two emotions are shown, or one by a single face, which has no covariance.
    """
    majority = labels(faces.votes)
    counts = np.bincount(majority[majority != UNLABELLED], minlength=len(faces.emotions)).tolist()
    shown = {name: count for name, count in zip(faces.emotions, counts, strict=True) if count}
    if len(shown) < 2 or min(shown.values()) < 2:
        raise DatasetError(
            "training faces must show two or more emotions, each by two or more faces with a strict majority of "
            f"votes, got {', '.join(f'{count} of {name}' for name, count in shown.items()) or 'none'}"
        )
    return tuple(shown)


def train(
    training: LabelledFaces,
    validation: LabelledFaces,
    config: TrainingConfig,
    folder: Path,
    *,
    device: torch.device,
    initial: Path | None = None,
    sub_classes: SubClassLabels | None = None,
    teachers: Sequence[Path] = (),
    resume: bool = False,
    checkpoint_every_s: float = 60.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_epoch: Callable[[EpochReport], None] = lambda _: None,
) -> Path:
    """Train a network and write its checkpoint and curves to ``folder``.

    The random numbers of a step depend only on the seed and the number of the step, so that a run that was killed and
    resumed does the same steps as one without interruption. torch's global generators are not changed.

    Args:
        training: faces to learn from; the emotions that they show are those of the network.
        validation: faces for the accuracy by nearest centroid after each epoch.
        config: the training settings.
        folder: gets ``checkpoint.pt`` and ``curves.csv``, and with ``framing_share`` the framed faces.
        device: where to compute.
        initial: initial weights (``mien.model.training.initial_weights``); None starts from random weights.
        sub_classes: the classes with centroids are these sub-classes; the targets are still the emotions.
        teachers: checkpoints of networks whose posteriors are mixed into the targets, or one table of posteriors
            (``mien.model.training.distillation``).
        resume: continue from the checkpoint in the folder, if there is one.
        checkpoint_every_s: seconds between checkpoints within an epoch.
        on_progress: called after each step.
        on_epoch: called after each epoch.

    Returns:
        The path of the checkpoint.

    Raises:
        CheckpointError: there is a checkpoint and ``resume`` is false, or it is broken or has other settings.
        ConfigError: the batch is too small for the classes, there is no labelled training face, the initial weights do
            not fit the network, teachers are both checkpoints and a table, or the loss is not finite.
        DatasetError: no validation face has a label, the training faces show too few emotions, or the table of
            posteriors does not fit them.
    """
    path = folder / CHECKPOINT_NAME
    if path.exists() and not resume:
        raise CheckpointError(f"{path} exists: resume it, or choose another folder")

    training = training.of(emotions_of(training))
    validation = validation.of(training.emotions)
    if sub_classes is not None and config.loss != "gaussian":
        raise ConfigError(f"the loss must be gaussian for sub-classes, got {config.loss}")
    config = config.model_copy(
        update={
            "emotions": training.emotions,
            "initial_sha256": initial_sha256(initial) if initial is not None else None,
            "sub_classes_sha256": sub_classes.sha256 if sub_classes is not None else None,
            "teachers_sha256": tuple(initial_sha256(teacher) for teacher in teachers),
        }
    )
    samples = select_training_set(training, config, sub_classes)
    samples, teachers = mix_table_of(teachers, samples, config.teacher_share)
    images, classes, targets = (torch.from_numpy(part) for part in (samples.images, samples.classes, samples.targets))
    both_frames = framed_images(samples, config.framing_share, folder)
    steps = len(_batches(samples, config, epoch=0))
    anchors, validation_crops = _anchors(samples, config.seed), _labelled_crops(validation)

    run = Run.start(
        config,
        device,
        class_count=samples.class_count,
        emotion_of=samples.emotion_of,
        teachers=[Teacher.read(teacher, samples, device) for teacher in teachers],
    )
    if initial is not None and not path.exists():
        run.load_initial_weights(initial, images[:: max(1, len(images) // INITIAL_FACES)][:INITIAL_FACES])
    if path.exists():
        run.restore(path)
        _write_curves(folder / CURVES_NAME, run.reports)

    saved_at = time.monotonic()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        while run.epoch < config.epochs:
            side_px = config.early_side_px if run.epoch < config.early_share * config.epochs else config.network.side_px
            began, seconds_before, first_step = time.monotonic(), run.seconds, run.step_in_epoch
            run.network.train()
            run.loss.train()
            for batch in _batches(samples, config, epoch=run.epoch)[first_step:]:
                rows = torch.from_numpy(batch)  # (batch_size,)
                number = run.epoch * steps + run.step_in_epoch
                rate = learning_rate_at(number, steps, config)
                loss = run.step(
                    both_frames.take(rows, seed=config.seed * 1_000_003 + number),
                    classes[rows],
                    targets[rows],
                    number=number,
                    done=number / (config.epochs * steps),
                    learning_rate=rate,
                    side_px=side_px,
                )
                if not math.isfinite(loss):
                    raise ConfigError(f"training needs a finite loss, got {loss} at a learning rate of {rate:.1e}")
                elapsed = time.monotonic() - began
                run.step_in_epoch += 1
                run.losses.append(loss)
                run.seconds = seconds_before + elapsed
                on_progress(
                    Progress(
                        epoch=run.epoch + 1,
                        epochs=config.epochs,
                        step=run.step_in_epoch,
                        steps=steps,
                        loss=loss,
                        faces_per_s=(run.step_in_epoch - first_step) * config.batch_size / max(elapsed, 1e-9),
                    )
                )
                if time.monotonic() - saved_at >= checkpoint_every_s:
                    run.save(path)
                    saved_at = time.monotonic()
            report = EpochReport(
                epoch=run.epoch + 1,
                loss=float(np.mean(run.losses)) if run.losses else math.nan,
                validation_accuracy=nearest_centroid_accuracy(run.average, anchors, validation_crops, device),
                learning_rate=learning_rate_at((run.epoch + 1) * steps - 1, steps, config),
                seconds=run.seconds,
            )
            run.reports.append(report)
            run.epoch, run.step_in_epoch, run.losses, run.seconds = run.epoch + 1, 0, [], 0.0
            run.save(path)
            saved_at = time.monotonic()
            _write_curves(folder / CURVES_NAME, run.reports)
            on_epoch(report)
    return path


def _batches(samples: TrainingSet, config: TrainingConfig, *, epoch: int) -> NDArray[np.int64]:
    """(steps, batch_size) rows of the batches of an epoch, balanced by class."""
    return balanced_batches(
        samples.classes, samples.class_count, config.batch_size, config.balance, seed=config.seed, epoch=epoch
    )


def _labelled_crops(faces: LabelledFaces) -> LabelledCrops:
    """The faces with a strict majority, whatever the protocol of the training faces."""
    majority = labels(faces.votes)
    if not (majority != UNLABELLED).any():
        raise DatasetError(f"validation needs faces with a majority emotion, got none among {len(faces)}")
    return faces.images[majority != UNLABELLED], majority[majority != UNLABELLED]


def _anchors(samples: TrainingSet, seed: int, max_faces: int = 200) -> LabelledCrops:
    """A few training faces of each emotion, whose centroids are used for validation."""
    generator = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            generator.permutation(np.flatnonzero(samples.emotions == emotion))[:max_faces]
            for emotion in np.unique(samples.emotions)
        ]
    )
    return samples.images[rows], samples.emotions[rows]


def _write_curves(path: Path, reports: list[EpochReport]) -> None:
    write_table(path, [column.name for column in fields(EpochReport)], map(vars, reports))

"""Training of the network: data, network, loss, loop; a killed run resumes where it stopped."""

import csv
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.configuration import TrainingConfig
from model.errors import CheckpointError, ConfigError, DatasetError
from model.ferplus import LabelledFaces
from model.files import written_whole
from model.loss import class_centroids, squared_distances
from model.network import EMBEDDING_SIZE, Network
from model.preprocessing import standardise, to_unit
from model.run import EpochReport, Run
from model.sampling import balanced_batches
from model.votes import EMOTIONS, UNLABELLED, distribution, drop_single_votes, labels

CHECKPOINT_NAME: Final = "checkpoint.pt"
CURVES_NAME: Final = "curves.csv"

LabelledCrops = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""(n, h, w) face crops and their (n,) indices into ``EMOTIONS``."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it.

    Attributes:
        epoch: number of the epoch, from 1.
        epochs: of the whole run.
        step: steps done in this epoch.
        steps: of this epoch.
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
    """The device to train on: ``auto`` takes CUDA where there is any.

    Raises:
        ConfigError: the name is none of auto, cpu and cuda (or cuda:0, ...), or there is no such GPU.
    """
    gpus = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    known = {"cpu", "cuda", *(f"cuda:{number}" for number in range(gpus))}
    if name not in known or (name == "cuda" and not gpus):
        raise ConfigError(f"the device should be auto, cpu or one of {gpus} CUDA devices, got {name}")
    return torch.device(name)


def training_targets(faces: LabelledFaces, config: TrainingConfig) -> tuple[LabelledFaces, NDArray[np.int64], Tensor]:
    """The faces that take part, their labels (n,) and their target distributions (n, 8).

    Vote targets leave single votes out, as Barsoum et al. do; a face with nothing but single votes keeps them.
    """
    chosen = labels(faces.votes, config.protocol)
    taken = faces.take(chosen != UNLABELLED)
    chosen = chosen[chosen != UNLABELLED]
    if config.targets == "one-hot":
        return taken, chosen, torch.eye(len(EMOTIONS))[torch.from_numpy(chosen)]
    cleaned = distribution(drop_single_votes(taken.votes))
    raw = distribution(taken.votes)
    return taken, chosen, torch.from_numpy(np.where(cleaned.sum(axis=1, keepdims=True) > 0, cleaned, raw))


def learning_rate_at(step: int, steps_per_epoch: int, config: TrainingConfig) -> float:
    """Linear warm-up, then half a cosine down to a hundredth of the peak."""
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * min(step + 1, warmup) / warmup
    done = (step - warmup) / max(1, config.epochs * steps_per_epoch - warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def embed_with(network: Network, crops: NDArray[np.uint8], device: torch.device, batch_size: int = 512) -> Tensor:
    """(n, 64) float32 embeddings of (n, h, w) crops by a torch network in evaluation mode, on the CPU."""
    network.eval()
    parts = [torch.empty(0, EMBEDDING_SIZE)]
    with torch.inference_mode():
        for start in range(0, len(crops), batch_size):
            batch = to_unit(torch.from_numpy(crops[start : start + batch_size]).to(device))
            parts.append(network(standardise(batch).contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(parts)


def nearest_centroid_accuracy(
    network: Network, anchors: LabelledCrops, held_out: LabelledCrops, device: torch.device
) -> float:
    """Share of held-out faces whose nearest centroid, of the anchors' embeddings, has their label."""
    (anchor_crops, anchor_labels), (crops, crop_labels) = anchors, held_out
    centroids, present = class_centroids(
        embed_with(network, anchor_crops, device), torch.from_numpy(anchor_labels), len(EMOTIONS)
    )  # (c, d), (c,)
    distances = squared_distances(embed_with(network, crops, device), centroids)  # (n, c)
    nearest = distances.masked_fill(~present, torch.inf).argmin(dim=1)
    return float((nearest == torch.from_numpy(crop_labels)).float().mean())


def train(
    training: LabelledFaces,
    validation: LabelledFaces,
    config: TrainingConfig,
    folder: Path,
    *,
    device: torch.device,
    resume: bool = False,
    checkpoint_every_s: float = 60.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_epoch: Callable[[EpochReport], None] = lambda _: None,
) -> Path:
    """Train a network and leave its checkpoint and curves in ``folder``.

    Every step draws its chance from the seed and the step's number, so that a run that was killed and resumed
    does the same steps as one that was not. torch's global generators are left as they were.

    Args:
        training: faces to learn from.
        validation: faces for the accuracy by nearest centroid after each epoch.
        config: what to do.
        folder: receives ``checkpoint.pt`` and ``curves.csv``.
        device: where to compute.
        resume: go on from the folder's checkpoint if there is one.
        checkpoint_every_s: seconds between checkpoints within an epoch.
        on_progress: called after each step.
        on_epoch: called after each epoch.

    Returns:
        The checkpoint's path.

    Raises:
        CheckpointError: there is a checkpoint and ``resume`` is false, or it is broken or of another configuration.
        ConfigError: the batch is too small for the classes, no face takes part, or the loss stops being finite.
        DatasetError: no validation face has a label.
    """
    path = folder / CHECKPOINT_NAME
    if path.exists() and not resume:
        raise CheckpointError(f"{path} exists: resume it, or choose another folder")

    taken, taken_labels, targets = training_targets(training, config)
    images, image_labels = torch.from_numpy(taken.images), torch.from_numpy(taken_labels)  # (n, h, w), (n,)
    steps = len(_batches(taken_labels, config, epoch=0))
    anchors, held_out = _anchors(taken, taken_labels, config.seed), _held_out(validation)

    run = Run.start(config, device)
    if path.exists():
        run.restore(path)
        _write_curves(folder / CURVES_NAME, run.reports)

    saved_at = time.monotonic()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        while run.epoch < config.epochs:
            side_px = config.early_side_px if run.epoch < config.early_share * config.epochs else images.shape[-1]
            began, seconds_before, first_step = time.monotonic(), run.seconds, run.step_in_epoch
            run.network.train()
            for batch in _batches(taken_labels, config, epoch=run.epoch)[first_step:]:
                rows = torch.from_numpy(batch)  # (batch_size,)
                number = run.epoch * steps + run.step_in_epoch
                rate = learning_rate_at(number, steps, config)
                loss = run.step(
                    images[rows], image_labels[rows], targets[rows], number=number, learning_rate=rate, side_px=side_px
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
                validation_accuracy=nearest_centroid_accuracy(run.average, anchors, held_out, device),
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


def _batches(train_labels: NDArray[np.int64], config: TrainingConfig, *, epoch: int) -> NDArray[np.int64]:
    """(steps, batch_size) rows: the batches of an epoch."""
    return balanced_batches(
        train_labels, len(EMOTIONS), config.batch_size, config.balance, seed=config.seed, epoch=epoch
    )


def _held_out(faces: LabelledFaces) -> LabelledCrops:
    """The faces with a strict majority, whatever the training faces are chosen by."""
    majority = labels(faces.votes)
    if not (majority != UNLABELLED).any():
        raise DatasetError(f"validation needs faces with a majority emotion, got none among {len(faces)}")
    return faces.images[majority != UNLABELLED], majority[majority != UNLABELLED]


def _anchors(faces: LabelledFaces, face_labels: NDArray[np.int64], seed: int, most: int = 200) -> LabelledCrops:
    """A few faces of each class: enough for centroids after each epoch."""
    generator = np.random.default_rng(seed)
    rows = np.concatenate(
        [generator.permutation(np.flatnonzero(face_labels == label))[:most] for label in np.unique(face_labels)]
    )
    return faces.images[rows], face_labels[rows]


def _write_curves(path: Path, reports: list[EpochReport]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=[column.name for column in fields(EpochReport)])
    writer.writeheader()
    writer.writerows(vars(report) for report in reports)
    with written_whole(path) as file:
        file.write(text.getvalue().encode())

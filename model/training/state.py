"""The state of a training run, its checkpoint, and the step that changes it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.model.errors import CheckpointError
from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.build import build_loss
from mien.model.networks.network import Network, new_network, parameter_count
from mien.model.networks.preprocessing import prepare, standardise, to_unit
from mien.model.training.augmentation import augment
from mien.model.training.checkpoint import config_of, read_checkpoint, write_checkpoint
from mien.model.training.config import TrainingConfig
from mien.model.training.distillation import Teacher, mix_teachers
from mien.model.training.initial_weights import load_initial_weights
from mien.model.training.outliers import make_outliers


@dataclass(frozen=True)
class EpochReport:
    """The figures of an epoch, a row of the curves.

    Attributes:
        epoch: number of the epoch, from 1.
        loss: mean over the epoch's batches.
        validation_accuracy: of the averaged network, by nearest centroid.
        learning_rate: of the epoch's last step.
        seconds: duration of the epoch's steps.
    """

    epoch: int
    loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


@dataclass
class Run:
    """The state of a training run, which a checkpoint saves.

    Attributes:
        config: the training settings.
        device: where to compute.
        class_count: the number of classes with a centroid, without the background.
        network: the network that is trained.
        loss: with its parameters and buffers.
        average: moving average of the network's weights, which is validated and exported.
        optimiser: AdamW with its moments.
        epoch: number of epochs done.
        step_in_epoch: number of steps done in the current epoch.
        losses: of those steps.
        seconds: duration of those steps.
        reports: one for each epoch done.
        teachers: whose posteriors are mixed into the targets.
    """

    config: TrainingConfig
    device: torch.device
    class_count: int
    network: Network
    loss: Loss
    average: Network
    optimiser: torch.optim.AdamW
    epoch: int = 0
    step_in_epoch: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    reports: list[EpochReport] = field(default_factory=list)
    teachers: Sequence[Teacher] = ()

    @classmethod
    def start(
        cls,
        config: TrainingConfig,
        device: torch.device,
        *,
        class_count: int | None = None,
        emotion_of: NDArray[np.int64] | None = None,
        teachers: Sequence[Teacher] = (),
    ) -> "Run":
        """A run before its first step.

        Args:
            config: the training settings.
            device: where to compute.
            class_count: the number of classes with a centroid; None for the emotions of the settings.
            emotion_of: (class_count,) the emotion of each sub-class; None if the classes are the emotions.
            teachers: whose posteriors are mixed into the targets.
        """
        class_count = len(config.emotions) if class_count is None else class_count
        network = _to_device(new_network(config.network, config.seed), device)
        network.freeze(config.frozen_blocks)
        average = _to_device(new_network(config.network, config.seed), device)
        loss = _loss(config, class_count, emotion_of).to(device)
        optimiser = torch.optim.AdamW(_decay_groups([network, loss], config.weight_decay), lr=config.learning_rate)
        return cls(config, device, class_count, network, loss, average, optimiser, teachers=teachers)

    def load_initial_weights(self, initial: Path, crops: Tensor) -> None:
        """Load initial weights, before the first step.

        Args:
            initial: see ``mien.model.training.initial_weights``.
            crops: (n, h, w) uint8 training faces, a few hundred.

        Raises:
            ConfigError: the weights cannot be read, or do not fit the network.
            CheckpointError: the same for a checkpoint.
        """
        load_initial_weights(self.network, initial, prepare(crops, self.config.network.side_px).to(self.device))
        self.average.load_state_dict(self.network.state_dict())

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically."""
        write_checkpoint(
            path,
            {
                "config": self.config.model_dump(mode="json"),
                "network": self.network.state_dict(),
                "loss": self.loss.state_dict(),
                "sigma": self.sigma,
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "epoch": self.epoch,
                "step_in_epoch": self.step_in_epoch,
                "losses": self.losses,
                "seconds": self.seconds,
                "reports": [vars(report) for report in self.reports],
                "parameters": parameter_count(self.network),
            },
        )

    def restore(self, path: Path) -> None:
        """Restore the state of a checkpoint.

        Raises:
            CheckpointError: the file is broken, or has other settings.
        """
        state = read_checkpoint(path)
        if config_of(path, state) != self.config:
            raise CheckpointError(
                f"{path} was made with another configuration: resume with the same, or start in another folder"
            )
        try:
            self.network.load_state_dict(state["network"])
            self.loss.load_state_dict(state.get("loss", {}))  # the first versions had losses without a state
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.epoch, self.step_in_epoch = state["epoch"], state["step_in_epoch"]
            self.reports = [EpochReport(**report) for report in state["reports"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} holds no run that can go on: {type(error).__name__}") from error
        # The first versions did not save these two; the report of the epoch then covers the steps since the resume.
        self.losses = list(state.get("losses", []))
        self.seconds = state.get("seconds", 0.0)

    @property
    def sigma(self) -> float:
        """The current standard deviation of the Gaussians, in embedding units."""
        return float(self.loss.sigma(self.epoch / self.config.epochs).detach())

    def step(
        self,
        crops: Tensor,
        classes: Tensor,
        targets: Tensor,
        *,
        number: int,
        done: float,
        learning_rate: float,
        side_px: int,
    ) -> float:
        """One step of the optimiser.

        Args:
            crops: (n, h, w) uint8.
            classes: (n,) int64.
            targets: (n, c) float.
            number: of the step in the whole training; it and the seed determine the random numbers.
            done: share of the training that is done, from 0 to 1.
            learning_rate: of this step.
            side_px: side of the network's input.

        Returns:
            The loss of the batch.
        """
        seed = self.config.seed * 1_000_003 + number
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # for dropout
        unit = to_unit(crops.to(self.device))
        faces = augment(unit, self.config.augmentation, side_px, generator)  # (n, 1, h, w)
        if self.teachers:
            targets = mix_teachers(targets.to(self.device), self.teachers, faces, self.config.teacher_share).cpu()
        if self.config.background_share > 0:
            count = math.ceil(self.config.background_share * len(crops))
            faces = torch.cat([faces, make_outliers(unit[:count], side_px, generator)])
            classes, targets = with_background(classes, targets, self.class_count, count)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=has_fast_bfloat16(self.device)):
            embeddings = self.network(standardise(faces).contiguous(memory_format=torch.channels_last))  # (n, d)
        loss = self.loss(EmbeddedBatch(embeddings.float(), classes.to(self.device), targets.to(self.device), done))

        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        # The decay is smaller at first, so that the initial weights do not dominate the average.
        _update_average(self.average, self.network, min(self.config.average_decay, (1 + number) / (10 + number)))
        return float(loss.detach())


def with_background(classes: Tensor, targets: Tensor, class_count: int, count: int) -> tuple[Tensor, Tensor]:
    """Add ``count`` outliers to the classes (n,) and targets (n, c) of a batch.

    The background is an additional class and an additional column of the targets: (n + count,), (n + count, c + 1).
    """
    background = torch.full((count,), class_count, dtype=classes.dtype)
    rows = torch.nn.functional.pad(targets, (0, 1))
    certain = torch.zeros(count, rows.shape[1], dtype=rows.dtype)
    certain[:, -1] = 1
    return torch.cat([classes, background]), torch.cat([rows, certain])


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device has hardware for bfloat16; without, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _to_device(network: Network, device: torch.device) -> Network:
    """The network on the device, with kernels in the memory order in which convolutions are fastest."""
    moved: Network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def _loss(config: TrainingConfig, class_count: int, emotion_of: NDArray[np.int64] | None) -> Loss:
    """The loss of the settings, with a class for the background if there are outliers."""
    background = int(config.background_share > 0)
    emotions = None
    if emotion_of is not None:
        emotions = torch.from_numpy(np.append(emotion_of, np.full(background, len(config.emotions))))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return build_loss(config, class_count + background, emotions)


def _decay_groups(modules: list[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups with weight decay for matrices and kernels, but not for biases, normalisation and sigma."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    free = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


@torch.no_grad()
def _update_average(average: Network, network: Network, decay: float) -> None:
    """Update the moving average of weights and of running statistics."""
    for own, other in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if own.dtype.is_floating_point:
            own.lerp_(other, 1 - decay)
        else:
            own.copy_(other)

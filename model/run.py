"""A training run: everything that changes while training goes on, and the step that changes it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.augmentation import augment
from model.checkpoint import config_of, read_checkpoint, write_checkpoint
from model.configuration import TrainingConfig
from model.errors import CheckpointError
from model.loss import gaussian_structured_loss
from model.network import Network, new_network, parameter_count
from model.preprocessing import standardise, to_unit


@dataclass(frozen=True)
class EpochReport:
    """One row of the curves.

    Attributes:
        epoch: number of the epoch, from 1.
        loss: mean over the epoch's batches.
        validation_accuracy: of the averaged network, by nearest centroid.
        learning_rate: of the epoch's last step.
        seconds: that the epoch's steps took.
    """

    epoch: int
    loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


@dataclass
class Run:
    """Everything that changes while training goes on; a checkpoint is a run on disk.

    Attributes:
        config: what the run does.
        device: where it computes.
        network: what the optimiser moves.
        average: moving average of the network; this is what is scored and exported.
        optimiser: AdamW with its moments.
        epoch: epochs done.
        step_in_epoch: steps done of the epoch under way.
        losses: of those steps.
        seconds: that those steps took.
        reports: one for each epoch done.
    """

    config: TrainingConfig
    device: torch.device
    network: Network
    average: Network
    optimiser: torch.optim.AdamW
    epoch: int = 0
    step_in_epoch: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    reports: list[EpochReport] = field(default_factory=list)

    @classmethod
    def start(cls, config: TrainingConfig, device: torch.device) -> "Run":
        """A run before its first step."""
        network = _placed(new_network(config.network, config.seed), device)
        average = _placed(new_network(config.network, config.seed), device)
        optimiser = torch.optim.AdamW(_decay_groups(network, config.weight_decay), lr=config.learning_rate)
        return cls(config, device, network, average, optimiser)

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        write_checkpoint(
            path,
            {
                "config": self.config.model_dump(mode="json"),
                "network": self.network.state_dict(),
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
        """Go to where the run stood when the checkpoint was written.

        Raises:
            CheckpointError: the file is broken, or was made with another configuration.
        """
        state = read_checkpoint(path)
        if config_of(path, state, TrainingConfig) != self.config:
            raise CheckpointError(f"{path} was made with another configuration: resume with the same, or start anew")
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.epoch, self.step_in_epoch = state["epoch"], state["step_in_epoch"]
            self.reports = [EpochReport(**report) for report in state["reports"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} holds no run that can go on: {type(error).__name__}") from error
        # The first checkpoints lacked these two: their epoch's report covers the steps since the resume.
        self.losses = list(state.get("losses", []))
        self.seconds = state.get("seconds", 0.0)

    def step(
        self, crops: Tensor, face_labels: Tensor, targets: Tensor, *, number: int, learning_rate: float, side_px: int
    ) -> float:
        """One step of the optimiser.

        Args:
            crops: (n, h, w) uint8.
            face_labels: (n,) int64.
            targets: (n, 8) float.
            number: of the step within the whole training; with the seed it decides the step's chance.
            learning_rate: of this step.
            side_px: side of the faces that the network sees.

        Returns:
            The loss of the batch.
        """
        chance = self.config.seed * 1_000_003 + number
        generator = torch.Generator().manual_seed(chance)
        torch.manual_seed(chance)  # dropout
        faces = augment(to_unit(crops.to(self.device)), self.config.augmentation, side_px, generator)  # (n, 1, h, w)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=has_fast_bfloat16(self.device)):
            embeddings = self.network(standardise(faces).contiguous(memory_format=torch.channels_last))  # (n, d)
        loss = gaussian_structured_loss(
            embeddings.float(),
            face_labels.to(self.device),
            targets.to(self.device),
            self.config.sigma,
            leave_one_out=self.config.leave_one_out,
        )

        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        # The average follows fast at first, when the initial weights are all it has.
        _follow(self.average, self.network, min(self.config.average_decay, (1 + number) / (10 + number)))
        return loss.item()


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is done in hardware there; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _placed(network: Network, device: torch.device) -> Network:
    """The network on the device, its kernels in the order in which convolutions are fastest."""
    placed: Network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def _decay_groups(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only: on biases and normalisation it does harm."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    free = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


@torch.no_grad()
def _follow(average: Network, network: Network, decay: float) -> None:
    """Move the average a step towards the network; running statistics of normalisation likewise."""
    for own, other in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if own.dtype.is_floating_point:
            own.lerp_(other, 1 - decay)
        else:
            own.copy_(other)

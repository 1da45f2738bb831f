"""Settings of a training, which are the options of ``mien train``.

They are part of each checkpoint and of the metadata of each exported network.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mien.model.emotions import EMOTIONS, Protocol
from mien.model.networks.config import NetworkConfig

LossName = Literal[
    "gaussian",
    "gaussian-running",
    "gaussian-components",
    "prototypical",
    "softmax",
    "triplet",
    "multi-threshold-triplet",
]

OPTION: Final = "option"
"""``{OPTION: False}`` marks a field that is computed, and so is no option of a command."""


class AugmentationConfig(BaseModel):
    """Ranges of the augmentation, all symmetric around no change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mirror: bool = Field(default=True, description="Mirror half of the faces.")
    rotation_deg: float = Field(10.0, ge=0, description="Largest rotation, degrees.")
    scale: float = Field(0.12, ge=0, lt=1, description="Largest change of size, as a share.")
    shift: float = Field(0.05, ge=0, description="Largest shift, as a share of the side.")
    gamma: float = Field(0.3, ge=0, description="Largest logarithm of the gamma that grey values are raised to.")
    erase: float = Field(0.1, ge=0, le=1, description="Share of faces with a grey rectangle over a part.")
    shear: float = Field(0.0, ge=0, lt=1, description="Largest shear, as a share of the side.")
    perspective: float = Field(
        0.0, ge=0, lt=0.5, description="Largest perspective of a turned head: change of size from the middle to a side."
    )
    light: float = Field(0.0, ge=0, description="Largest logarithm of the light's change from the middle to a side.")
    degradation: float = Field(
        0.0, ge=0, le=1, description="Share of faces of low resolution, blurred, noisy, or with the blocks of JPEG."
    )
    cover: float = Field(0.0, ge=0, le=1, description="Share of faces with a bar over eyes, mouth or one half.")


class TrainingConfig(BaseModel):
    """Settings of a training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkConfig = NetworkConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    epochs: int = Field(30, ge=1, description="Passes over the training faces.")
    batch_size: int = Field(128, ge=16, description="Faces of a batch.")
    balance: float = Field(
        0.35, ge=0, le=1, description="1: as many of each emotion in a batch, as in the paper; 0: as the data has them."
    )
    targets: Literal["votes", "one-hot"] = Field("votes", description="What the posterior is scored against.")
    protocol: Protocol = Field("argmax", description="Which training faces are used.")
    every: int = Field(1, ge=1, description="Train on every n-th face: 3 for a pilot, 1 otherwise.")
    framing_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the faces that are cut out by their landmarks, as the detector does in photographs.",
    )
    second_opinion: int = Field(
        0, ge=0, description="Votes for FER2013's own label of a face, added to those of its raters."
    )
    loss: LossName = Field("gaussian", description="What shapes the embedding space; see docs/training.md.")
    sigma: float = Field(1.0, gt=0, description="Standard deviation of the components, in embedding units.")
    sigma_schedule: Literal["fixed", "annealed", "learned"] = Field(
        "fixed", description="Whether sigma stays, goes to --sigma-end, or is learned."
    )
    sigma_end: float = Field(0.5, gt=0, description="Where an annealed sigma ends, in embedding units.")
    leave_one_out: bool = Field(
        default=True,
        description="Compare each face with the mean of the other faces of its emotion, not with its own share.",
    )
    prior_power: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Weights of the components in training: shares of the batch to this power (logit adjustment). "
        "Without the weights, afterwards, rare emotions are named more often. For gaussian.",
    )
    mixing: float = Field(
        0.0,
        ge=0,
        description="Mixtures of two embeddings of the batch, scored against mixtures of their targets: both "
        "parameters of the Beta distribution of the shares, 2 in the authors' code; 0: none. For gaussian.",
    )
    running_decay: float = Field(
        0.95, ge=0, lt=1, description="Decay of running centroids, for the losses that keep some."
    )
    components: int = Field(2, ge=1, description="Components of each emotion, for gaussian-components.")
    margin: float = Field(
        1.0, gt=0, description="Margin of the triplet losses, the largest of several, in embedding units."
    )
    slices: int = Field(8, ge=1, description="Slices of the embedding, for multi-threshold-triplet.")
    background_share: float = Field(
        0.0, ge=0, le=1, description="Pictures without an expression added to each batch, as a share of its faces."
    )
    teacher_share: float = Field(0.5, ge=0, le=1, description="Share of the teachers in the targets, with --teachers.")
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(0.05, ge=0, description="Weight decay of AdamW.")
    warmup_epochs: float = Field(1.0, ge=0, description="Epochs of linear warm-up before the cosine decay.")
    early_side_px: int = Field(40, ge=16, description="Side of the faces in the early epochs: less work per face.")
    early_share: float = Field(0.6, ge=0, le=1, description="Share of the epochs at the smaller side.")
    frozen_blocks: int = Field(
        0, ge=0, description="First blocks of a MobileNet that keep their initial weights: 3 trains 1.7 times as fast."
    )
    average_decay: float = Field(0.998, ge=0, lt=1, description="Decay of the moving average of the weights.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of weights, batches and augmentation.")
    emotions: tuple[str, ...] = Field(
        EMOTIONS, description="The emotions of the training faces.", json_schema_extra={OPTION: False}
    )
    initial_sha256: str | None = Field(
        None,
        description="SHA-256 of the initial weights, if any.",
        json_schema_extra={OPTION: False},
    )
    sub_classes_sha256: str | None = Field(
        None,
        description="SHA-256 of the file of sub-classes, if any.",
        json_schema_extra={OPTION: False},
    )
    teachers_sha256: tuple[str, ...] = Field(
        (), description="SHA-256 of the teachers' checkpoints.", json_schema_extra={OPTION: False}
    )

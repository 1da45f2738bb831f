"""Recipes: named training settings with known results; options of ``mien train`` change single settings."""

from typing import Final, Literal

from mien.model.networks.config import NetworkConfig
from mien.model.training.config import AugmentationConfig, TrainingConfig

RecipeName = Literal["scratch", "faces", "structure", "student", "gpu"]

_FACES: Final = TrainingConfig(
    network=NetworkConfig(backbone="mobilenet", side_px=144),
    augmentation=AugmentationConfig(
        rotation_deg=12.0,
        scale=0.16,
        shift=0.06,
        erase=0.15,
        shear=0.08,
        perspective=0.12,
        light=0.5,
        degradation=0.3,
        cover=0.1,
    ),
    epochs=12,
    batch_size=64,
    framing_share=0.5,
    second_opinion=4,
    background_share=0.06,
    learning_rate=1e-3,
    warmup_epochs=0.5,
    early_share=0.0,
    frozen_blocks=3,
    average_decay=0.999,
)

RECIPES: Final[dict[RecipeName, TrainingConfig]] = {
    "scratch": TrainingConfig(),
    "faces": _FACES,
    "structure": _FACES.model_copy(
        update={
            "epochs": 1,
            "batch_size": 96,
            "second_opinion": 0,
            "learning_rate": 3e-4,
            "warmup_epochs": 0.1,
            "background_share": 0.15,
            "average_decay": 0.998,
        }
    ),
    "student": _FACES.model_copy(
        update={"epochs": 10, "learning_rate": 7e-4, "warmup_epochs": 0.3, "teacher_share": 0.6}
    ),
    "gpu": _FACES.model_copy(
        update={
            "network": NetworkConfig(backbone="mobilenet", side_px=192),
            "epochs": 40,
            "batch_size": 128,
            "frozen_blocks": 0,
            "background_share": 0.15,
        }
    ),
}
"""- *scratch*: a small residual network from random weights; needs only FER+.
- *faces*: first part of the network that ships: a MobileNet from the weights of a face recognition network, with what
  prepares it for photographs (docs/experiments.md).
- *structure*: second part: continues from the first with sub-classes and a background class.
- *student*: third part: learns from the posteriors of an ensemble (``--teachers``).
- *gpu*: larger faces and more epochs, for a GPU; a teacher for the others."""

FROM_WEIGHTS: Final[frozenset[RecipeName]] = frozenset({"faces", "structure", "student", "gpu"})
"""Recipes that need initial weights."""

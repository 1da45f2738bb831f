"""Recipes: named training settings with known results; options of ``mien train`` change single settings."""

from typing import Final, Literal

from mien.model.networks.config import NetworkConfig
from mien.model.training.config import AugmentationConfig, TrainingConfig

RecipeName = Literal["scratch", "faces", "structure", "gpu"]

_FACES: Final = TrainingConfig(
    network=NetworkConfig(backbone="mobilenet", side_px=112),
    augmentation=AugmentationConfig(erase=0.2),
    epochs=16,
    batch_size=64,
    learning_rate=1e-3,
    warmup_epochs=0.5,
    early_share=0.0,
    average_decay=0.999,
)

RECIPES: Final[dict[RecipeName, TrainingConfig]] = {
    "scratch": TrainingConfig(),
    "faces": _FACES,
    "structure": _FACES.model_copy(
        update={
            "augmentation": AugmentationConfig(rotation_deg=12.0, scale=0.18, erase=0.3),
            "epochs": 2,
            "batch_size": 96,
            "learning_rate": 3e-4,
            "background_share": 0.15,
            "average_decay": 0.998,
        }
    ),
    "gpu": _FACES.model_copy(
        update={
            "network": NetworkConfig(backbone="mobilenet", side_px=192),
            "epochs": 40,
            "batch_size": 128,
            "background_share": 0.15,
        }
    ),
}
"""- *scratch*: a small residual network from random weights; needs only FER+.
- *faces*: first part of the network that ships: a MobileNet from the weights of a face recognition network.
- *structure*: second part: continues from the first with sub-classes and a background class.
- *gpu*: larger faces and more epochs, for a GPU; a teacher for the others."""

FROM_WEIGHTS: Final[frozenset[RecipeName]] = frozenset({"faces", "structure", "gpu"})
"""Recipes that need initial weights."""

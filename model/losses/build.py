"""Builds the loss that the training settings name."""

from collections.abc import Callable

from torch import Tensor

from mien.model.losses.base import Loss
from mien.model.losses.gaussian import GaussianLoss
from mien.model.losses.gaussian_components import GaussianComponentsLoss
from mien.model.losses.gaussian_running import RunningGaussianLoss
from mien.model.losses.multi_threshold_triplet import MultiThresholdTripletLoss
from mien.model.losses.prototypical import PrototypicalLoss
from mien.model.losses.sigma import Sigma
from mien.model.losses.softmax import SoftmaxLoss
from mien.model.losses.triplet import TripletLoss
from mien.model.networks.network import EMBEDDING_SIZE
from mien.model.training.config import LossName, TrainingConfig


def build_loss(config: TrainingConfig, class_count: int, emotion_of: Tensor | None = None) -> Loss:
    """Build the loss that ``config.loss`` names.

    Args:
        config: the training settings.
        class_count: c, the number of columns of the targets.
        emotion_of: (s,) int64, the emotion of each sub-class; only ``gaussian`` supports sub-classes.
    """
    sigma = Sigma(config.sigma_schedule, config.sigma, config.sigma_end)
    makers: dict[LossName, Callable[[], Loss]] = {
        "gaussian": lambda: GaussianLoss(
            sigma,
            leave_one_out=config.leave_one_out,
            emotion_of=emotion_of,
            prior_power=config.prior_power,
            mixing=config.mixing,
        ),
        "gaussian-running": lambda: RunningGaussianLoss(sigma, class_count, EMBEDDING_SIZE, decay=config.running_decay),
        "gaussian-components": lambda: GaussianComponentsLoss(
            sigma, class_count, EMBEDDING_SIZE, components=config.components, decay=config.running_decay
        ),
        "prototypical": lambda: PrototypicalLoss(sigma, leave_one_out=config.leave_one_out),
        "softmax": lambda: SoftmaxLoss(sigma, class_count, EMBEDDING_SIZE),
        "triplet": lambda: TripletLoss(sigma, margin=config.margin),
        "multi-threshold-triplet": lambda: MultiThresholdTripletLoss(
            sigma, EMBEDDING_SIZE, largest_margin=config.margin, slices=config.slices
        ),
    }
    return makers[config.loss]()

"""The reasons to doubt an answer about a face."""

from typing import Final

from mien.index.mixture.covering import Part
from mien.service.inference.prediction import Prediction

_COVERED: Final[dict[Part, str]] = {"mouth": "mouth_covered", "eyes": "eyes_covered"}


def reasons(prediction: Prediction, row: int) -> list[str]:
    """The codes (``mien.service.answers.faces.REASONS``) that hold for one face of a prediction."""
    untypical = [] if prediction.known[row] else ["untypical"]
    covered = [_COVERED[part] for part in prediction.covered[row]]
    return [*untypical, *prediction.quality[row].faults, *covered]

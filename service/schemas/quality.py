"""The quality of a face in answers, and the reasons to doubt an answer."""

from typing import Final, Literal

from pydantic import BaseModel, Field

from mien.index.mixture.covering import Part
from mien.model.faces.quality import Fault
from mien.service.inference.prediction import Prediction
from mien.service.schemas.rounded import Degrees, Hundredths, Pixels

Reason = Literal["untypical", "mouth_covered", "eyes_covered"] | Fault

REASONS: Final[dict[Reason, str]] = {
    "untypical": "The face is unlike those with a known expression: `known` is false.",
    "small": "The face has too few pixels in the photograph.",
    "blurred": "The face lacks fine detail: it is out of focus, moved, or enlarged.",
    "turned": "The face is turned aside, up or down.",
    "cut_off": "A part of the face is outside the photograph.",
    "mouth_covered": "The mouth is covered, as by a mask or a hand.",
    "eyes_covered": "The eyes are covered, as by sunglasses.",
}
"""The codes of reasons, each in a sentence."""

_COVERED: Final[dict[Part, Reason]] = {"mouth": "mouth_covered", "eyes": "eyes_covered"}


class Quality(BaseModel):
    """What limits how well an expression can be read."""

    face_px: Pixels = Field(
        description="Side of the square that is the face, in pixels of the photograph.", examples=[519.3]
    )
    sharpness: Hundredths = Field(
        description="Share of the contrast that is in fine detail; sharp faces have about 0.2.", examples=[0.21]
    )
    yaw: Degrees | None = Field(
        description="Degrees that the face is turned to the right of the picture; null for an image that was already "
        "cropped.",
        examples=[-8.2],
    )
    pitch: Degrees | None = Field(description="Degrees that it looks up; null likewise.", examples=[3.0])
    roll: Degrees | None = Field(description="Degrees that it leans clockwise; null likewise.", examples=[1.4])
    outside: Hundredths = Field(description="Share of the face that is outside the photograph.", examples=[0.0])


def reasons(prediction: Prediction, row: int) -> list[Reason]:
    """The reasons to doubt the answer about one face of a prediction."""
    untypical: list[Reason] = [] if prediction.known[row] else ["untypical"]
    covered = [_COVERED[part] for part in prediction.covered[row]]
    return [*untypical, *prediction.quality[row].faults, *covered]

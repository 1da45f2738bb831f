"""Answers about the space: explanations, the map and the atlas."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from mien.service.answers.base import Answer, flatten
from mien.service.answers.rounded import Rounded

Heat = list[list[Rounded]]
"""Rows from the top, each from the left."""

_NAME_OF: Final = "Its name in words, if it has one."
_SUB_CLASS_OF: Final = "Its sub-class, where the bundle has any."
_OWNED: Final = "Whether it is your own gallery, rather than the one that ships."


class MatchPicture(Answer):
    """The side of the match, where its gallery keeps a thumbnail of it."""

    crop: str = Field(description="The match as the network sees it: a grey PNG image, base64.")
    heat: Heat = Field(description="As `heat`, for the match: how much farther from the query it lies.")


class EmotionDirection(Answer):
    """The share that an emotion has in the distance between two faces."""

    emotion: str = Field(examples=["surprise"])
    share: Rounded = Field(
        description="Of the squared distance; negative where it leads against the rest of the way.", examples=[0.31]
    )
    more: bool = Field(description="Whether the match lies further towards the emotion than the query.")


class MatchExplanation(Answer):
    """What a face and a match have in common, and what separates them."""

    id: str = Field(description="Of the match.", examples=["fer0012345"])
    distance: Rounded = Field(description="Between the two, in embedding units.", examples=[0.41])
    query_emotion: str = Field(description="The emotion nearest to the query.", examples=["happiness"])
    query_sub_class: str | None = Field(description=_SUB_CLASS_OF, examples=["happiness/2"])
    query_sub_class_name: str | None = Field(None, description=_NAME_OF, examples=["happiness/closed smile"])
    emotion: str = Field(description="The emotion nearest to the match.", examples=["happiness"])
    sub_class: str | None = Field(description=_SUB_CLASS_OF, examples=["happiness/2"])
    sub_class_name: str | None = Field(None, description=_NAME_OF, examples=["happiness/closed smile"])
    label: str | None = Field(description="The label of the match in the gallery.", examples=["happiness"])
    query_posterior: dict[str, Rounded] = Field(description="Probability of each emotion at the query.")
    posterior: dict[str, Rounded] = Field(description="Probability of each emotion at the match.")
    overlap: Rounded = Field(
        description="How far the two posteriors agree: the sum of the smaller of the two probabilities, 0 to 1.",
        examples=[0.93],
    )
    directions: list[EmotionDirection] = Field(
        description="Share of each emotion in the distance, largest first; they sum to what emotions explain of it."
    )
    unexplained: Rounded = Field(
        description="Share of the squared distance that no emotion explains, 0 to 1.", examples=[0.58]
    )
    heat: Heat | None = Field(
        description="Rows from the top, each from the left: how much farther from the match the query lies, in "
        "embedding units, when a patch covers this place; negative where this place keeps the two apart. Null "
        "without an image of the query."
    )
    picture: MatchPicture | None = Field(description="Null where its gallery keeps no thumbnail.")


class Explanation(Answer):
    """What the emotion of a face rests on, and what the face and a match have in common."""

    emotion: str = Field(description="What is explained.", examples=["happiness"])
    probability: Rounded = Field(description="Of the emotion, of the whole face.", examples=[0.93])
    heat: Heat | None = Field(
        description="Rows from the top, each from the left: how far the probability falls on average when a patch "
        "covers this place of the crop; negative where the place speaks against the emotion. Null without an image.",
        examples=[[[0.0, 0.1], [0.4, 0.3]]],
    )
    crop: str | None = Field(
        description="The face as the network sees it: a grey PNG image, base64. Null without an image."
    )
    match: MatchExplanation | None = Field(None, description="With a match: what the two have in common.")


class MapRegion(Answer):
    """A Gaussian as an ellipse: its centre, half its diameters at 1.5 standard deviations, and its angle."""

    id: str = Field(description="The emotion, or the sub-class.", examples=["happiness"])
    name: str | None = Field(
        None, description="Name of a sub-class in words, if it has one.", examples=["happiness/closed smile"]
    )
    x: Rounded = Field(description="Of its centroid, in embedding units.", examples=[1.92])
    y: Rounded = Field(description="Of its centroid, in embedding units.", examples=[-0.4])
    long: Rounded = Field(description="Half of its longer diameter.", examples=[0.8])
    short: Rounded = Field(description="Half of its shorter diameter.", examples=[0.5])
    turn: Rounded = Field(description="From the x axis to the longer diameter, radians.", examples=[0.3])


class Map(Answer):
    """The space in two dimensions: a point z is shown at axes (z - middle)."""

    middle: list[Rounded] = Field(description="The d numbers of the point that is shown at the origin.")
    axes: list[list[Rounded]] = Field(description="Two rows of d numbers.")
    emotions: list[MapRegion]
    sub_classes: list[MapRegion] = Field(description="Empty where the bundle has none.")
    faces: int = Field(
        description="Of the gallery; the ids are a sample where there are more faces than ids.", examples=[28385]
    )
    owned: bool = Field(description=_OWNED, examples=[False])
    ids: list[str] = Field(description="Of the faces that are shown.")
    x: list[float] = Field(description="Of the faces, in the order of ids.")
    y: list[float] = Field(description="Of the faces, in the order of ids.")
    emotion: list[int] = Field(description="Of the faces, in the order of ids: places in emotions.")

    def rows(self) -> list[dict[str, Any]]:
        """A row for each face that is shown."""
        return [
            {"id": face, "x": x, "y": y, "emotion": self.emotions[emotion].id}
            for face, x, y, emotion in zip(self.ids, self.x, self.y, self.emotion, strict=True)
        ]


class NearestFace(Answer):
    """A face of the gallery near a centroid."""

    id: str = Field(description="Its id in the gallery.", examples=["fer0012345"])
    distance: Rounded = Field(description="To the centroid, in embedding units.", examples=[0.21])
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Its other fields in the gallery.", examples=[{"attribution": "Darwin 1872"}]
    )


class AtlasRegion(Answer):
    """An emotion, or a sub-class of one."""

    id: str = Field(description="The emotion, or the sub-class.", examples=["happiness"])
    name: str | None = Field(
        None, description="Name of a sub-class in words, if it has one.", examples=["happiness/closed smile"]
    )
    description: str | None = Field(
        None,
        description="What its faces show, where the sub-class has a name.",
        examples=["Lips closed and drawn back."],
    )
    faces: int = Field(description="Of the gallery that the mixture gives this.", examples=[7514])
    share: Rounded = Field(description="Of the gallery's faces, 0 to 1.", examples=[0.264])
    votes: dict[str, Rounded] = Field(
        description="Mean shares of the raters' votes on the faces of the gallery that ships with this label.",
        examples=[{"happiness": 0.91, "neutral": 0.05}],
    )
    nearest: list[NearestFace] = Field(description="Such faces, nearest to the centroid first.")
    sub_classes: list[AtlasRegion] = Field(description="Of an emotion, where the bundle has any.")

    def rows(self) -> list[dict[str, Any]]:
        """A row for the region, then one for each sub-class."""
        own = flatten(self.model_dump(exclude={"nearest", "sub_classes"}))
        return [own, *(row for each in self.sub_classes for row in each.rows())]


class Atlas(Answer):
    """Every emotion and sub-class."""

    faces: int = Field(description="In the gallery.", examples=[28385])
    owned: bool = Field(description=_OWNED, examples=[False])
    portraits: bool = Field(description="Whether the bundle brings portraits.", examples=[True])
    emotions: list[AtlasRegion]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each emotion and sub-class."""
        return [row for each in self.emotions for row in each.rows()]

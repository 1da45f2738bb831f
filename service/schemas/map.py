"""The answers of the map and the atlas, and how a space becomes one of them."""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel, Field

from mien.index.views.atlas import Region
from mien.index.views.map import Ellipse
from mien.service.inference.space import SpaceAtlas, SpaceMap
from mien.service.schemas.rounded import Rounded

MAP_DECIMALS: Final = 3

_NAME: Final = "Name of a sub-class in words, if it has one."


class MapRegion(BaseModel):
    """A Gaussian as an ellipse: its centre, half its diameters at 1.5 standard deviations, and its angle."""

    id: str = Field(description="The emotion, or the sub-class.", examples=["happiness"])
    name: str | None = Field(description=_NAME, examples=["happiness/closed smile"])
    x: Rounded = Field(description="Of its centroid, in embedding units.", examples=[1.92])
    y: Rounded = Field(description="Of its centroid, in embedding units.", examples=[-0.4])
    long: Rounded = Field(description="Half of its longer diameter.", examples=[0.8])
    short: Rounded = Field(description="Half of its shorter diameter.", examples=[0.5])
    turn: Rounded = Field(description="From the x axis to the longer diameter, radians.", examples=[0.3])


class MapAnswer(BaseModel):
    """The space in two dimensions: a point z is shown at axes (z - middle)."""

    middle: list[Rounded] = Field(description="The d numbers of the point that is shown at the origin.")
    axes: list[list[Rounded]] = Field(description="Two rows of d numbers.")
    emotions: list[MapRegion]
    sub_classes: list[MapRegion] = Field(description="Empty where the bundle has none.")
    faces: int = Field(
        description="Of the gallery; the ids are a sample where there are more faces than ids.", examples=[28385]
    )
    owned: bool = Field(description="Whether it is your own gallery, rather than the one that ships.", examples=[False])
    ids: list[str] = Field(description="Of the faces that are shown.")
    x: list[float] = Field(description="Of the faces, in the order of ids.")
    y: list[float] = Field(description="Of the faces, in the order of ids.")
    emotion: list[int] = Field(description="Of the faces, in the order of ids: places in emotions.")


class NearestFace(BaseModel):
    """A face of the gallery near a centroid."""

    id: str = Field(description="Its id in the gallery.", examples=["fer0012345"])
    distance: Rounded = Field(description="To the centroid, in embedding units.", examples=[0.21])


class AtlasRegion(BaseModel):
    """An emotion, or a sub-class of one."""

    id: str = Field(description="The emotion, or the sub-class.", examples=["happiness"])
    name: str | None = Field(description=_NAME, examples=["happiness/closed smile"])
    description: str | None = Field(
        description="What its faces show, where the sub-class has a name.", examples=["Lips closed and drawn back."]
    )
    faces: int = Field(description="Of the gallery that the mixture gives this.", examples=[7514])
    share: Rounded = Field(description="Of the gallery's faces, 0 to 1.", examples=[0.264])
    votes: dict[str, Rounded] = Field(
        description="Mean shares of the raters' votes on the faces of the gallery that ships with this label.",
        examples=[{"happiness": 0.91, "neutral": 0.05}],
    )
    nearest: list[NearestFace] = Field(description="Such faces, nearest to the centroid first.")
    sub_classes: list["AtlasRegion"] = Field(description="Of an emotion, where the bundle has any.")


class Atlas(BaseModel):
    """Every emotion and sub-class."""

    faces: int = Field(description="In the gallery.", examples=[28385])
    owned: bool = Field(description="Whether it is your own gallery, rather than the one that ships.", examples=[False])
    portraits: bool = Field(description="Whether the bundle brings portraits.", examples=[True])
    emotions: list[AtlasRegion]


def map_answer(found: SpaceMap, *, owned: bool) -> MapAnswer:
    """The answer for a map.

    Args:
        found: the map.
        owned: whether the gallery is your own, rather than the one that ships.
    """
    places = found.places.round(MAP_DECIMALS)
    return MapAnswer(
        middle=found.view.middle.tolist(),
        axes=found.view.axes.tolist(),
        emotions=_map_regions(found.emotions, found.sub_class_names),
        sub_classes=_map_regions(found.sub_classes, found.sub_class_names),
        faces=found.sample.faces,
        owned=owned,
        ids=list(found.sample.ids),
        x=places[:, 0].tolist(),
        y=places[:, 1].tolist(),
        emotion=found.sample_emotions,
    )


def atlas_answer(found: SpaceAtlas, *, owned: bool, portraits: bool) -> Atlas:
    """The answer for an atlas.

    Args:
        found: the atlas.
        owned: whether the gallery is your own, rather than the one that ships.
        portraits: whether the bundle has portraits.
    """
    return Atlas(
        faces=found.faces,
        owned=owned,
        portraits=portraits,
        emotions=[
            _atlas_region(region, [each for each in found.sub_classes if each.emotion == region.emotion])
            for region in found.emotions
        ],
    )


def _map_regions(ellipses: dict[str, Ellipse], names: Mapping[str, str]) -> list[MapRegion]:
    return [
        MapRegion(id=id_, name=names.get(id_), x=each.x, y=each.y, long=each.long, short=each.short, turn=each.turn)
        for id_, each in ellipses.items()
    ]


def _atlas_region(region: Region, sub_classes: Sequence[Region]) -> AtlasRegion:
    return AtlasRegion(
        id=region.id,
        name=region.name,
        description=region.description,
        faces=region.faces,
        share=region.share,
        votes=region.votes,
        nearest=[NearestFace(id=face.id, distance=face.distance) for face in region.nearest],
        sub_classes=[_atlas_region(each, []) for each in sub_classes],
    )

"""How a space becomes the map or the atlas."""

from collections.abc import Mapping, Sequence
from typing import Final

from mien.index.views.atlas import Region
from mien.index.views.map import Ellipse
from mien.service.answers.space import Atlas, AtlasRegion, Map, MapRegion, NearestFace
from mien.service.inference.space import SpaceAtlas, SpaceMap

MAP_DECIMALS: Final = 3


def map_answer(found: SpaceMap, *, owned: bool) -> Map:
    """The answer for a map.

    Args:
        found: the map.
        owned: whether the gallery is your own, rather than the one that ships.
    """
    places = found.places.round(MAP_DECIMALS)
    return Map(
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
    return [MapRegion(id=id_, name=names.get(id_), **vars(each)) for id_, each in ellipses.items()]


def _atlas_region(region: Region, sub_classes: Sequence[Region]) -> AtlasRegion:
    return AtlasRegion(
        id=region.id,
        name=region.name,
        description=region.description,
        faces=region.faces,
        share=region.share,
        votes=region.votes,
        nearest=[NearestFace(**face._asdict()) for face in region.nearest],
        sub_classes=[_atlas_region(each, []) for each in sub_classes],
    )

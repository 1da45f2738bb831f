"""The answer about what is served, and its limits."""

from pydantic import BaseModel, Field

from mien.service.inference.engine import Engine
from mien.service.schemas.rounded import Rounded
from mien.service.settings import Settings


class ServedGallery(BaseModel):
    """The gallery that is searched."""

    faces: int = Field(examples=[28385])
    read_only: bool = Field(description="Whether it is the gallery that ships.", examples=[False])
    keeps_thumbnails: bool = Field(description="Whether a face that is added keeps a small image.", examples=[True])


class TypicalDistance(BaseModel):
    """How far apart two faces are, by the mixture: the scale on which to read a distance."""

    same_emotion: Rounded = Field(description="Two faces of one emotion, in embedding units.", examples=[1.35])
    other_emotion: Rounded = Field(description="Two faces of different emotions.", examples=[3.4])


class Limits(BaseModel):
    """What a request may have."""

    images: int = Field(description="Images of one request: MIEN_MAX_IMAGES.", examples=[16])
    body_bytes: int = Field(description="Of a body: MIEN_MAX_BODY_BYTES.", examples=[22020096])
    faces: int = Field(description="Faces of an image that are answered: MIEN_MAX_FACES.", examples=[50])
    k: int = Field(description="Matches of a query: MIEN_MAX_K.", examples=[1000])


class Info(BaseModel):
    """What is served."""

    gallery: ServedGallery
    emotions: list[str] = Field(examples=[["neutral", "happiness"]])
    sub_classes: dict[str, str] = Field(
        description="Their names in words by id, or the id; empty where the bundle has none.",
        examples=[{"happiness/2": "happiness/closed smile"}],
    )
    typical_distance: TypicalDistance
    limits: Limits


def info(engine: Engine, settings: Settings) -> Info:
    """The answer about an engine that is served with some settings."""
    mixture, gallery = engine.bundle.mixture, engine.gallery
    sub_classes, names = engine.bundle.sub_classes, engine.bundle.sub_class_names
    same_emotion, other_emotion = mixture.typical_distances
    return Info(
        gallery=ServedGallery(
            faces=gallery.count(),
            read_only=gallery.read_only,
            keeps_thumbnails=settings.gallery_thumbnails and not gallery.read_only,
        ),
        emotions=list(mixture.emotions),
        sub_classes={each.id: names.get(each.id, each.id) for each in sub_classes.each} if sub_classes else {},
        typical_distance=TypicalDistance(same_emotion=same_emotion, other_emotion=other_emotion),
        limits=Limits(
            images=settings.max_images, body_bytes=settings.max_body_bytes, faces=settings.max_faces, k=settings.max_k
        ),
    )

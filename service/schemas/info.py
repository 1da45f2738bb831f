"""How the answer about what is served is made."""

from mien.service.answers.info import Info, Limits, ServedGallery, TypicalDistance
from mien.service.inference.engine import Engine
from mien.service.settings import Settings


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

"""The engine without a server, for ``mien classify`` and ``mien retrieve``."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mien.index.bundle.bundle import load_bundle
from mien.model.emotions import EmotionPrior
from mien.model.errors import ConfigError, ImageError, reason_of
from mien.model.faces.decoding import DecodingLimits, read_file
from mien.model.pipeline import load_pipeline
from mien.service.commands.terminal import console
from mien.service.inference.engine import Engine
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.inference.served_gallery import open_store
from mien.service.settings import Settings


def load_local_engine(
    bundle: Path, limits: DecodingLimits, gallery: str | None = None, prior: EmotionPrior = "uniform"
) -> Engine:
    """Load a bundle, and a gallery if one is named; settings of the environment do not count here.

    Args:
        bundle: folder of the bundle.
        limits: of what is decoded.
        gallery: folder or address of your own gallery; None searches the bundle's.
        prior: weights of the emotions in posteriors.

    Raises:
        ArtifactError: the bundle or the gallery cannot be used.
        ConfigError: there is no such gallery.
    """
    loaded = load_bundle(bundle)
    pipeline = load_pipeline(loaded.embedder_path, limits=limits)
    if gallery is None:
        return Engine(loaded, pipeline, max_k=len(loaded.gallery), prior=prior)
    if "://" not in gallery and not Path(gallery).is_dir():  # opening it would make an empty one
        raise ConfigError(f"expected the folder of a gallery, got {gallery}, which is not there")
    settings = Settings(bundle=bundle, gallery=gallery)
    return Engine(loaded, pipeline, max_k=settings.max_k, gallery=open_store(settings, loaded), prior=prior)


def predict_files(
    engine: Engine, files: Sequence[Path], *, already_cropped: bool, k: int | None = None
) -> Iterator[tuple[Path, Prediction | None]]:
    """A prediction for each file; a file without faces is reported, and its prediction is None.

    Args:
        engine: answers.
        files: images.
        already_cropped: the images are face crops.
        k: matches of each face; None searches none.
    """
    for path in files:
        try:
            faces = engine.pipeline.read_faces(read_file(path, engine.pipeline.limits), already_cropped=already_cropped)
        except (ImageError, OSError) as error:
            console.print(f"left out {path}: {reason_of(error)}")
            yield path, None
            continue
        yield path, engine.predict_one(InferenceRequest(faces=faces, k=k))

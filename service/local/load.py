"""``mien.load``: a bundle, and a gallery, ready to answer in this process."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from mien.model.embedder.provider import Provider
from mien.model.errors import ConfigError
from mien.service.operation.installation import missing_extra

if TYPE_CHECKING:
    from mien.model.faces.decoding import DecodingLimits
    from mien.service.local.client import LocalClient


def load(
    bundle: str | PathLike[str] | None = None,
    *,
    gallery: str | PathLike[str] | None = None,
    provider: Provider = "auto",
    threads: int = 1,
    limits: "DecodingLimits | None" = None,
) -> "LocalClient":
    """Load a bundle, and a gallery if one is named. Settings of the environment do not count.

    Args:
        bundle: folder of the bundle; None takes the one that ships.
        gallery: folder or address of your own gallery; None searches the one that ships with the bundle.
        provider: where the network runs: ``auto`` takes a GPU where there is one; see docs/settings.md.
        threads: of the network, for one batch on the CPU; 0 leaves the choice to ONNX Runtime. Of many images, each
            core embeds a batch of its own, so that more threads only wait for each other.
        limits: of an image; None takes those of the service.

    Raises:
        ArtifactError: the bundle or the gallery cannot be used.
        ConfigError: there is no such gallery or provider, or ONNX Runtime or FAISS is not installed.
    """
    if provider not in get_args(Provider):
        raise ConfigError(f"provider must be one of {', '.join(get_args(Provider))}, got {provider!r}")
    if not isinstance(threads, int) or threads < 0:
        raise ConfigError(f"threads must be a whole number from 0, got {threads!r}")
    try:
        from mien.index.bundle.bundle import load_bundle
        from mien.index.bundle.default import default_bundle
        from mien.index.bundle.manifest import EMBEDDER
        from mien.model.faces.decoding import DEFAULT_LIMITS
        from mien.model.pipeline import load_pipeline
        from mien.service.inference.engine import Engine
        from mien.service.local.client import MAX_K, LocalClient
    except ImportError as error:
        advice = missing_extra(error)
        if advice is None:
            raise
        raise ConfigError(advice) from error
    loaded = load_bundle(default_bundle() if bundle is None else Path(bundle))
    embedder = loaded.embedder_path
    pipeline = load_pipeline(embedder, limits=limits or DEFAULT_LIMITS, threads=threads, provider=provider)
    if gallery is None:
        return LocalClient(Engine(loaded, pipeline, max_k=len(loaded.gallery)))
    from mien.index.gallery.milvus.address import is_address
    from mien.index.gallery.open import open_gallery

    place = str(gallery)
    if not is_address(place) and not Path(place).is_dir():  # opening it would make an empty one
        raise ConfigError(f"expected the folder of a gallery, got {place}, which is not there")
    store = open_gallery(place, loaded.mixture.centroids.shape[1], loaded.manifest.sha256[EMBEDDER])
    return LocalClient(Engine(loaded, pipeline, max_k=MAX_K, gallery=store))

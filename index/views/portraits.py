"""Portraits of a bundle's points: loads the network that paints them."""

from mien.index.bundle.bundle import Bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.errors import BundleError
from mien.model.portraits.painter import PortraitPainter


def load_painter(bundle: Bundle) -> PortraitPainter | None:
    """The painter of a bundle's portraits; None where the bundle has no portrait network.

    Raises:
        BundleError: the portrait network belongs to another embedder.
        EmbedderError: it is broken.
    """
    if bundle.portraits_path is None:
        return None
    painter = PortraitPainter(bundle.portraits_path)
    if painter.metadata["embedder_sha256"] != bundle.manifest.sha256[EMBEDDER]:
        raise BundleError(f"{bundle.portraits_path} was made with another {EMBEDDER} than the one in its folder")
    return painter

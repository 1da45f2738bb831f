"""Opens the gallery that the settings name, or else the one that ships with the bundle."""

from mien.index.bundle.bundle import Bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.gallery.open import open_gallery
from mien.index.gallery.shipped import ShippedGallery
from mien.index.gallery.store import GalleryStore
from mien.index.gallery.vectors.gpu import EXACT_ON_DEVICE_UP_TO, device_of
from mien.index.gallery.vectors.policy import EXACT_UP_TO, IndexPolicy
from mien.service.settings import Settings


def open_store(settings: Settings, bundle: Bundle) -> GalleryStore:
    """Open the gallery to serve; a new one gets the shipped faces where the settings say so.

    Raises:
        ConfigError: its address cannot be read, or the client of its server is not installed.
        GalleryError: it cannot be opened, or has embeddings of another network than the bundle's.
    """
    shipped = ShippedGallery(bundle)
    if settings.gallery is None:
        return shipped
    policy = index_policy(settings)
    sha256 = bundle.manifest.sha256[EMBEDDER]
    store = open_gallery(settings.gallery, shipped.embedding_size, sha256, policy=policy)
    if settings.gallery_seed and store.is_new():
        for page in shipped.pages():
            store.add(page)
    return store


def index_policy(settings: Settings) -> IndexPolicy:
    """How a gallery in a folder is searched, by the settings.

    Raises:
        ConfigError: a GPU is required, and cannot be used.
    """
    to_device = device_of(settings.gallery_device)
    exact_up_to = EXACT_UP_TO if to_device is None else EXACT_ON_DEVICE_UP_TO
    return IndexPolicy(kind=settings.gallery_index, exact_up_to=exact_up_to, to_device=to_device)

"""Galleries on the tests' Milvus server.

Creating a collection takes seconds, so collections of earlier tests are emptied and used again.
"""

from collections import Counter
from pathlib import Path
from typing import Final

from mien.index.gallery.filters import Comparison, Not
from mien.index.gallery.milvus.address import parse_address
from mien.index.gallery.milvus.gallery import MilvusGallery, open_milvus_gallery
from tests.support.milvus_server import shared_server

_folders: Final[dict[str, Path]] = {}
"""Name of a collection to the folder that it replaces in this test, or did in an earlier one."""

_open: Final[Counter[str]] = Counter()


def open_pooled(folder: Path, embedding_size: int, embedder_sha256: str) -> MilvusGallery:
    """The gallery that replaces a folder: it has what was added under the same folder, and nothing else."""
    kind = f"faces_{embedding_size}_{embedder_sha256[:4]}"  # a collection belongs to a network
    folders = {name: each for name, each in _folders.items() if name.startswith(f"{kind}_")}
    names = [name for name, each in folders.items() if each == folder]
    is_reused = not names
    names += [name for name, each in folders.items() if each.parent != folder.parent and not _open[name]]
    name = names[0] if names else f"{kind}_{len(_folders)}"
    _folders[name] = folder
    _open[name] += 1
    gallery = open_gallery(name, embedding_size, embedder_sha256)
    if is_reused:
        gallery.delete_where(Not(Comparison(("id",), "eq", "")))
    close_gallery = gallery.close

    def close() -> None:
        _open[name] -= 1
        close_gallery()

    gallery.close = close  # type: ignore[method-assign]
    return gallery


def open_gallery(name: str, embedding_size: int, embedder_sha256: str, options: str = "") -> MilvusGallery:
    """A gallery of the tests' server, by its name."""
    address = parse_address(f"milvus://{shared_server().address}/{name}{options}")
    return open_milvus_gallery(address, embedding_size, embedder_sha256)

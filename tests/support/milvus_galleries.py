"""Galleries on the Milvus server of the tests. Making a collection takes seconds, so those of tests that ended are used
again, emptied."""

from collections import Counter
from pathlib import Path
from typing import Final

from mien.index.gallery.filters import Comparison, Not
from mien.index.gallery.milvus.address import parse_address
from mien.index.gallery.milvus.gallery import MilvusGallery, open_milvus_gallery
from tests.support.milvus_server import shared_server

_owners: Final[dict[str, Path]] = {}
"""Name of a gallery to the folder that stands for it in the present test, or did in one that ended."""

_open: Final[Counter[str]] = Counter()


def open_pooled(folder: Path, embedding_size: int, embedder_sha256: str) -> MilvusGallery:
    """The gallery that stands for a folder: what was added under the same folder is there, and nothing else."""
    kind = f"faces_{embedding_size}_{embedder_sha256[:4]}"  # a collection belongs to a network
    alike = {name: owner for name, owner in _owners.items() if name.startswith(f"{kind}_")}
    name = next((name for name, owner in alike.items() if owner == folder), None)
    taken_over = name is None
    if name is None:
        name = next((name for name, owner in alike.items() if owner.parent != folder.parent and not _open[name]), None)
    if name is None:
        name = f"{kind}_{len(_owners)}"
    _owners[name] = folder
    _open[name] += 1
    gallery = open_gallery(name, embedding_size, embedder_sha256)
    if taken_over:
        gallery.delete_where(Not(Comparison(("id",), "eq", "")))
    closing = gallery.close

    def close() -> None:
        _open[name] -= 1
        closing()

    gallery.close = close  # type: ignore[method-assign]
    return gallery


def open_gallery(name: str, embedding_size: int, embedder_sha256: str, options: str = "") -> MilvusGallery:
    """A gallery of the tests' server by its name."""
    address = parse_address(f"milvus://{shared_server().address}/{name}{options}")
    return open_milvus_gallery(address, embedding_size, embedder_sha256)

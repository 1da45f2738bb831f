"""The folder of an embedded gallery: what its files are called, who holds it, and whose embeddings it has.

gallery.sqlite   the durable truth (``embedded.database``)
residents        embeddings as they lie in memory, for a quick restart (``vectors.vectors_file``)
cells.npz        which cell each face is in, where the gallery is searched by cells (``vectors.ivf_file``)
lock             held shared by every process that has the gallery open, or alone by one that changes its form
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.database import GalleryDatabase

DATABASE: Final = "gallery.sqlite"
RESIDENTS: Final = "residents"
CELLS: Final = "cells.npz"
LOCK: Final = "lock"


def network_of(folder: Path) -> tuple[str, int]:
    """SHA-256 and dimensions of the network whose embeddings the gallery of a folder holds.

    Raises:
        GalleryError: it is no gallery, or of a newer version.
    """
    database = GalleryDatabase(folder / DATABASE)
    try:
        state = database.state()
    finally:
        database.close()
    return state.embedder_sha256, state.embedding_size


def check_network(folder: Path, found_sha256: str, found_size: int, wanted_sha256: str, wanted_size: int) -> None:
    """Refuse embeddings of another network.

    Raises:
        GalleryError: they are.
    """
    if (found_sha256, found_size) != (wanted_sha256, wanted_size):
        raise GalleryError(
            f"{folder} holds {found_size} dimensions of the network {found_sha256[:12]}…, wanted are {wanted_size} "
            f"of {wanted_sha256[:12]}…: embeddings of two networks cannot be compared"
        )


def lock_folder(folder: Path, *, alone: bool) -> Any:
    """Hold a gallery's folder, with others or alone, until what comes back is closed.

    Raises:
        GalleryError: it cannot be written, or another process holds it.
    """
    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        file = (folder / LOCK).open("a+b")
    except OSError as error:
        raise GalleryError(f"{folder} cannot be the folder of a gallery: {error.strerror}") from None
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        file.close()
        wanted = "alone" if alone else "with others"
        raise GalleryError(f"another process holds the gallery {folder}: it cannot be opened {wanted} now") from None
    return file


@contextmanager
def held(path: Path) -> Iterator[Any]:
    """Hold a file alone within the block, which gets None where another process holds it."""
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
            return
        yield file

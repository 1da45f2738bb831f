"""The folder of an embedded gallery: its files, its lock, and the network that its embeddings come from.

gallery.sqlite   everything that must not be lost (``embedded.database``)
residents        embeddings as they lie in memory, for a quick restart (``vectors.vectors_file``)
cells.npz        inverted lists, where the gallery is searched approximately (``vectors.ivf``)
lock             locked shared by every process that has the gallery open, or exclusively by one
reserve          space of a full disk in which faces can be deleted

Only their owner can read and write them.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mien.index.errors import GalleryError
from mien.index.gallery.embedded.database import GalleryDatabase
from mien.index.gallery.validation import check_network
from mien.model.files import open_private

DATABASE: Final = "gallery.sqlite"
VECTORS: Final = "residents"
IVF: Final = "cells.npz"
LOCK: Final = "lock"
RESERVE: Final = "reserve"

_OWN: Final = (DATABASE, VECTORS, IVF, LOCK, RESERVE)
"""What the names of a gallery's files begin with."""

RESERVE_BYTES: Final = 4 * 2**20
"""Enough to delete the faces of a person: what a deletion changes is written to a log first."""


def network_of(folder: Path) -> tuple[str, int]:
    """SHA-256 and dimensions of the network that the embeddings of a gallery come from.

    Raises:
        GalleryError: the folder is no gallery, or one of a newer version.
    """
    with closing(GalleryDatabase(folder / DATABASE)) as database:
        state = database.state()
    return state.embedder_sha256, state.embedding_size


def open_database(folder: Path, embedding_size: int, embedder_sha256: str) -> GalleryDatabase:
    """The database of a folder, for embeddings of a network.

    Raises:
        GalleryError: the folder is no gallery, or one of a newer version or another network.
    """
    database = GalleryDatabase(folder / DATABASE)
    try:
        state = database.state()
        check_network(folder, (state.embedder_sha256, state.embedding_size), (embedder_sha256, embedding_size))
    except BaseException:
        database.close()
        raise
    return database


def lock_folder(folder: Path, *, alone: bool) -> Any:
    """Lock a gallery's folder, shared or alone, until the returned file is closed.

    Raises:
        GalleryError: the folder is not writable, or another process has locked it.
    """
    mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        file = open(folder / LOCK, "a+b", opener=open_private)  # noqa: SIM115 - closed by who holds the lock
    except OSError as error:
        raise GalleryError(f"{folder} cannot be the folder of a gallery: {error.strerror}") from None
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except OSError:
        file.close()
        wanted = "alone" if alone else "with others"
        raise GalleryError(f"another process holds the gallery {folder}: it cannot be opened {wanted} now") from None
    return file


@contextmanager
def lock_file(path: Path) -> Iterator[bool]:
    """Lock a file within the block; false if another process has locked it."""
    with open(path, "a+b", opener=open_private) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def make_private(folder: Path) -> str | None:
    """Let only the owner read and write a gallery's folder and its files; returns why that is not possible."""
    try:
        folder.chmod(0o700)
        for path in folder.iterdir():
            with suppress(FileNotFoundError):  # another process may be at work
                if path.name.startswith(_OWN):
                    path.chmod(0o600)
    except PermissionError:
        return f"{folder} belongs to another user: who may read it is up to them"
    return None


def keep_reserve(folder: Path) -> None:
    """Take the space in which faces can be deleted on a full disk, if there is any."""
    path = folder / RESERVE
    with suppress(OSError):
        if path.exists() and path.stat().st_size == RESERVE_BYTES:
            return
        with open(path, "wb", opener=open_private) as file:
            try:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            except OSError:
                path.unlink()


def release_reserve(folder: Path) -> None:
    """Give back the space of ``keep_reserve``."""
    (folder / RESERVE).unlink(missing_ok=True)

"""Snapshots of galleries: folders that hold a database of the embedded gallery, whichever implementation wrote them."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from mien.index.gallery.embedded.folder import DATABASE, lock_folder
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.embedded.snapshots import new_snapshot, open_snapshot
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore

DAMAGED: Final = f"{DATABASE}.damaged"
"""Where a database goes that cannot be read, not even in part, when a snapshot takes its place."""


def write_snapshot(folder: Path, gallery: GalleryStore) -> int:
    """Write all faces of a gallery to a new folder; returns how many there are.

    Raises:
        GalleryError: the folder exists already.
    """
    with new_snapshot(folder) as draft:
        with closing(open_embedded_gallery(draft, gallery.embedding_size, gallery.embedder_sha256)) as snapshot:
            for page in gallery.pages():
                snapshot.add(page)
            count = snapshot.count()
        for path in draft.iterdir():
            if path.name != DATABASE:
                path.unlink()
    return count


def read_snapshot(folder: Path, embedding_size: int, embedder_sha256: str) -> Iterator[list[GalleryFace]]:
    """All faces of a snapshot or an embedded gallery at one moment, with thumbnails, a page at a time.

    Everything is checked before the first page.

    Raises:
        GalleryError: the folder holds no gallery, a damaged one, one of a newer version or another network.
    """
    with ExitStack() as stack:
        snapshot = stack.enter_context(open_snapshot(folder, embedding_size, embedder_sha256))
        opened = stack.pop_all()

    def pages() -> Iterator[list[GalleryFace]]:
        with opened:
            yield from snapshot.pages()

    return pages()


def replace_damaged(folder: Path, snapshot: Path, embedding_size: int, embedder_sha256: str) -> int:
    """Put a snapshot in the place of a gallery that cannot be opened any more; returns how many faces it has.

    The damaged database stays in the folder, as ``DAMAGED``.

    Raises:
        GalleryError: the snapshot cannot be restored; nothing was changed. Or a process has the gallery open.
    """
    with open_snapshot(snapshot, embedding_size, embedder_sha256), closing(lock_folder(folder, alone=True)):
        for end in ("-wal", "-shm", ""):
            path = folder / f"{DATABASE}{end}"
            if path.exists():
                path.replace(folder / f"{DAMAGED}{end}")
    with closing(open_embedded_gallery(folder, embedding_size, embedder_sha256)) as gallery:
        return gallery.restore(snapshot)

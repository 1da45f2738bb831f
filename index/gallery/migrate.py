"""Copying a gallery to another place: from a folder to a distributed database, back, or between two of a kind."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from mien.index.errors import GalleryError
from mien.index.gallery.open import open_gallery, read_pages


@dataclass(frozen=True)
class Migration:
    """The result of a migration.

    Attributes:
        added: faces that are new in the target.
        unchanged: faces that the target had already with the same content, such as those of an interrupted run.
        replaced: faces that the target had with other content.
    """

    added: int = 0
    unchanged: int = 0
    replaced: int = 0

    @property
    def faces(self) -> int:
        """All faces of the source."""
        return self.added + self.unchanged + self.replaced


def migrate(
    source: str,
    target: str,
    embedding_size: int,
    embedder_sha256: str,
    *,
    replace: bool = False,
    on_progress: Callable[[Migration], object] = lambda _: None,
) -> Migration:
    """Copy every face of a gallery, with its thumbnail, into another; neither loses any.

    A run that was interrupted continues when it is started again: faces that were copied are not written twice.

    Args:
        source: a folder or an address; see ``mien.index.gallery.open``.
        target: likewise; created if it does not exist.
        embedding_size: d, dimensions of the network.
        embedder_sha256: of the network that made the embeddings of both.
        replace: faces that the target has with other content are replaced.
        on_progress: called after each page with the result so far.

    Raises:
        GalleryError: a gallery cannot be used; or the target has fewer faces at the end than were copied.
        FaceConflictError: the target has an id with other content, and ``replace`` is false.
    """
    if source.rstrip("/") == target.rstrip("/"):
        raise GalleryError(f"the target must be another place than the source, got {target} for both")
    pages = read_pages(source, embedding_size, embedder_sha256)
    done = Migration()
    with closing(open_gallery(target, embedding_size, embedder_sha256)) as gallery:
        for page in pages:
            result = gallery.add(page, replace=replace)
            done = Migration(
                done.added + len(result.added),
                done.unchanged + len(result.unchanged),
                done.replaced + len(result.replaced),
            )
            on_progress(done)
        found = gallery.count()
    if found < done.faces:
        raise GalleryError(f"{done.faces} faces were copied to {target}, but it has {found}")
    return done

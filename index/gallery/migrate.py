"""Moving a gallery to another place: from a folder to a distributed database, back, or from one to another."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from mien.index.errors import GalleryError
from mien.index.gallery.open import open_gallery, pages_of


@dataclass(frozen=True)
class Migration:
    """What a migration came to.

    Attributes:
        added: faces that are new in the target.
        unchanged: faces that were there already, as they are in the source: what an earlier, interrupted run has left.
        replaced: faces that were there with other content.
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
    """Copy every face of a gallery, with its thumbnail, into another; the source stays as it is.

    A run that was interrupted goes on where it is started again: what is there already is not written twice. Faces
    that the target has besides stay.

    Args:
        source: a folder or an address; see ``mien.index.gallery.open``.
        target: likewise; made if it is not there.
        embedding_size: d, dimensions of the network.
        embedder_sha256: of the network that made the embeddings of both.
        replace: faces that the target has with other content are replaced.
        on_progress: called after each page with what has been done so far.

    Raises:
        GalleryError: a gallery cannot be used; or the target has fewer faces at the end than were copied.
        FaceConflictError: the target has an id with other content, and ``replace`` is false.
    """
    if source.rstrip("/") == target.rstrip("/"):
        raise GalleryError(f"a gallery is migrated to another place, got {target} for both")
    pages = pages_of(source, embedding_size, embedder_sha256)
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

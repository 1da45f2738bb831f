"""``mien gallery migrate``: a gallery to another place, with progress."""

from pathlib import Path

from mien.index.bundle.manifest import EMBEDDER, read_manifest
from mien.index.gallery.migrate import migrate
from mien.model.embedder.embedder import Embedder
from mien.service.commands.terminal import console, output, progress_bar


def migrate_gallery(source: str, target: str, bundle: Path, *, replace: bool = False) -> int:
    """Copy every face of a gallery into another; returns the exit status.

    Args:
        source: folder, or address such as ``milvus://host:19530/collection``.
        target: likewise.
        bundle: whose network made the embeddings.
        replace: faces that the target has with other content are replaced.

    Raises:
        BundleError: the folder is no bundle.
        ConfigError: an address cannot be read, or its client is not installed.
        GalleryError: a gallery cannot be used.
        FaceConflictError: the target has an id with other content, and ``replace`` is false.
    """
    sha256 = read_manifest(bundle).sha256[EMBEDDER]
    size = Embedder(bundle / EMBEDDER).embedding_size
    with progress_bar() as bar:
        task = bar.add_task("faces", total=None, note="")
        done = migrate(
            source,
            target,
            size,
            sha256,
            replace=replace,
            on_progress=lambda so_far: bar.update(task, completed=so_far.faces),
        )
    output.print(
        f"{done.faces} faces: {done.added} added, {done.unchanged} there already, {done.replaced} replaced",
        markup=False,
    )
    console.print(f"the gallery is at {target} now; {source} is as it was", markup=False)
    return 0

"""Parquet: the library for it, and the export of a gallery."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore, every_face
from mien.index.gallery.validation import json_text
from mien.model.errors import ConfigError
from mien.model.files import write_atomically

EMBEDDER_KEY: Final = b"mien.embedder_sha256"
"""The key of the embeddings' network in the metadata of a file."""

_FACES_AT_ONCE: Final = 2_000
_THUMBNAILS_AT_ONCE: Final = 200
_TEXTS: Final = ("label", "emotion", "sub_class", "subject", "content_sha256")


def pyarrow() -> Any:
    """The library that reads and writes Parquet.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: pip install 'mien[parquet]'") from None
    return pyarrow


def export_parquet(
    store: GalleryStore, path: Path, on_progress: Callable[[int], object] = lambda _: None, *, thumbnails: bool = False
) -> int:
    """Write all faces to a Parquet file, whole or not at all; returns how many.

    Args:
        store: the gallery.
        path: the file.
        on_progress: called after each batch with its number of faces.
        thumbnails: also write the thumbnails.

    Raises:
        ConfigError: pyarrow is not installed.
        GalleryError: the gallery fails.
    """
    arrow = pyarrow()
    text = arrow.string()
    schema = arrow.schema(
        [
            ("id", text),
            ("embedding", arrow.list_(arrow.float32(), store.embedding_size)),
            *((name, text) for name in (*_TEXTS, "metadata")),
            ("time", arrow.float64()),
            *([("thumbnail", arrow.binary())] if thumbnails else []),
        ],
        metadata={EMBEDDER_KEY: store.embedder_sha256.encode()},
    )
    count = 0
    with write_atomically(path) as file, arrow.parquet.ParquetWriter(file, schema) as writer:
        faces = every_face(store)
        while block := list(islice(faces, _THUMBNAILS_AT_ONCE if thumbnails else _FACES_AT_ONCE)):
            files = store.thumbnails([face.id for face in block]) if thumbnails else {}
            rows = [{**_row(face), "thumbnail": files.get(face.id)} for face in block]
            writer.write_batch(arrow.RecordBatch.from_pylist(rows, schema))
            count += len(block)
            on_progress(len(block))
    return count


def _row(face: GalleryFace) -> dict[str, Any]:
    fields = {name: getattr(face, name) for name in ("id", "embedding", "time", *_TEXTS)}
    return {**fields, "metadata": json_text(face.metadata)}

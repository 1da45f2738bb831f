"""Manifests: lists of faces to import into a gallery, out of folders, tables and archives.

folder          every file below it; the id is the path within, and the folder's name the label if it is an emotion
*.csv           columns path, id, label, subject, metadata (JSON), time; only path is required
*.parquet       the same, or an ``embedding`` instead of a path, as ``mien gallery export`` writes it
*.npz           the archive of ``mien embed``: its embeddings are imported unchanged
"""

import csv
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import GalleryError
from mien.index.gallery.filters import seconds_of
from mien.model.errors import ConfigError, DatasetError
from mien.model.files import files_below
from mien.service.bulk.object_store import StoredFile, is_address, place_of
from mien.service.bulk.parquet import EMBEDDER_KEY, pyarrow

COLUMNS: Final = frozenset({"path", "id", "label", "subject", "metadata", "time", "embedding"})
"""The columns of a table."""

EXPORT_COLUMNS: Final = frozenset({"emotion", "sub_class", "content_sha256", "thumbnail"})
"""Further columns of an exported table."""

_ROWS_AT_ONCE: Final = 1024


@dataclass(frozen=True)
class ManifestFace:
    """A face to import: its image or its embedding.

    Attributes:
        id: of the face in the gallery.
        source: where the face is listed, for reports.
        path: the image file, on this machine or in an object store.
        embedding: (d,) float32.
        label: as in ``GalleryFace``, as are the following.
        fault: why the face cannot be imported, if that is known already.
    """

    id: str
    source: str
    path: Path | StoredFile | None = None
    embedding: NDArray[np.float32] | None = None
    label: str | None = None
    subject: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    time: float | None = None
    content_sha256: str | None = None
    thumbnail: bytes | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Manifest:
    """Faces to import.

    Attributes:
        count: how many.
        embedder_sha256: of the network that made their embeddings; None if they are images, or if it is not known.
        faces: one after the other, read when they are needed.
    """

    count: int
    embedder_sha256: str | None
    faces: Iterator[ManifestFace]

    def check_embedder_matches(self, embedder_sha256: str) -> None:
        """Refuse embeddings of another network than the gallery's.

        Raises:
            GalleryError: the networks differ.
        """
        if self.embedder_sha256 not in (None, embedder_sha256):
            raise GalleryError(
                f"the embeddings were made by the network {str(self.embedder_sha256)[:12]}…, those of the gallery "
                f"by {embedder_sha256[:12]}…: embeddings of two networks cannot be compared"
            )


def open_manifest(path: Path | StoredFile, emotions: Sequence[str]) -> Manifest:
    """Open a manifest.

    Args:
        path: a folder, a table or an archive.
        emotions: names of folders that are labels.

    Raises:
        DatasetError: it is not a manifest, or broken.
        ConfigError: it is Parquet, and pyarrow is not installed.
    """
    if path.is_dir():
        files: list[Path | StoredFile] = [*(files_below(path) if isinstance(path, Path) else path.below())]
        return Manifest(len(files), None, (_file_entry(file, path, emotions) for file in files))
    if not path.is_file():
        raise DatasetError(f"{path}: expected a folder, a CSV or Parquet file, or faces.npz, got nothing there")
    openers = {".csv": _open_csv, ".parquet": _open_parquet, ".npz": _open_archive}
    if path.suffix.lower() not in openers:
        raise DatasetError(f"{path}: expected a folder, or a file that ends in {', '.join(openers)}")
    return openers[path.suffix.lower()](path)


def _file_entry(file: Path | StoredFile, root: Path | StoredFile, emotions: Sequence[str]) -> ManifestFace:
    return ManifestFace(
        file.relative_to(root).as_posix(),  # type: ignore[arg-type]
        str(file),
        path=file,
        label=file.parent.name if file.parent.name in emotions else None,
    )


def _open_csv(path: Path | StoredFile) -> Manifest:
    try:
        with _open(path) as file, TextIOWrapper(file, newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text, restkey="more"))
            columns = set(rows[0] if rows else ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a CSV file: {error}") from None
    _check_columns(path, columns - {"more"}, {"path"})
    return Manifest(len(rows), None, (_row_entry(row, path, number + 2) for number, row in enumerate(rows)))


def _open_parquet(path: Path | StoredFile) -> Manifest:
    arrow = pyarrow()
    try:
        file = arrow.parquet.ParquetFile(path if isinstance(path, Path) else path.open())
    except (OSError, arrow.ArrowException) as error:
        raise DatasetError(f"{path} is not a Parquet file: {error}") from None
    columns = set(file.schema_arrow.names)
    _check_columns(path, columns - EXPORT_COLUMNS, {"embedding"} if "embedding" in columns else {"path"})
    sha256 = (file.schema_arrow.metadata or {}).get(EMBEDDER_KEY)

    def faces() -> Iterator[ManifestFace]:
        number = 0
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                yield _row_entry(row, path, number)

    return Manifest(file.metadata.num_rows, sha256.decode() if sha256 else None, faces())


def _open_archive(path: Path | StoredFile) -> Manifest:
    try:
        with _open(path) as file, np.load(file, allow_pickle=False) as archive:
            paths, embeddings = archive["paths"].tolist(), archive["embeddings"].astype(np.float32)
            sha256 = str(archive["embedder_sha256"]) if "embedder_sha256" in archive.files else None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is not an archive of mien embed: {error}") from None
    if embeddings.ndim != 2 or len(paths) != len(embeddings):
        raise DatasetError(f"{path}: expected one embedding for each path, got {len(paths)} and {embeddings.shape}")

    def faces() -> Iterator[ManifestFace]:
        seen: dict[str, int] = {}
        for name, embedding in zip(paths, embeddings, strict=True):
            seen[name] = seen.get(name, 0) + 1
            face_id = Path(name).as_posix().lstrip("/") + (f"#{seen[name]}" if seen[name] > 1 else "")
            yield ManifestFace(face_id, name, embedding=embedding, metadata={"path": name})

    return Manifest(len(paths), sha256, faces())


def _open(path: Path | StoredFile) -> Any:
    return path.open("rb") if isinstance(path, Path) else path.open()


def _check_columns(path: Path | StoredFile, columns: set[str], required: set[str]) -> None:
    if columns and not required <= columns <= COLUMNS:
        raise DatasetError(
            f"{path}: expected the column {', '.join(required)} and any of "
            f"{', '.join(sorted(COLUMNS - {'embedding'}))}, got {', '.join(sorted(map(str, columns)))}"
        )


def _row_entry(row: Mapping[str, Any], table: Path | StoredFile, number: int) -> ManifestFace:
    source = f"{table.name}, row {number}"
    values = {name: value for name, value in row.items() if value not in (None, "")}
    name = str(values.get("path", ""))
    face_id = str(values.get("id", name.partition("://")[2] or name))  # the scheme of an address is not part of the id
    if "more" in row:
        return ManifestFace(face_id, source, fault="the row has more fields than the heading")
    if not face_id:
        return ManifestFace(face_id, source, fault="the row has neither a path nor an id")
    try:
        metadata = values.get("metadata", {})
        return ManifestFace(
            face_id,
            source,
            path=_image_path(table.parent, name) if name and "embedding" not in values else None,
            embedding=np.array(values["embedding"], dtype=np.float32) if "embedding" in values else None,
            label=values.get("label"),
            subject=values.get("subject"),
            metadata=json.loads(metadata) if isinstance(metadata, str) else metadata,
            time=_seconds(values["time"]) if "time" in values else None,
            content_sha256=values.get("content_sha256"),
            thumbnail=_check_bytes(values["thumbnail"]) if "thumbnail" in values else None,
        )
    except (ValueError, TypeError, RecursionError, ConfigError) as error:
        return ManifestFace(face_id, source, fault=f"the row cannot be read: {error}")


def _check_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"a thumbnail must be the bytes of an image file, got {type(value).__name__}")
    return value


def _image_path(folder: Path | StoredFile, name: str) -> Path | StoredFile:
    return place_of(name) if isinstance(folder, Path) and is_address(name) else folder / name


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass  # a date
    return seconds_of(value)

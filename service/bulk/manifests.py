"""Manifests: lists of faces to import into a gallery, out of folders, tables and archives.

folder          every file below it; the id is the path within, and the folder's name the label if it is an emotion
*.csv           columns path, id, label, subject, metadata (JSON), time; path alone must be there
*.parquet       the same, or an ``embedding`` in place of a path, as ``mien gallery export`` writes it
*.npz           what ``mien embed`` wrote: the embeddings are taken as they are
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

from mien.index.gallery.filters import seconds_of
from mien.model.errors import ConfigError, DatasetError
from mien.model.files import files_below
from mien.service.bulk.object_store import StoredFile, is_address, place_of

COLUMNS: Final = frozenset({"path", "id", "label", "subject", "metadata", "time", "embedding"})
"""What a table may say of a face; besides, an exported one has what the mixture named, and thumbnails if asked for."""

EXPORTED: Final = frozenset({"emotion", "sub_class", "content_sha256", "thumbnail"})

EMBEDDER_KEY: Final = b"mien.embedder_sha256"
"""In the metadata of a Parquet file: the network of its embeddings."""

_ROWS_AT_ONCE: Final = 1024


@dataclass(frozen=True)
class Planned:
    """A face to import.

    Attributes:
        id: that it will have.
        source: where it stands, for reports.
        path: its image file, on this machine or in an object store, or
        embedding: (d,) float32.
        label: as in ``GalleryFace``, as are the rest.
        fault: why it cannot be imported, if it is known already.
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
        embedder_sha256: of the network that made their embeddings; None where they are images, or nobody noted it.
        faces: one after the other, read as they are taken.
    """

    count: int
    embedder_sha256: str | None
    faces: Iterator[Planned]


def read_manifest(path: Path | StoredFile, emotions: Sequence[str]) -> Manifest:
    """Open a manifest.

    Args:
        path: a folder, a table or an archive.
        emotions: folders with these names are labels.

    Raises:
        DatasetError: it is none, or broken.
        ConfigError: it is Parquet, and pyarrow is not installed.
    """
    if path.is_dir():
        files: list[Path | StoredFile] = [*(files_below(path) if isinstance(path, Path) else path.below())]
        return Manifest(len(files), None, (_of_file(file, path, emotions) for file in files))
    if not path.is_file():
        raise DatasetError(f"{path}: expected a folder, a CSV or Parquet file, or faces.npz, got nothing there")
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".npz": _read_archive}
    if path.suffix.lower() not in readers:
        raise DatasetError(f"{path}: expected a folder, or a file that ends in {', '.join(readers)}")
    return readers[path.suffix.lower()](path)


def pyarrow() -> Any:
    """The library that reads and writes Parquet.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: install mien with the extra 'parquet'") from None
    return pyarrow


def _of_file(file: Path | StoredFile, root: Path | StoredFile, emotions: Sequence[str]) -> Planned:
    return Planned(
        file.relative_to(root).as_posix(),  # type: ignore[arg-type]
        str(file),
        path=file,
        label=file.parent.name if file.parent.name in emotions else None,
    )


def _read_csv(path: Path | StoredFile) -> Manifest:
    try:
        with _opened(path) as file, TextIOWrapper(file, newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text, restkey="more"))
            columns = set(rows[0] if rows else ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is no CSV file: {error}") from None
    _check_columns(path, columns - {"more"}, {"path"})
    return Manifest(len(rows), None, (_of_row(row, path, number + 2) for number, row in enumerate(rows)))


def _read_parquet(path: Path | StoredFile) -> Manifest:
    arrow = pyarrow()
    try:
        file = arrow.parquet.ParquetFile(path if isinstance(path, Path) else path.open())
    except (OSError, arrow.ArrowException) as error:
        raise DatasetError(f"{path} is no Parquet file: {error}") from None
    columns = set(file.schema_arrow.names)
    _check_columns(path, columns - EXPORTED, {"embedding"} if "embedding" in columns else {"path"})
    noted = (file.schema_arrow.metadata or {}).get(EMBEDDER_KEY)

    def faces() -> Iterator[Planned]:
        number = 0
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                yield _of_row(row, path, number)

    return Manifest(file.metadata.num_rows, noted.decode() if noted else None, faces())


def _read_archive(path: Path | StoredFile) -> Manifest:
    try:
        with _opened(path) as file, np.load(file, allow_pickle=False) as archive:
            paths, embeddings = archive["paths"].tolist(), archive["embeddings"].astype(np.float32)
            noted = str(archive["embedder_sha256"]) if "embedder_sha256" in archive.files else None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is not what mien embed writes: {error}") from None
    if embeddings.ndim != 2 or len(paths) != len(embeddings):
        raise DatasetError(f"{path}: expected one embedding for each path, got {len(paths)} and {embeddings.shape}")

    def faces() -> Iterator[Planned]:
        seen: dict[str, int] = {}
        for name, embedding in zip(paths, embeddings, strict=True):
            seen[name] = seen.get(name, 0) + 1
            face_id = Path(name).as_posix().lstrip("/") + (f"#{seen[name]}" if seen[name] > 1 else "")
            yield Planned(face_id, name, embedding=embedding, metadata={"path": name})

    return Manifest(len(paths), noted, faces())


def _opened(path: Path | StoredFile) -> Any:
    return path.open("rb") if isinstance(path, Path) else path.open()


def _check_columns(path: Path | StoredFile, columns: set[str], needed: set[str]) -> None:
    if not columns:
        return
    if not needed <= columns or not columns <= COLUMNS:
        raise DatasetError(
            f"{path}: expected the column {', '.join(needed)} and any of {', '.join(sorted(COLUMNS - {'embedding'}))}, "
            f"got {', '.join(sorted(map(str, columns)))}"
        )


def _of_row(row: Mapping[str, Any], table: Path | StoredFile, number: int) -> Planned:
    source = f"{table.name}, row {number}"
    given = {name: value for name, value in row.items() if value not in (None, "")}
    name = str(given.get("path", ""))
    face_id = str(given.get("id", name.partition("://")[2] or name))  # an address has no id in it but what it names
    if "more" in row:
        return Planned(face_id, source, fault="the row has more fields than the heading")
    if not face_id:
        return Planned(face_id, source, fault="the row has neither a path nor an id")
    try:
        metadata = given.get("metadata", {})
        return Planned(
            face_id,
            source,
            path=_place(table.parent, name) if name and "embedding" not in given else None,
            embedding=np.array(given["embedding"], dtype=np.float32) if "embedding" in given else None,
            label=given.get("label"),
            subject=given.get("subject"),
            metadata=json.loads(metadata) if isinstance(metadata, str) else metadata,
            time=_seconds(given["time"]) if "time" in given else None,
            content_sha256=given.get("content_sha256"),
            thumbnail=_bytes(given["thumbnail"]) if "thumbnail" in given else None,
        )
    except (ValueError, TypeError, RecursionError, ConfigError) as error:
        return Planned(face_id, source, fault=f"the row cannot be read: {error}")


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"a thumbnail should be the bytes of an image file, got {type(value).__name__}")
    return value


def _place(folder: Path | StoredFile, name: str) -> Path | StoredFile:
    return place_of(name) if isinstance(folder, Path) and is_address(name) else folder / name


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    return seconds_of(value)

"""Files: atomic writes, tables, and listing a folder in a fixed order."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_atomically(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces ``path`` when the block ends without an error.

    If the process is killed or fails, such as on a full disk, ``path`` stays as it was; after an error, the
    temporary file is removed. A ``private`` file can be read and written by its owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.partial")
    try:
        with open(temporary, "wb", opener=open_private if private else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def open_private(path: str, flags: int) -> int:
    """An opener for ``open``: a new file can be read and written by its owner alone."""
    return os.open(path, flags, 0o600)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as CSV with a heading, atomically."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=columns)
    writer.writeheader()
    writer.writerows(rows)
    with write_atomically(path) as file:
        file.write(text.getvalue().encode())


def files_below(path: Path) -> Iterator[Path]:
    """Every file below a folder except hidden ones, in sorted order; a path that is not a folder is yielded as it is.

    Symbolic links are followed; a folder that was entered already through another link is skipped.
    """
    yield from _below(path, set())


def _below(path: Path, seen: set[Path]) -> Iterator[Path]:
    try:
        names = sorted(entry.name for entry in os.scandir(path)) if path.is_dir() else None
        folder = path.resolve()
    except OSError:
        names = None
    if names is None:
        yield path  # a path that cannot be read is reported by the caller that reads it
    elif folder not in seen:
        seen.add(folder)
        for name in names:
            if not name.startswith("."):
                yield from _below(path / name, seen)

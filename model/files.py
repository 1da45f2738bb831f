"""Files: written whole or not at all, and found below a folder in a fixed order."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its place at ``path`` when the block ends well.

    A kill or an error at any moment leaves the old file or the new one, never a part; after an error, such as a full
    disk, the part is taken away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def files_below(path: Path) -> Iterator[Path]:
    """Every file below a folder, in sorted order, but for hidden ones; a path that is no folder comes as it is.

    Links are followed; a folder that was seen already, through whatever link, is not entered again.
    """
    yield from _below(path, set())


def _below(path: Path, seen: set[Path]) -> Iterator[Path]:
    try:
        names = sorted(entry.name for entry in os.scandir(path)) if path.is_dir() else None
        folder = path.resolve()
    except OSError:
        names = None
    if names is None:
        yield path  # what cannot be read is reported where it is read
    elif folder not in seen:
        seen.add(folder)
        for name in names:
            if not name.startswith("."):
                yield from _below(path / name, seen)

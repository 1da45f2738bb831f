"""Tables (CSV): reading rows with their line numbers, and tables that list photographs and their labels.

    image,label,subject,x,y,width,height,split
    01/smile.jpg,happiness,01,120,80,200,200,test

Only ``image`` (or ``path``) and ``label`` (or ``emotion``) are required; further columns are metadata. Paths are
relative to the table's folder. The delimiter is the comma, semicolon, tab or bar, whichever the first line has most of.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mien.model.datasets.base import Collection, LabelledPhotographs
from mien.model.emotions import EMOTIONS, emotion_of
from mien.model.errors import DatasetError
from mien.model.faces.box import Box

_IMAGE: Final = ("image", "path")
_LABEL: Final = ("label", "emotion")
_BOX: Final = ("x", "y", "width", "height")
_OTHER: Final = frozenset((*_IMAGE, *_LABEL, *_BOX, "subject", "split"))
_DELIMITERS: Final = ",;\t|"


def lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line that is not blank.

    Raises:
        DatasetError: the file is not UTF-8 CSV text.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=_delimiter(path))
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}, after line {reader.line_num}: expected UTF-8 CSV text, got {error}") from None


def _delimiter(path: Path) -> str:
    """The delimiter of which the first line has most; the comma where it has none."""
    with path.open("rb") as file:
        first = file.readline()
    return max(_DELIMITERS, key=lambda each: first.count(each.encode()))


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields by column of each row of a table with a heading.

    Args:
        path: the table.
        columns: columns that the heading must have; it may have others, in any order.

    Raises:
        DatasetError: the file is not UTF-8 CSV text or lacks a column, or a row has more or fewer fields than it.
    """
    rest = lines(path)
    _, heading = next(rest, (0, list[str]()))
    missing = [column for column in columns if column not in heading]
    if missing:
        raise DatasetError(f"{path}, line 1: expected the columns {', '.join(columns)}; missing {', '.join(missing)}")
    for line, fields in rest:
        if len(fields) != len(heading):
            raise DatasetError(f"{path}, line {line}: expected {len(heading)} fields, got {len(fields)}")
        yield line, dict(zip(heading, fields, strict=True))


def read_listing(root: Path, split: str = "all", emotions: tuple[str, ...] | None = EMOTIONS) -> LabelledPhotographs:
    """Read a table of photographs.

    Args:
        root: the table, or the folder that holds it as ``labels.csv``.
        split: reads the rows with this value in the column ``split``; ``all`` reads every row.
        emotions: photographs with another label are left out; None reads all, and their labels are the emotions.

    Raises:
        DatasetError: the table is missing or lacks a column, a photograph is missing or listed twice, or a field
            has an invalid value.
    """
    table = root / "labels.csv" if root.is_dir() else root
    if not table.is_file():
        raise DatasetError(f"expected a table of photographs at {table}, found none")
    _, heading = next(lines(table), (0, list[str]()))
    image, label = (next((name for name in names if name in heading), names[0]) for names in (_IMAGE, _LABEL))
    boxed = any(column in heading for column in _BOX)
    columns = (image, label, *(_BOX if boxed else ()), *(() if split == "all" else ("split",)))
    collection = Collection(f"{table.resolve().parent.name}/{table.name} {split}", emotions=emotions)
    seen: set[str] = set()
    splits: dict[str, None] = {}
    for line, row in rows(table, columns):
        splits[row.get("split", "")] = None
        if split not in ("all", row.get("split")):
            continue
        try:
            if row[image] in seen:
                raise DatasetError(f"expected each photograph once, got {row[image]} again")  # noqa: TRY301  line added below
            seen.add(row[image])
            box = _box(row) if boxed else None
            metadata = {name: row[name].strip() for name in heading if name not in _OTHER}
            collection.add(
                table.parent / row[image], emotion_of(row[label]), subject=_subject(row), box=box, metadata=metadata
            )
        except DatasetError as error:
            raise DatasetError(f"{table}, line {line}: {error}") from None
    if split != "all" and split not in splits:
        raise DatasetError(f"{table}: its column split has {', '.join(splits) or 'no rows'}; got {split!r}")
    return collection.photographs()


def _subject(row: dict[str, str]) -> str | None:
    if "subject" not in row:
        return None
    if not row["subject"].strip():
        raise DatasetError("expected a subject, got an empty field")
    return row["subject"].strip()


def _box(row: dict[str, str]) -> Box | None:
    """The box of a row; None if all four fields are empty."""
    fields = [row[column].strip() for column in _BOX]
    if not any(fields):
        return None
    try:
        x, y, width, height = map(float, fields)
    except ValueError:
        raise DatasetError(f"{', '.join(_BOX)} must be numbers, got {', '.join(fields)}") from None
    if not (all(map(math.isfinite, (x, y, width, height))) and width > 0 and height > 0):
        raise DatasetError(f"expected a box with an area, got {', '.join(fields)}")
    return x, y, width, height

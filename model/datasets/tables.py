"""Tables of text (CSV), read with the number of each line, so that an error can say where it is."""

import csv
from collections.abc import Iterator
from pathlib import Path

from mien.model.errors import DatasetError


def lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line that is not blank.

    Raises:
        DatasetError: the file is not UTF-8 CSV text.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}, after line {reader.line_num}: expected UTF-8 CSV text, got {error}") from None


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields by column of each row of a table with a heading.

    Args:
        path: the table.
        columns: what its heading must have; it may have more, in any order.

    Raises:
        DatasetError: the file is not UTF-8 CSV text, lacks a column, or a row is longer or shorter than the heading.
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

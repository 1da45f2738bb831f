"""Names of sub-classes in words, which a person writes into a table while looking at contact sheets.

sub_class,face,name,description
happiness/2,fer0003301,closed smile,"Lips closed and drawn back, cheeks raised."
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from mien.index.mixture.sub_classes import SubClass, SubClasses
from mien.model.datasets.csv_table import rows
from mien.model.errors import ConfigError
from mien.model.files import write_table

MAX_NAME_LENGTH: Final = 40
MAX_DESCRIPTION_LENGTH: Final = 200
"""Characters."""

_COLUMNS: Final = ("sub_class", "name", "description")


def write_names(path: Path, sub_classes: SubClasses) -> None:
    """Write the table: a row for each sub-class, blank where it has no name yet.

    The column ``face`` has the gallery face nearest to its centroid, by which ``read_names`` notices other sub-classes.
    """
    write_table(
        path,
        ("sub_class", "face", "name", "description"),
        (
            {
                "sub_class": each.id,
                "face": next(iter(each.nearest), ""),
                "name": each.name or "",
                "description": each.description or "",
            }
            for each in sub_classes.each
        ),
    )


def read_names(path: Path, sub_classes: SubClasses) -> SubClasses:
    """The sub-classes with the names and descriptions of a table, and with no others.

    Args:
        path: the table; its column ``face`` may be missing or blank.
        sub_classes: of the bundle.

    Raises:
        DatasetError: the file is not such a table.
        ConfigError: a row has a sub-class that is not there or was there before, a face of another sub-class, or a
            text that is too long or over several lines; or two sub-classes of an emotion have the same name.
    """
    places = {each.id: place for place, each in enumerate(sub_classes.each)}
    named: dict[str, SubClass] = {}
    for line, fields in rows(path, _COLUMNS):
        where = f"{path}, line {line}"
        identifier = fields["sub_class"].strip()
        if identifier not in places:
            raise ConfigError(f"{where}: sub_class must be one of {', '.join(places)}, got {identifier!r}")
        if identifier in named:
            raise ConfigError(f"{where}: {identifier} has a row already")
        place = sub_classes.of_face.get(fields.get("face", "").strip(), places[identifier])
        if place != places[identifier]:
            raise ConfigError(
                f"{where}: the face {fields['face']} must be one of {identifier}, it is one of "
                f"{sub_classes.each[place].id}: these names were written for other sub-classes"
            )
        name = _text(where, "name", fields["name"], MAX_NAME_LENGTH)
        description = _text(where, "description", fields["description"], MAX_DESCRIPTION_LENGTH)
        if name is None and description is not None:
            raise ConfigError(f"{where}: a description needs a name")
        named[identifier] = replace(sub_classes.each[places[identifier]], name=name, description=description)
    _check_distinct(path, named.values())
    return replace(
        sub_classes,
        each=tuple(named.get(each.id, replace(each, name=None, description=None)) for each in sub_classes.each),
    )


def _text(where: str, column: str, text: str, max_length: int) -> str | None:
    stripped = text.strip()
    if len(stripped) > max_length or not all(character.isprintable() for character in stripped):
        raise ConfigError(f"{where}: {column} must be one line of at most {max_length} characters, got {stripped!r}")
    return stripped or None


def _check_distinct(path: Path, sub_classes: Iterable[SubClass]) -> None:
    owners: dict[tuple[str, str], str] = {}
    for each in sub_classes:
        if each.name is not None:
            owner = owners.setdefault((each.emotion, each.name.casefold()), each.id)
            if owner != each.id:
                raise ConfigError(f"{path}: {owner} and {each.id} must have different names, got {each.name!r} twice")

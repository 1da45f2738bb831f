"""``mien gallery delete``: deletes faces by their ids, or all that are selected."""

import argparse

from mien.model.errors import ConfigError
from mien.service.commands.gallery.place import add_place_options, open_place
from mien.service.commands.gallery.selection import add_selection_options, read_selection
from mien.service.commands.terminal import console


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument("ids", nargs="*", metavar="ID", help="The ids of faces.")
    add_selection_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="Delete nothing, and say how many faces there are.")


def run(arguments: argparse.Namespace) -> int:
    """Delete the faces, and print how many there were; 0 if all that were named were there, else 1.

    Raises:
        ConfigError: neither ids nor a selection are given, or both.
    """
    condition = read_selection(arguments)
    if (condition is None) == (not arguments.ids):
        raise ConfigError("which faces? expected either ids, or options that select faces such as --subject")
    with open_place(arguments, create=False) as (gallery, _, _):
        if condition is not None:
            count = gallery.count(condition) if arguments.dry_run else gallery.delete_where(condition)
            missing: list[str] = []
        else:
            found = gallery.get_many(arguments.ids) if arguments.dry_run else gallery.delete(arguments.ids)
            missing = [face_id for face_id in arguments.ids if face_id not in found]
            count = len(found)
    for face_id in missing:
        console.print(f"the gallery has no face with the id {face_id}")
    console.print(f"{count} faces {'would be deleted' if arguments.dry_run else 'deleted'}")
    return 1 if missing else 0

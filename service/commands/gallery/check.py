"""``mien gallery check``: checks each row, compares memory with database, and approximate with exact search."""

import argparse

from mien.service.commands.gallery.place import add_place_options, open_place
from mien.service.commands.terminal import write_json


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument("--queries", type=int, default=200, metavar="N", help="Faces to search for (default: 200).")
    parser.add_argument("--k", type=int, default=10, metavar="N", help="Matches of each (default: 10).")
    parser.add_argument("--thorough", action="store_true", help="Compare the database's indices with its tables, too.")


def run(arguments: argparse.Namespace) -> int:
    """Write the report as JSON; 0 if memory and database agree and no face is set aside, else 1."""
    with open_place(arguments) as (gallery, _, _):
        report = gallery.check(arguments.queries, arguments.k, thorough=arguments.thorough)
    write_json(report)
    sound = report.get("memory_agrees_with_database", True) and report.get("database", "ok") == "ok"
    return 0 if sound and not report.get("set_aside") else 1

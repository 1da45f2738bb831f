"""``mien name``: names of a bundle's sub-classes in words, written by a person who looks at contact sheets."""

import argparse
from pathlib import Path
from typing import Final

from mien.model.errors import ConfigError
from mien.service.commands.arguments import add_data_option, add_own_bundle_option, read_data
from mien.service.commands.terminal import console, output

TABLE_NAME: Final = "names.csv"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_own_bundle_option(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--sheets",
        type=Path,
        metavar="PATH",
        help=f"Folder for contact sheets of the sub-classes, and {TABLE_NAME} to write names into; needs --data.",
    )
    what.add_argument(
        "--names", type=Path, metavar="PATH", help="Table with the names, which are written into the bundle."
    )
    add_data_option(parser, required=False)


def run(arguments: argparse.Namespace) -> int:
    """Write what is needed to name the sub-classes, or the names into the bundle."""
    from mien.index.bundle.bundle import load_bundle, replace_sub_classes
    from mien.index.evaluation.scores.sub_classes import describe
    from mien.index.evaluation.sheets import write_contact_sheets
    from mien.index.fitting.naming import read_names, write_names

    bundle = load_bundle(arguments.bundle)
    if bundle.sub_classes is None:
        raise ConfigError(f"--bundle: {arguments.bundle} has no sub-classes: mien discover finds them")
    if arguments.sheets is not None:
        table = arguments.sheets / TABLE_NAME
        if arguments.data is None:
            raise ConfigError("--sheets needs --data: the faces that are shown")
        if table.exists():
            raise ConfigError(f"--sheets: {table} is there already, with the names that somebody wrote into it")
        write_contact_sheets(arguments.sheets, read_data(arguments, "Training"), bundle.sub_classes)
        write_names(table, bundle.sub_classes)
        console.print(f"look at {arguments.sheets}/*.png, write names into {table}, then give it to --names")
        output.print(str(table), soft_wrap=True)
        return 0
    named = read_names(arguments.names, bundle.sub_classes)
    report = {**(bundle.manifest.sub_classes or {}), "each": describe(named)}
    replace_sub_classes(bundle.folder, named, report)
    console.print(f"{arguments.bundle}: {len(named.names)} of {len(named)} sub-classes have a name")
    return 0

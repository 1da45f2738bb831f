"""``mien inventory``: the parts of this installation, with versions and licences."""

import argparse
import sys


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mien inventory``."""
    parser.add_argument(
        "--format",
        choices=("table", "cyclonedx", "licences"),
        default="table",
        help="A table, a CycloneDX bill of materials, or the licence texts (default: table).",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the inventory."""
    from mien.service.operation import inventory

    if arguments.format == "licences":
        text = inventory.as_licences()
    else:
        parts = inventory.parts()
        text = inventory.as_table(parts) if arguments.format == "table" else inventory.as_cyclonedx(parts)
    sys.stdout.write(text + "\n")
    return 0

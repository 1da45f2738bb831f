"""What the commands have in common: how one is added, its exit status, and the option for the bundle."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mien.index.bundle.default import default_bundle

Command = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]
"""Adds a command: its name, what it runs, its summary."""

DONE: Final = 0
FAILED: Final = 1


def add_bundle_option(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the option ``--bundle``."""
    parser.add_argument(
        "--bundle",
        type=Path,
        default=default_bundle(),
        metavar="PATH",
        help="Folder of the bundle (default: the one that ships).",
    )

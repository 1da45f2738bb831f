"""``mien keys``: create, list and revoke API keys."""

import argparse
import os
from pathlib import Path
from typing import Any

from mien.model.errors import ConfigError
from mien.service.commands.terminal import console, output
from mien.service.middleware.api_keys import SCOPE_NAMES, create_key, read_keys, revoke_key
from mien.service.settings import read_settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give ``mien keys`` its three actions."""
    actions: Any = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="Make a key and print it; it can be read nowhere later.")
    create.add_argument("name", metavar="NAME", help="Whose it is, for the list.")
    create.add_argument(
        "--scope", choices=SCOPE_NAMES, default="read", help="What it may do; each includes the ones before it."
    )
    listing = actions.add_parser("list", help="Show the keys there are.")
    revoke = actions.add_parser("revoke", help="Take a key back: a running service refuses it within a second.")
    revoke.add_argument("id", metavar="ID", help="As mien keys list shows it.")
    for action in (create, listing, revoke):
        action.add_argument("--keys", type=Path, metavar="PATH", help="The key file (default: MIEN_KEYS).")


def run(arguments: argparse.Namespace) -> int:
    """``mien keys``.

    Raises:
        ConfigError: no file was named, it is no key file, or it has no such key.
    """
    path = read_settings(os.environ, keys=arguments.keys).keys
    if path is None:
        raise ConfigError("which key file? expected --keys or MIEN_KEYS, got neither")
    if arguments.action == "create":
        output.print(create_key(path, arguments.name, arguments.scope), markup=False, soft_wrap=True)
        console.print("keep it: it cannot be shown again", markup=False)
    elif arguments.action == "revoke":
        console.print(f"revoked {revoke_key(path, arguments.id).name}", markup=False)
    else:
        for key in read_keys(path).keys:
            output.print(f"{key.id}  {key.scope:5}  {key.created}  {key.name}", markup=False, soft_wrap=True)
    return 0

"""``mien keys``: creates, lists and revokes API keys."""

import argparse
import os
from pathlib import Path

from mien.model.errors import ConfigError
from mien.service.commands.terminal import console, write
from mien.service.middleware.api_keys import SCOPE_NAMES, create_key, read_keys, revoke_key
from mien.service.settings import read_settings


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="Make a key and print it, this once.")
    create.add_argument("name", metavar="NAME", help="Who the key is for; shown in the list.")
    create.add_argument(
        "--scope", choices=SCOPE_NAMES, default="read", help="What the key allows; each scope includes those before it."
    )
    create.set_defaults(run=_create)
    listing = actions.add_parser("list", help="List the keys.")
    listing.set_defaults(run=_list)
    revoke = actions.add_parser("revoke", help="Revoke a key: a running service refuses it within a second.")
    revoke.add_argument("id", metavar="ID", help="The key's id in mien keys list.")
    revoke.set_defaults(run=_revoke)
    for action in (create, listing, revoke):
        action.add_argument("--keys", type=Path, metavar="PATH", help="The key file (default: MIEN_KEYS).")


def _create(arguments: argparse.Namespace) -> int:
    write(create_key(_key_file(arguments), arguments.name, arguments.scope))
    console.print("keep it: it cannot be shown again")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for key in read_keys(_key_file(arguments)).keys:
        write(f"{key.id}  {key.scope:5}  {key.created}  {key.name}")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    console.print(f"revoked {revoke_key(_key_file(arguments), arguments.id).name}")
    return 0


def _key_file(arguments: argparse.Namespace) -> Path:
    path = read_settings(os.environ, keys=arguments.keys).keys
    if path is None:
        raise ConfigError("which key file? expected --keys or MIEN_KEYS, got neither")
    return path

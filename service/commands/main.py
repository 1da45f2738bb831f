"""The command ``mien``."""

import argparse
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version

from mien.model.errors import MienError
from mien.service.commands import gallery, keys, local_cli, training_cli
from mien.service.commands.command import FAILED
from mien.service.commands.options import add_options, given_options
from mien.service.commands.terminal import console
from mien.service.settings import Settings, read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mien`` and return its exit status: 0 done, 1 failed, 2 a wrong option, 130 interrupted."""
    parsed = build_parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except MienError as error:
        console.print(f"mien {parsed.command}: {error}", style="red", markup=False)
        return FAILED
    except OSError as error:  # a disk that is full, a folder that may not be written
        console.print(f"mien {parsed.command}: {error}", style="red", markup=False)
        return FAILED
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="mien", description="Expression retrieval: train, build, evaluate, embed, serve.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"mien {version('mien')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        sub.set_defaults(run=run)
        return sub

    training_cli.add_commands(command)
    local_cli.add_commands(command)
    add_options(
        command("serve", _serve, "Serve a bundle over HTTP. Each option is also a setting MIEN_<OPTION>."), Settings
    )
    gallery.add_options(
        command("gallery", gallery.run, "Import into a gallery, export it, keep, restore and check it.")
    )
    keys.add_options(command("keys", keys.run, "Create, list and revoke the API keys of a service."))
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    from mien.service.server import serve

    return serve(read_settings(os.environ, **given_options(arguments, Settings)))

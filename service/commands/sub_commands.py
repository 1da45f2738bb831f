"""Sub-commands whose modules are imported when they are typed, so that ``mien --help`` is fast.

The module of a command has two functions:

- ``add_options(parser)`` adds the options, or again sub-commands.
- ``run(arguments)`` runs the command and returns its exit status; it raises ``MienError`` if the command fails.

Modules that need ONNX Runtime, FAISS or torch are imported by ``run``, so that ``--help`` works without them.
"""

import argparse
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any


def add_sub_commands(parser: argparse.ArgumentParser, dest: str, commands: Mapping[str, tuple[str, str]]) -> None:
    """Add sub-commands to ``parser``.

    Args:
        parser: of the command above them.
        dest: the attribute that keeps the name of the chosen one.
        commands: name to module, relative to ``mien.service.commands``, and summary.
    """
    sub_parsers = parser.add_subparsers(dest=dest, required=True, metavar=dest.upper(), parser_class=_SubCommandParser)
    for name, (module, summary) in commands.items():
        sub_parsers.add_parser(name, help=summary, description=summary, allow_abbrev=False, module=module)


class _SubCommandParser(argparse.ArgumentParser):
    """The parser of one command, which gets its options when it first parses."""

    def __init__(self, *, module: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._module = module

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self._module is not None:
            command = import_module(f"mien.service.commands.{self._module}")
            self._module = None
            command.add_options(self)
            if hasattr(command, "run"):
                self.set_defaults(run=command.run)
        return super().parse_known_args(args, namespace)

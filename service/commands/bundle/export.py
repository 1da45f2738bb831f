"""``mien export``: a checkpoint's network as ONNX."""

import argparse
from pathlib import Path

from mien.service.commands.terminal import console
from mien.service.operation.installation import require_training_modules


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="The checkpoint of mien train or mien average."
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="ONNX file to write.")
    parser.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Average each face with its mirror image (default: yes).",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, and print how far ONNX Runtime and torch differ."""
    require_training_modules()
    from mien.model.export.export import export

    difference = export(arguments.checkpoint, arguments.output, mirror=arguments.mirror)
    console.print(f"{arguments.output}: differs from torch by at most {difference:.1e} embedding units")
    return 0

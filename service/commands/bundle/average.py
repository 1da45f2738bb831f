"""``mien average``: the mean of several checkpoints' weights as one checkpoint."""

import argparse
from pathlib import Path

from mien.service.commands.terminal import console
from mien.service.operation.installation import require_training_modules


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT",
        help="Two or more checkpoints of mien train, each trained on from the one before.",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="The checkpoint to write.")


def run(arguments: argparse.Namespace) -> int:
    """Average the weights."""
    require_training_modules()
    from mien.model.training.checkpoint import average_checkpoints

    average_checkpoints(arguments.checkpoints, arguments.output)
    console.print(f"{arguments.output}: the mean of {len(arguments.checkpoints)} checkpoints")
    return 0

"""``mien join``: several exported networks as one."""

import argparse
from pathlib import Path

from mien.service.commands.arguments import add_data_option, read_data
from mien.service.commands.terminal import console, staged_bar
from mien.service.operation.installation import require_training_modules


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "networks", type=Path, nargs="+", metavar="NETWORK", help="ONNX files that mien export or mien quantise wrote."
    )
    add_data_option(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="PATH", help="The ONNX file to write.")


def run(arguments: argparse.Namespace) -> int:
    """Write the joint network, and print how much of its members' embeddings it keeps."""
    require_training_modules()
    from mien.model.export.join import join

    images = read_data(arguments, "Training").images
    with staged_bar("embedding faces") as (_, on_progress):
        kept = join(arguments.networks, images, arguments.output, on_progress)
    console.print(
        f"{arguments.output}: {len(arguments.networks)} networks, {kept:.1%} of the variance of their embeddings"
    )
    return 0

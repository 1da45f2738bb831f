"""``mien quantise``: an exported network in int8 or float16."""

import argparse
from pathlib import Path

from mien.model.errors import ConfigError
from mien.service.commands.arguments import add_data_option, read_data
from mien.service.commands.terminal import console, staged_bar
from mien.service.operation.installation import require_training_modules


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", type=Path, metavar="NETWORK", help="The ONNX file that mien export wrote.")
    add_data_option(parser, required=False)
    parser.add_argument("--half", action="store_true", help="Write float16 in place of int8.")
    parser.add_argument("--output", type=Path, required=True, metavar="PATH", help="The ONNX file to write.")


def run(arguments: argparse.Namespace) -> int:
    """Write the smaller network, and print both sizes."""
    require_training_modules()
    if arguments.half:
        from mien.model.export.float16 import convert_to_float16

        convert_to_float16(arguments.network, arguments.output)
    elif arguments.data is None:
        raise ConfigError("int8 needs faces to measure ranges on: expected --data or --half, got neither")
    else:
        from mien.model.export.int8 import quantise

        images = read_data(arguments, "Training").images
        with staged_bar("measuring ranges") as (_, on_progress):
            quantise(arguments.network, images, arguments.output, on_progress)
    before, after = (path.stat().st_size / 2**20 for path in (arguments.network, arguments.output))
    console.print(f"{arguments.output}: {after:.1f} MiB, {before:.1f} before")
    return 0

"""``mien build``: a bundle out of an exported network and the faces that it was trained on."""

import argparse
from pathlib import Path

from mien.service.commands.arguments import add_data_option, read_data
from mien.service.commands.terminal import console, staged_bar


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", type=Path, metavar="NETWORK", help="The ONNX file of mien export or mien quantise.")
    add_data_option(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="PATH", help="Folder of the bundle.")


def run(arguments: argparse.Namespace) -> int:
    """Build the bundle."""
    from mien.index.fitting.build import build_bundle
    from mien.index.fitting.training_data import dataset_name

    faces, name = read_data(arguments, "Training"), dataset_name(arguments.data)
    with staged_bar("embedding") as (_, on_progress):
        manifest = build_bundle(arguments.network, faces, arguments.output, dataset=name, on_progress=on_progress)
    size = sum(path.stat().st_size for path in arguments.output.iterdir()) / 2**20
    console.print(f"{arguments.output}: {manifest.made_from['gallery_faces']} faces in the gallery, {size:.1f} MiB")
    return 0

"""``mien demonstration``: gives a bundle faces that are free to show, with their pictures."""

import argparse
from pathlib import Path

from mien.service.commands.arguments import add_own_bundle_option
from mien.service.commands.terminal import console


def add_options(parser: argparse.ArgumentParser) -> None:
    add_own_bundle_option(parser)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="PATH", help="The folder with darwin/ and london-faces/."
    )


def run(arguments: argparse.Namespace) -> int:
    """Find, cut out and embed the faces, and write them into the bundle."""
    from mien.index.bundle.bundle import check_fits, load_bundle, replace_demonstration
    from mien.index.bundle.manifest import DEMONSTRATION
    from mien.index.fitting.demonstration import read_demonstration_faces
    from mien.model.pipeline import load_pipeline

    bundle = load_bundle(arguments.bundle)
    pipeline = load_pipeline(bundle.embedder_path)
    check_fits(bundle, pipeline.embedder)
    faces = read_demonstration_faces(arguments.data, pipeline)
    replace_demonstration(arguments.bundle, faces)
    size = (arguments.bundle / DEMONSTRATION).stat().st_size
    console.print(f"{arguments.bundle / DEMONSTRATION}: {len(faces)} faces, {size / 1000:.0f} kB")
    return 0

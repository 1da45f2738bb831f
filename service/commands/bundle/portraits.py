"""``mien portraits``: trains the painter of average faces and writes it into the bundle."""

import argparse
from typing import TYPE_CHECKING

from rich.table import Table

from mien.model.portraits.config import PortraitConfig
from mien.service.commands.arguments import add_data_option, add_own_bundle_option, read_data
from mien.service.commands.options import add_config_options, read_options
from mien.service.commands.terminal import console, output, progress_bar
from mien.service.operation.installation import require_training_modules

if TYPE_CHECKING:
    from mien.model.portraits.train import Step


def add_options(parser: argparse.ArgumentParser) -> None:
    add_own_bundle_option(parser)
    add_data_option(parser)
    add_config_options(parser, PortraitConfig)


def run(arguments: argparse.Namespace) -> int:
    """Train the painter, and print which emotion the embedder reads in the portrait of each centroid."""
    require_training_modules()
    from mien.index.bundle.bundle import load_bundle
    from mien.index.bundle.manifest import PORTRAITS
    from mien.index.fitting.portraits import portray_bundle

    config = read_options(arguments, PortraitConfig)
    faces = read_data(arguments, "Training")
    with progress_bar() as bar:
        aligning = bar.add_task("aligning", total=None, note="")
        training = bar.add_task("training", total=None, note="")

        def on_step(step: "Step") -> None:
            bar.update(training, completed=step.number, total=step.total, note=f"loss {step.loss:.3f}")

        found = portray_bundle(
            arguments.bundle,
            faces,
            config,
            on_faces=lambda done, total: bar.update(aligning, completed=done, total=total),
            on_step=on_step,
        )
    table = Table("centroid", "emotion", title="portraits of the centroids, classified by the embedder")
    for painted, read in zip(load_bundle(arguments.bundle).mixture.emotions, found.emotions, strict=True):
        table.add_row(painted, read)
    for painted, read in found.sub_classes.items():
        table.add_row(painted, read)
    output.print(table)
    if found.leads is not None:
        portraits, originals = found.leads
        console.print(f"more like one face than like the tenth: portraits by {portraits:.3f}, faces by {originals:.3f}")
    path = arguments.bundle / PORTRAITS
    console.print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    return 0

"""``mien train``: trains a network on FER+ Training, or on photographs with labels of one's own."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mien.model.datasets.ferplus import read_near_copies
from mien.service.commands.arguments import add_data_option, read_data
from mien.service.commands.bundle.training_options import add_training_options, read_training_config
from mien.service.commands.terminal import console, progress_bar, show_step, write
from mien.service.operation.installation import require_training_modules

if TYPE_CHECKING:
    from mien.model.training.state import EpochReport
    from mien.model.training.train import Progress


def add_options(parser: argparse.ArgumentParser) -> None:
    add_data_option(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="PATH", help="Folder for checkpoint and curves.")
    parser.add_argument("--resume", action="store_true", help="Continue from the checkpoint in the output folder.")
    parser.add_argument(
        "--sub-classes",
        type=Path,
        metavar="PATH",
        help="CSV file of faces and sub-classes, as mien discover writes it: centroids are those of sub-classes, "
        "while the supervision stays that of emotions.",
    )
    parser.add_argument(
        "--teachers",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="Checkpoints of networks whose posteriors are mixed into the targets, or one .npz table of posteriors "
        "(names, posteriors), as benchmarks/ensemble.py writes it.",
    )
    add_training_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, and draw the curves of the epochs."""
    config = read_training_config(arguments)
    require_training_modules()
    from mien.index.evaluation import plots
    from mien.model.training import train
    from mien.model.training.checkpoint import read_checkpoint
    from mien.model.training.state import EpochReport
    from mien.model.training.targets import read_sub_classes

    device = train.choose_device(arguments.device)
    faces, validation = read_data(arguments, "Training"), read_data(arguments, "PublicTest")
    console.print(f"emotions: {', '.join(train.emotions_of(faces))}")
    near_copies = read_near_copies(arguments.data)
    with progress_bar() as bar:
        task = bar.add_task("training", total=None, note="")

        def on_progress(progress: "Progress") -> None:
            show_step(
                bar,
                task,
                description=f"epoch {progress.epoch}/{progress.epochs}",
                completed=progress.step,
                total=progress.steps,
                note=f"loss {progress.loss:.4f}, {progress.faces_per_s:.0f} faces/s",
            )

        path = train.train(
            faces,
            near_copies.without_leaks(validation),
            config,
            arguments.output,
            device=device,
            initial=arguments.initial_weights,
            sub_classes=read_sub_classes(arguments.sub_classes, faces.emotions)
            if arguments.sub_classes is not None
            else None,
            teachers=arguments.teachers,
            resume=arguments.resume,
            on_progress=on_progress,
            on_epoch=_print_epoch,
        )
    reports = [EpochReport(**report) for report in read_checkpoint(path)["reports"]]
    losses, accuracies = [each.loss for each in reports], [each.validation_accuracy for each in reports]
    plots.training_curves(arguments.output / "curves.png", losses, accuracies)
    write(str(path))
    return 0


def _print_epoch(report: "EpochReport") -> None:
    console.print(
        f"epoch {report.epoch}: loss {report.loss:.4f}, "
        f"validation accuracy {report.validation_accuracy:.4f}, {report.seconds:.0f} s"
    )

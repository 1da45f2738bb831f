"""``mien ablate``: trains each loss on the same backbone, faces, budget and seeds, and compares them."""

import argparse
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from rich.table import Table

from mien.model.datasets.ferplus import read_ferplus, read_near_copies
from mien.service.commands.arguments import DATA_HELP
from mien.service.commands.bundle.training_options import add_training_options, read_training_config
from mien.service.commands.terminal import console, output, progress_bar
from mien.service.operation.installation import require_training_modules

if TYPE_CHECKING:
    from mien.index.evaluation.ablation import AblationRow
    from mien.model.training.train import Progress


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help=DATA_HELP)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="Folder for table and plot; an ablation that was interrupted continues there.",
    )
    parser.add_argument("--faces", type=int, metavar="N", help="Number of training faces (default: all).")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1],
        metavar="N",
        help="The decisive rows are trained with each seed, the others with the first (default: 0 1).",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="NAME",
        help='Names of the rows to train, such as "+ votes as targets", or decisive: those that are trained with each '
        "seed (default: all).",
    )
    add_training_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train all losses, and print and plot the comparison."""
    config = read_training_config(arguments)
    require_training_modules()
    from mien.index.evaluation import ablation, plots

    trials = ablation.choose_rows(arguments.rows)
    with progress_bar() as bar:
        networks = bar.add_task("networks", total=None, note="")
        steps = bar.add_task("training", total=None, note="")

        def on_trial(name: str, done: int, total: int) -> None:
            bar.update(networks, completed=done, total=total, note=name)
            bar.reset(steps, total=None)

        def on_step(progress: "Progress") -> None:
            done = (progress.epoch - 1) * progress.steps + progress.step
            bar.update(steps, completed=done, total=progress.epochs * progress.steps, note=f"loss {progress.loss:.4f}")

        rows = ablation.ablate(
            read_ferplus(arguments.data, "Training"),
            read_ferplus(arguments.data, "PublicTest"),
            read_near_copies(arguments.data),
            config,
            arguments.output,
            device=arguments.device,
            initial=arguments.initial_weights,
            seeds=arguments.seeds,
            trials=trials,
            faces=arguments.faces,
            on_trial=on_trial,
            on_step=on_step,
            on_row=_print_row,
        )
    by_name = ablation.by_name(rows)
    table = Table("loss", "seeds", *ablation.FIGURES, title="Ablation: mean over the seeds")
    for name, each in by_name.items():
        means = (mean(getattr(row, field) for row in each) for field in ablation.FIGURES.values())
        table.add_row(name, str(len(each)), *(f"{value:.3f}" for value in means))
    output.print(table)
    plots.ablation_table(
        arguments.output / "ablation.png",
        {
            title: {name: [getattr(row, field) for row in each] for name, each in by_name.items()}
            for title, field in ablation.FIGURES.items()
        },
    )
    console.print(f"all figures: {arguments.output / ablation.ABLATION_NAME}")
    return 0


def _print_row(row: "AblationRow") -> None:
    console.print(
        f"{row.name}, seed {row.seed}: accuracy {row.accuracy:.3f}, mAP {row.mean_average_precision:.3f}, "
        f"{row.seconds:.0f} s"
    )

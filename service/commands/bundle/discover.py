"""``mien discover``: the sub-classes of each emotion, written into the bundle."""

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from mien.index.fitting.sub_classes import DiscoveryConfig
from mien.model.datasets.ferplus import read_near_copies
from mien.model.errors import ConfigError
from mien.service.commands.arguments import add_data_option, add_own_bundle_option, read_data
from mien.service.commands.options import add_config_options, read_options
from mien.service.commands.terminal import console, output, staged_bar
from mien.service.operation.installation import require_training_modules


def add_options(parser: argparse.ArgumentParser) -> None:
    add_own_bundle_option(parser)
    add_data_option(parser)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PATH", help="Folder for assignments and contact sheets."
    )
    parser.add_argument(
        "--previous",
        type=Path,
        metavar="PATH",
        help="A bundle with an earlier round, whose ids stay (default: the bundle itself, where it has one).",
    )
    add_config_options(parser, DiscoveryConfig)


def run(arguments: argparse.Namespace) -> int:
    """Find the sub-classes, and print what each of them is and what they are worth."""
    require_training_modules()
    from mien.index.bundle.bundle import check_fits, load_bundle
    from mien.index.fitting.discover import discover_in_bundle
    from mien.model.embedder.embedder import Embedder

    config = read_options(arguments, DiscoveryConfig)
    bundle = load_bundle(arguments.bundle)
    embedder = Embedder(bundle.embedder_path)
    check_fits(bundle, embedder)
    previous = bundle.sub_classes
    if arguments.previous is not None:
        previous = load_bundle(arguments.previous).sub_classes
        if previous is None:
            raise ConfigError(f"--previous: {arguments.previous} has no sub-classes")
    training, validation = read_data(arguments, "Training"), read_data(arguments, "PublicTest")
    with staged_bar("embedding") as (on_stage, on_progress):
        found, report = discover_in_bundle(
            bundle,
            embedder,
            training=training,
            validation=validation,
            near_copies=read_near_copies(arguments.data),
            config=config,
            folder=arguments.output,
            previous=previous,
            on_stage=on_stage,
            on_progress=on_progress,
        )
    output.print(_sub_classes_table(report["each"]))
    output.print(_comparison_table(report))
    console.print(
        f"{arguments.bundle}: {len(found.sub_classes)} sub-classes; contact sheets and assignments: {arguments.output}"
    )
    return 0


def _sub_classes_table(sub_classes: list[dict[str, Any]]) -> Table:
    table = Table("sub-class", "share", "faces", "votes differ from its siblings' by")
    for each in sub_classes:
        ordered = sorted(each["difference_from_siblings"].items(), key=lambda pair: -abs(pair[1]))
        differences = ", ".join(f"{share:+.0%} {name}" for name, share in ordered[:3] if abs(share) >= 0.01)
        table.add_row(each["id"], f"{each['weight']:.2f}", str(each["gallery_faces"]), differences)
    return table


def _comparison_table(report: dict[str, Any]) -> Table:
    """Sub-classes against one Gaussian per emotion, on held-out faces."""
    held_out, stable = report["held_out"], report["agreement_between_seeds"]
    table = Table("figure", "sub-classes", "one per emotion", title=f"{held_out['faces']} held-out faces")
    if stable is not None:
        table.add_row("adjusted Rand index between seeds", f"{stable:.3f}", "")
    if held_out["faces"]:
        for name, figure, other in (
            ("log-likelihood of a face, nats", "log_likelihood_sub_classes", "log_likelihood_one_gaussian"),
            ("squared error of forecast votes", "vote_forecast_error_sub_class", "vote_forecast_error_emotion"),
        ):
            table.add_row(name, f"{held_out[figure]:.4f}", f"{held_out[other]:.4f}")
    if held_out.get("second_choice"):
        second = held_out["second_choice"]
        for name, figure in (("any face", "any_of_the"), ("10 nearest", "nearest_of_the")):
            table.add_row(
                f"has the query's second choice: {name}",
                f"{second[f'{figure}_sub_class']:.4f}",
                f"{second[f'{figure}_emotion']:.4f}",
            )
    return table

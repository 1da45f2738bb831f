"""The command ``mien``."""

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from mien.model.errors import MienError
from mien.service.commands.sub_commands import add_sub_commands
from mien.service.commands.terminal import console
from mien.service.operation.installation import missing_extra

COMMANDS: Final = {
    "train": (
        "bundle.train",
        "Train a network on FER+ or photographs of your own; writes a checkpoint and its curves.",
    ),
    "average": ("bundle.average", "Average the weights of several checkpoints into one."),
    "export": ("bundle.export", "Export a checkpoint's network to ONNX and check it against torch."),
    "quantise": ("bundle.quantise", "Write an exported network in int8, for CPUs, or in float16, for GPUs."),
    "join": ("bundle.join", "Join several exported networks into one, whose embedding has the distances of all."),
    "build": ("bundle.build", "Embed the training faces, fit the mixture, and write a bundle."),
    "discover": ("bundle.discover", "Find the sub-classes of each emotion in the training faces; changes the bundle."),
    "name": ("bundle.name", "Name the sub-classes in words, by contact sheets and a table; changes the bundle."),
    "calibrate": (
        "bundle.calibrate",
        "Fit posteriors, typicality and doubts of covered faces on validation faces; changes the bundle.",
    ),
    "adapt": ("bundle.adapt", "Adapt a bundle to a few photographs of your own, or add emotions to it."),
    "portraits": ("bundle.portraits", "Train the painter of average faces; changes the bundle."),
    "demonstration": ("bundle.demonstration", "Give a bundle faces that are free to show, with pictures; changes it."),
    "evaluate": ("bundle.evaluate", "Score a bundle on a split of FER+ or on another data set."),
    "ablate": ("bundle.ablate", "Train each loss on the same backbone, faces, budget and seeds, and compare."),
    "classify": ("classify", "Name the emotion of each face in images, without a server."),
    "retrieve": ("retrieve", "Find the nearest expressions for the faces of an image, without a server."),
    "embed": ("embed", "Embed the faces of images into a NumPy archive."),
    "groups": ("groups", "Measure how a bundle behaves on groups of people, with confidence intervals."),
    "gallery": ("gallery.main", "Import faces into a gallery, export it, back it up, restore and check it."),
    "keys": ("keys", "Create, list and revoke the API keys of a service."),
    "serve": ("serve", "Serve a bundle over HTTP. Each option is also a setting MIEN_<OPTION>."),
    "doctor": ("doctor", "Check this installation and say how to repair what is wrong."),
}
"""Each command's module in this folder, and its summary. The module is imported when the command is typed."""

FAILED: Final = 1
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mien`` and return its exit status: 0 done, 1 failed, 2 a wrong option, 130 interrupted."""
    parsed = build_parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except (MienError, OSError) as error:  # OSError: a full disk, a folder without permission
        console.print(f"mien {parsed.command}: {error}", style="red")
        return FAILED
    except ImportError as error:
        advice = missing_extra(error)
        if advice is None:
            raise
        console.print(f"mien {parsed.command}: {advice}", style="red")
        return FAILED
    except KeyboardInterrupt:
        console.print("interrupted")
        return INTERRUPTED
    return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="mien", description="Expression retrieval: train, build, evaluate, embed, serve.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"mien {version('mien')}")
    add_sub_commands(parser, "command", COMMANDS)
    return parser

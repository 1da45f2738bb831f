"""``mien evaluate``: scores a bundle on FER+, or by the transfer protocol on another data set."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from rich.table import Table

from mien.model.datasets.ferplus import Split, read_ferplus, read_near_copies
from mien.model.datasets.registry import DATASETS, read_dataset
from mien.model.errors import ConfigError
from mien.service.commands.arguments import DATA_HELP, add_bundle_option
from mien.service.commands.bundle.evaluate_dataset import add_dataset_options, score_dataset
from mien.service.commands.terminal import console, output, staged_bar
from mien.service.operation.installation import require_training_modules

if TYPE_CHECKING:
    from mien.index.bundle.bundle import Bundle

_DATASET_HELP: Final = "A data set and its folder: " + "; ".join(
    f"{name} ({reader.layout})" for name, reader in DATASETS.items()
)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_bundle_option(parser)
    faces = parser.add_mutually_exclusive_group(required=True)
    faces.add_argument("--data", type=Path, metavar="PATH", help=DATA_HELP)
    faces.add_argument("--dataset", nargs=2, metavar=("NAME", "PATH"), help=_DATASET_HELP)
    faces.add_argument("--faces", metavar="TABLE", help="A table of photographs: short for --dataset csv TABLE.")
    parser.add_argument(
        "--split",
        metavar="NAME",
        help=f"Split: {', '.join(get_args(Split))} (default: PublicTest, the validation split), "
        "or a split of the data set (default: validation of AffectNet, all of the others).",
    )
    parser.add_argument(
        "--already-cropped",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="The photographs of the data set are face crops: detect nothing (default: as the data set is published).",
    )
    for name, what in (("world", "photographs of the world"), ("studio", "studio photographs")):
        parser.add_argument(
            f"--{name}",
            type=Path,
            metavar="PATH",
            help=f"With --data: a folder of {what} with labels.csv, scored through the detector as well. They are for "
            "measuring only: a network that is chosen or tuned by them needs others to be measured on.",
        )
    add_dataset_options(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="PATH", help="Folder for scores and plots.")
    parser.add_argument("--record", action="store_true", help="Also keep the scores on FER+ in the bundle's manifest.")


def run(arguments: argparse.Namespace) -> int:
    """Score the bundle, save the scores and print the main ones."""
    if arguments.faces is not None:
        arguments.dataset = ("csv", arguments.faces)
    if arguments.dataset is not None:
        if arguments.record:
            raise ConfigError("--record keeps the scores on FER+: expected --data, got --dataset")
        if arguments.world is not None or arguments.studio is not None:
            raise ConfigError("--world and --studio go with --data: a single set is scored by --dataset csv")
        require_training_modules()
        return score_dataset(arguments)
    if arguments.already_cropped is not None:
        raise ConfigError("--already-cropped is for --dataset: the faces of FER+ are crops")
    if arguments.predictions is not None or arguments.by or arguments.against is not None:
        raise ConfigError("--predictions, --by and --against go with --dataset or --faces, got --data")
    name = arguments.split or "PublicTest"
    split: Split | None = next((known for known in get_args(Split) if known == name), None)
    if split is None:
        raise ConfigError(f"--split: expected one of {', '.join(get_args(Split))}, got {name!r}")
    require_training_modules()
    return _score_ferplus(arguments, split)


def _score_ferplus(arguments: argparse.Namespace, split: Split) -> int:
    from mien.index.bundle.bundle import check_fits, load_bundle, record_scores
    from mien.index.evaluation import evaluate as evaluation
    from mien.index.evaluation.summary import headline
    from mien.model.embedder.embedder import Embedder

    bundle = load_bundle(arguments.bundle)
    embedder = Embedder(bundle.embedder_path)
    check_fits(bundle, embedder)
    with staged_bar("reading") as (on_stage, on_progress):
        faces, near_copies = read_ferplus(arguments.data, split), read_near_copies(arguments.data)
        scores, embeddings, labels = evaluation.evaluate(
            bundle, embedder, faces, near_copies, f"FER+ {split}", on_stage=on_stage, on_progress=on_progress
        )
        for name in ("world", "studio"):
            if (root := getattr(arguments, name)) is not None:
                on_stage(f"{name}: {root}")
                scores[name] = _score_photographs(bundle, root, on_progress)
    path = evaluation.save_scores(arguments.output, scores)
    evaluation.save_table(arguments.output, scores)
    evaluation.save_plots(arguments.output, bundle, scores, embeddings, labels)
    if arguments.record:
        record_scores(bundle.folder, scores)
    title = f"{scores['dataset']}, {len(labels)} faces with a strict majority"
    table = Table("metric", "value", "95 % interval", title=title)
    for name, value, interval in headline(scores):
        table.add_row(name, f"{value:.4f}", f"[{interval.low:.4f}, {interval.high:.4f}]" if interval else "")
    output.print(table)
    for name in ("world", "studio"):
        if name in scores:
            confusion = scores[name]["all_emotions"]["confusion"]
            right = sum(row[place] for place, row in enumerate(confusion))
            console.print(f"{name}: {right} of {scores[name]['photographs']} photographs right")
    console.print(f"all scores: {path}")
    return 0


def _score_photographs(bundle: "Bundle", root: Path, on_progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Scores of a folder of photographs, which are read as uploads are."""
    from mien.index.evaluation.transfer import embed_photographs, transfer_scores
    from mien.model.pipeline import load_pipeline

    photographs = read_dataset("csv", root, None, bundle.mixture.emotions)
    done = 0

    def on_batch(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, len(photographs))

    embedded = embed_photographs(load_pipeline(bundle.embedder_path), photographs, on_progress=on_batch)
    scores = transfer_scores(bundle.mixture, photographs, embedded)
    return {"found": scores["scored"] / scores["photographs"], **scores}

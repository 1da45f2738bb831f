"""``mien evaluate --dataset``: scores a bundle on a data set, writes its predictions, and compares two bundles."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.table import Table

from mien.model.datasets.registry import read_dataset
from mien.model.errors import ConfigError
from mien.model.files import write_atomically
from mien.service.commands.terminal import console, output, progress_bar

if TYPE_CHECKING:
    from mien.index.bundle.bundle import Bundle
    from mien.index.evaluation.predictions import Predictions
    from mien.index.evaluation.transfer import EmbeddedPhotographs
    from mien.model.datasets.base import LabelledPhotographs

_SHOWN_SKIPS: Final = 5


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that go with ``--dataset`` alone."""
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="Also write a row for each face, with its label, prediction, posterior, embedding and the further columns "
        "of the data set: .csv, .parquet or .npz.",
    )
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="COLUMN",
        help="Also figures for each group of a further column of the data set, or of the subject; may be repeated.",
    )
    parser.add_argument("--against", type=Path, metavar="BUNDLE", help="Also compare with another bundle.")


def score_dataset(arguments: argparse.Namespace) -> int:
    """Score the bundle, write what was asked for, and print the main figures."""
    from mien.index.bundle.bundle import load_bundle
    from mien.index.evaluation import plots
    from mien.index.evaluation.evaluate import save_scores
    from mien.index.evaluation.predictions import compare, figures, figures_by, predict_photographs
    from mien.index.evaluation.transfer import save_skips, transfer_scores

    _check_file(arguments.predictions)
    bundles = [load_bundle(folder) for folder in (arguments.bundle, arguments.against) if folder is not None]
    emotions = bundles[0].mixture.emotions
    for bundle in bundles:
        if set(bundle.mixture.emotions) != set(emotions):
            raise ConfigError(
                f"--against: expected a bundle with the emotions {', '.join(emotions)}, got one with "
                f"{', '.join(bundle.mixture.emotions)}"
            )
    photographs = _read(arguments, emotions)
    arguments.output.mkdir(parents=True, exist_ok=True)  # an error comes before the long work, not after it
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=len(photographs) * len(bundles), note="")
        embedded = [_embed(bundle, photographs, lambda count: bar.advance(task, count)) for bundle in bundles]
        ranking = bar.add_task("ranking", total=None, note="")
        scores = transfer_scores(
            bundles[0].mixture,
            photographs,
            embedded[0],
            on_progress=lambda done, total: bar.update(ranking, completed=done, total=total),
        )
    predictions = [
        predict_photographs(bundle.mixture, photographs, each) for bundle, each in zip(bundles, embedded, strict=True)
    ]
    scores["figures"] = figures(predictions[0])
    scores["by"] = {column: figures_by(predictions[0], column) for column in arguments.by}
    if len(predictions) == 2:
        scores["against"] = {"bundle": str(arguments.against), **compare(*predictions)}
    if arguments.predictions is not None:
        _write_predictions(arguments.predictions, predictions[0])
    path = save_scores(arguments.output, scores)
    skips_path = save_skips(arguments.output, embedded[0].skipped)
    confusion = scores["all_emotions"]["confusion"]
    plots.confusion_matrix(arguments.output / "confusion.png", confusion, photographs.emotions)
    _print(scores, photographs.emotions)
    skipped = embedded[0].skipped
    for skip in skipped[:_SHOWN_SKIPS]:
        console.print(f"skipped {skip.path}: {skip.reason}")
    if len(skipped) > _SHOWN_SKIPS:
        console.print(f"skipped {len(skipped)} photographs in all: {skips_path}")
    console.print(f"all scores: {path}")
    return 0


def _read(arguments: argparse.Namespace, emotions: tuple[str, ...]) -> "LabelledPhotographs":
    """The data set, once the options are known to fit it."""
    name, root = arguments.dataset
    with console.status("reading"):
        photographs = read_dataset(name, Path(root), arguments.split, emotions)
    known = [*photographs.metadata, *([] if photographs.subjects is None else ["subject"])]
    for column in arguments.by:
        if column not in known:
            raise ConfigError(f"--by: expected one of the columns {', '.join(known) or '(none)'}, got {column!r}")
    if arguments.already_cropped is not None:
        photographs = replace(photographs, cropped=arguments.already_cropped)
    return photographs


def _print(scores: dict[str, Any], emotions: tuple[str, ...]) -> None:
    """The main figures, and what they cannot say."""
    from mien.index.evaluation.transfer import headline

    table = Table("metric", "value", title=scores["dataset"])
    for row in headline(scores):
        table.add_row(*row)
    for each in (table, *_figure_tables(scores), _confusion_table(emotions, scores["all_emotions"]["confusion"])):
        output.print(each)
    if scores["retrieval_leave_one_out"] is None:
        console.print("no retrieval scores: no photograph has a match, one of its emotion and of another subject")
    if len(scores["emotions"]) == 1:
        console.print(f"every photograph is labelled {scores['emotions'][0]}: its recall is all that this set can say")


def _embed(
    bundle: "Bundle", photographs: "LabelledPhotographs", on_progress: Callable[[int], object]
) -> "EmbeddedPhotographs":
    from mien.index.bundle.bundle import check_fits
    from mien.index.evaluation.transfer import embed_photographs
    from mien.model.pipeline import load_pipeline

    pipeline = load_pipeline(bundle.embedder_path)
    check_fits(bundle, pipeline.embedder)
    return embed_photographs(pipeline, photographs, on_progress=on_progress)


def _check_file(path: Path | None) -> None:
    """Refuse a file for predictions that cannot be written, before the long work."""
    if path is None:
        return
    if path.suffix.lower() not in (".csv", ".parquet", ".npz"):
        raise ConfigError(f"--predictions: expected a file that ends in .csv, .parquet or .npz, got {path.name}")
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"--predictions: expected an existing folder, got {path.resolve().parent}")
    if path.suffix.lower() == ".parquet":
        from mien.service.bulk.parquet import pyarrow

        pyarrow()


def _write_predictions(path: Path, predictions: "Predictions") -> None:
    """Write a file, whole or not at all."""
    with write_atomically(path) as file:
        if path.suffix.lower() == ".npz":
            np.savez(file, **predictions.arrays())  # type: ignore[arg-type]  # NumPy types keywords as one option
        elif path.suffix.lower() == ".parquet":
            from mien.service.bulk.parquet import pyarrow

            arrow = pyarrow()
            arrow.parquet.write_table(arrow.table(predictions.columns()), file)
        else:
            import csv
            import io

            columns = predictions.columns()
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
            file.write(text.getvalue().encode())


def _figure_tables(scores: dict[str, Any]) -> list[Table]:
    """Tables of the figures with intervals, of groups, and of the comparison with another bundle."""
    figures = scores["figures"]
    main = Table("emotion", "faces", "recall", "AUROC", title="95 % intervals in brackets")
    for name, value in figures["recall"].items():
        main.add_row(name, f"{figures['faces'][name]}", _text(value), f"{figures['auroc'].get(name, float('nan')):.3f}")
    main.add_row("balanced accuracy", "", _text(figures["balanced_accuracy"]), f"{figures['mean_auroc'] or 0:.3f}")
    main.add_row("accuracy", "", _text(figures["accuracy"]), "")
    main.add_row("accuracy, priors of Training", "", _text(figures["accuracy_data_prior"]), "")
    tables = [main]
    for column, groups in scores["by"].items():
        table = Table(column, "faces", "accuracy", "balanced accuracy")
        for each in groups:
            table.add_row(each["group"], f"{each['faces']}", _text(each["accuracy"]), _text(each["balanced_accuracy"]))
        tables.append(table)
    if "against" in scores:
        against = scores["against"]
        table = Table(
            "figure", "this bundle", "the other", "difference", "better in", title=f"{against['faces']} faces of both"
        )
        for name in ("accuracy", "balanced_accuracy"):
            each = against[name]
            table.add_row(
                name.replace("_", " "),
                f"{each['one']:.4f}",
                f"{each['other']:.4f}",
                _text(each["difference"]),
                f"{each['resamples_better']:.0%} of resamples",
            )
        tables.append(table)
    return tables


def _text(figure: list[float]) -> str:
    value, low, high = figure
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _confusion_table(emotions: tuple[str, ...], counts: list[list[int]]) -> Table:
    """Rows are labels, columns the nearest of all centroids; emotions that the set lacks have no row."""
    table = Table(
        "label", *emotions, title="faces by label and nearest centroid", box=None, padding=(0, 1), collapse_padding=True
    )
    for name, row in zip(emotions, counts, strict=True):
        if any(row):
            table.add_row(name, *map(str, row))
    return table

"""``mien evaluate --dataset``: the transfer protocol on any data set."""

from dataclasses import replace
from pathlib import Path

from rich.table import Table

from mien.index.bundle.bundle import check_fits, load_bundle
from mien.index.evaluation.evaluate import save_scores
from mien.index.evaluation.transfer import embed_photographs, headline, save_skips, transfer_scores
from mien.model.datasets.registry import read_dataset
from mien.model.emotions import EMOTIONS
from mien.model.pipeline import load_pipeline
from mien.service.commands.terminal import console, output, progress_bar

_SKIPS_SHOWN = 5


def transfer(
    bundle_folder: Path, dataset: str, root: Path, split: str | None, folder: Path, *, already_cropped: bool | None
) -> int:
    """``mien evaluate --dataset``.

    Args:
        bundle_folder: what is scored.
        dataset: one of ``DATASETS``.
        root: where the data set lies.
        split: the part of it; None takes the one that the protocol is about.
        folder: for ``scores.json`` and ``skipped.csv``.
        already_cropped: whether the photographs are face crops; None leaves it to the data set.

    Raises:
        DatasetError: the data set is not in its owner's layout, or has no face.
        ArtifactError: the bundle cannot be used.
        OSError: the folder cannot be written.
    """
    bundle = load_bundle(bundle_folder)
    pipeline = load_pipeline(bundle.embedder_path)
    check_fits(bundle, pipeline.embedder)
    with console.status("reading"):
        photographs = read_dataset(dataset, root, split)
    folder.mkdir(parents=True, exist_ok=True)  # before the long work, not after it
    if already_cropped is not None:
        photographs = replace(photographs, cropped=already_cropped)
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=len(photographs), note="")
        embedded = embed_photographs(pipeline, photographs, on_progress=lambda count: bar.advance(task, count))
        ranking = bar.add_task("ranking", total=None, note="")
        scores = transfer_scores(
            bundle.mixture,
            photographs,
            embedded,
            on_progress=lambda done, total: bar.update(ranking, completed=done, total=total),
        )
    path = save_scores(folder, scores)
    skips_path = save_skips(folder, embedded.skipped)
    table = Table("metric", "value", title=scores["dataset"])
    for row in headline(scores):
        table.add_row(*row)
    output.print(table)
    output.print(_confusion(scores["all_emotions"]["confusion"]))
    for skip in embedded.skipped[:_SKIPS_SHOWN]:
        console.print(f"skipped {skip.path}: {skip.reason}", markup=False)
    if len(embedded.skipped) > _SKIPS_SHOWN:
        console.print(f"skipped {len(embedded.skipped)} photographs in all: {skips_path}", markup=False)
    if scores["retrieval_leave_one_out"] is None:
        console.print("no retrieval scores: no photograph has another of its emotion, of another subject, to be found")
    console.print(f"all scores: {path}", markup=False)
    return 0


def _confusion(counts: list[list[int]]) -> Table:
    """Rows are labels, columns the nearest of all eight centroids; emotions that the set lacks have no row."""
    table = Table(
        "label", *EMOTIONS, title="faces by label and nearest centroid", box=None, padding=(0, 1), collapse_padding=True
    )
    for name, row in zip(EMOTIONS, counts, strict=True):
        if any(row):
            table.add_row(name, *map(str, row))
    return table

"""``mien groups``: how a bundle behaves on groups of people."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.evaluation.groups import Figure, GroupFigures, figures_of, look, read_photographs
from mien.model.faces.decoding import DecodingLimits
from mien.model.pipeline import load_pipeline
from mien.service.commands.terminal import console, output, progress_bar


def groups(table: Path, bundle_folder: Path, limits: DecodingLimits, *, markdown: Path | None, as_json: bool) -> int:
    """``mien groups``.

    Args:
        table: of labelled photographs with columns that divide people into groups.
        bundle_folder: what is looked at.
        limits: of what is decoded.
        markdown: file to write the table to, with how it was made; None writes none.
        as_json: print JSON in place of a table.

    Raises:
        DatasetError: the table cannot be read.
        ImageError: a photograph cannot be read.
        ArtifactError: the bundle cannot be used.
    """
    photographs, columns = read_photographs(table)
    bundle = load_bundle(bundle_folder)
    pipeline = load_pipeline(bundle.embedder_path, limits=limits, max_faces=1)
    with progress_bar() as bar:
        task = bar.add_task("looking", total=len(photographs), note="")
        looked = look(bundle, pipeline, photographs, lambda done, _: bar.update(task, completed=done))
    found = figures_of(looked, columns)
    if as_json:
        output.print(json.dumps([asdict(each) for each in found], indent=1), markup=False, soft_wrap=True)
    else:
        output.print(_table(found))
    if markdown is not None:
        markdown.write_text(
            as_markdown(found, table.resolve().name, bundle.manifest.sha256[EMBEDDER]), encoding="utf-8"
        )
        console.print(f"{markdown}: written", markup=False)
    return 0


def as_markdown(found: Sequence[GroupFigures], table: str, embedder_sha256: str) -> str:
    """The figures as a document."""
    names = list(found[0].figures)
    lines = [
        "# Behaviour on groups of people",
        "",
        f"Written by `mien groups {table} --markdown FILE`; the network begins with `{embedder_sha256[:12]}`. "
        f"{found[0].photographs} photographs of {found[0].people} people: mean over people, in brackets 95 % "
        "intervals (Wilson's; *probability* and *typicality* may be more certain than they say). *found*: a face was "
        "found. *named*: it was named as labelled, of all labels and of each. *probability*: of the label. *known*: "
        "typical enough of the known expressions. Where intervals overlap, the groups may differ or not.",
        "",
        "| | group | people | photographs | " + " | ".join(names) + " |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    before = None
    for each in found:
        column = each.column if each.column != before else ""
        before = each.column
        cells = [
            column,
            each.group,
            str(each.people),
            str(each.photographs),
            *(_words(each.figures.get(name)) for name in names),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _table(found: Sequence[GroupFigures]) -> Table:
    names = list(found[0].figures)
    table = Table(
        "",
        "group",
        "of",
        *(name.replace("probability", "prob.").replace("typicality", "typical") for name in names),
        title="means over people, with 95 % intervals",
    )
    before = None
    for each in found:
        column = each.column if each.column != before else ""
        before = each.column
        table.add_row(column, each.group, str(each.people), *(_narrow(each.figures.get(name)) for name in names))
    return table


def _words(figure: Figure | None) -> str:
    if figure is None:
        return ""
    low, high = figure.interval
    return f"{figure.mean:.2f} [{low:.2f}, {high:.2f}]"


def _narrow(figure: Figure | None) -> str:
    """The same over two lines: a terminal has 80 columns."""
    return _words(figure).replace(" [", "\n").replace(", ", "-").rstrip("]")

"""``mien groups``: how a bundle behaves on groups of people."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from mien.model.errors import ImageError
from mien.model.faces.decoding import DecodingLimits
from mien.service.commands.arguments import add_bundle_option
from mien.service.commands.options import add_config_options, read_options
from mien.service.commands.terminal import console, output, progress_bar, write_json

if TYPE_CHECKING:
    from mien.index.evaluation.groups import Figure, GroupFigures


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table",
        type=Path,
        metavar="TABLE",
        help="CSV with the columns image (or path), label (or emotion) and subject; every further column, such as "
        "gender, divides people into groups.",
    )
    parser.add_argument("--already-cropped", action="store_true", help="The images are face crops: detect nothing.")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="Also write the figures as a document.")
    parser.add_argument("--json", dest="as_json", action="store_true", help="Write JSON.")
    add_bundle_option(parser)
    add_config_options(parser, DecodingLimits)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and write the figures of each group."""
    from mien.index.bundle.bundle import load_bundle
    from mien.index.bundle.manifest import EMBEDDER
    from mien.index.evaluation.groups import group_figures, read_photographs
    from mien.index.evaluation.predictions import predict_photographs
    from mien.index.evaluation.transfer import UNREADABLE, embed_photographs
    from mien.model.pipeline import load_pipeline

    bundle = load_bundle(arguments.bundle)
    photographs = replace(read_photographs(arguments.table, bundle.mixture.emotions), cropped=arguments.already_cropped)
    pipeline = load_pipeline(bundle.embedder_path, limits=read_options(arguments, DecodingLimits))
    with progress_bar() as bar:
        task = bar.add_task("classifying", total=len(photographs), note="")
        embedded = embed_photographs(pipeline, photographs, on_progress=lambda count: bar.advance(task, count))
    for skip in embedded.skipped:
        if skip.kind == UNREADABLE:
            raise ImageError(f"{skip.path}: {skip.reason}")
    predictions = predict_photographs(bundle.mixture, photographs, embedded)
    figures = group_figures(photographs, embedded.rows, predictions)
    if arguments.as_json:
        write_json([asdict(each) for each in figures])
    else:
        output.print(_table(figures))
    if arguments.markdown is not None:
        text = _markdown(figures, arguments.table.resolve().name, bundle.manifest.sha256[EMBEDDER])
        arguments.markdown.write_text(text, encoding="utf-8")
        console.print(f"{arguments.markdown}: written")
    return 0


def _markdown(figures: "Sequence[GroupFigures]", table: str, embedder_sha256: str) -> str:
    """The figures as a Markdown document."""
    names = list(figures[0].figures)
    lines = [
        "# Behaviour on groups of people",
        "",
        f"Written by `mien groups {table} --markdown FILE`; the network begins with `{embedder_sha256[:12]}`. "
        f"{figures[0].photographs} photographs of {figures[0].people} people: mean over people, in brackets 95 % "
        "intervals (Wilson's; *probability* and *typicality* may be more certain than they say). *found*: a face was "
        "found. *named*: it was named as labelled, of all labels and of each. *probability*: of the label. *known*: "
        "typical enough of the known expressions. Where intervals overlap, the groups may differ or not.",
        "",
        "| | group | people | photographs | " + " | ".join(names) + " |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    before = None
    for each in figures:
        column = each.column if each.column != before else ""
        before = each.column
        cells = [
            column,
            each.group,
            str(each.people),
            str(each.photographs),
            *(_text(each.figures.get(name)) for name in names),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _table(figures: "Sequence[GroupFigures]") -> Table:
    names = list(figures[0].figures)
    table = Table(
        "",
        "group",
        "of",
        *(name.replace("probability", "prob.").replace("typicality", "typical") for name in names),
        title="means over people, with 95 % intervals",
    )
    before = None
    for each in figures:
        column = each.column if each.column != before else ""
        before = each.column
        table.add_row(column, each.group, str(each.people), *(_narrow(each.figures.get(name)) for name in names))
    return table


def _text(figure: "Figure | None") -> str:
    if figure is None:
        return ""
    low, high = figure.interval
    return f"{figure.mean:.2f} [{low:.2f}, {high:.2f}]"


def _narrow(figure: "Figure | None") -> str:
    """The same over two lines: a terminal has 80 columns."""
    return _text(figure).replace(" [", "\n").replace(", ", "-").rstrip("]")

"""``mien adapt``: a bundle for one's own domain, or with further emotions, from a few labelled photographs."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from mien.model.errors import ConfigError
from mien.service.commands.arguments import add_bundle_option
from mien.service.commands.terminal import console, output, progress_bar
from mien.service.operation.installation import require_training_modules


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photographs",
        type=Path,
        metavar="PHOTOGRAPHS",
        help="A folder with a folder of photographs for each label, or a table with the columns image and label, and "
        "perhaps subject, x, y, width and height, split.",
    )
    add_bundle_option(parser)
    parser.add_argument("--output", type=Path, metavar="PATH", help="Folder of the new bundle (default: only report).")
    parser.add_argument(
        "--new", nargs="+", default=(), metavar="LABEL", help="Labels that become further emotions, such as wink."
    )
    parser.add_argument("--split", default="all", metavar="NAME", help="Read only this part (default: all).")
    parser.add_argument(
        "--already-cropped", action="store_true", help="The photographs are face crops: detect nothing."
    )
    parser.add_argument("--report", type=Path, metavar="PATH", help="Write the report as JSON.")
    parser.add_argument("--force", action="store_true", help="Write the bundle even where it does not help.")


def run(arguments: argparse.Namespace) -> int:
    """Adapt, report what it is worth, and write the bundle if it helps."""
    require_training_modules()
    from mien.index.bundle.bundle import check_fits, load_bundle
    from mien.index.bundle.manifest import check_is_replaceable
    from mien.index.fitting import adapt
    from mien.model.pipeline import load_pipeline

    if arguments.force and arguments.output is None:
        raise ConfigError("--force needs --output: where the bundle is written")
    if arguments.output is not None:
        check_is_replaceable(arguments.output)
    bundle = load_bundle(arguments.bundle)
    emotions = bundle.mixture.emotions
    photographs = adapt.read_photographs(arguments.photographs, emotions, arguments.new, arguments.split)
    photographs = replace(photographs, cropped=arguments.already_cropped)
    pipeline = load_pipeline(bundle.embedder_path)
    check_fits(bundle, pipeline.embedder)
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=len(photographs), note="")
        embedded = adapt.embed_faces(
            pipeline, photographs, len(emotions), on_progress=lambda count: bar.advance(task, count)
        )
    adaptation, report = adapt.adapt_bundle(bundle, embedded, photographs.name)
    output.print(_table(report))
    for line in _verdict(report):
        console.print(line)
    if arguments.report is not None:
        arguments.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if arguments.output is None:
        return 0
    if not report["helps"] and not arguments.force:
        console.print(f"nothing is written; --force writes {arguments.output} all the same", style="red")
        return 1
    adapt.write_adaptation(bundle, adaptation, report, arguments.output)
    console.print(
        f"{arguments.output}: written; its network is that of {arguments.bundle}, so galleries stay as they are"
    )
    return 0


def _table(report: dict[str, Any]) -> Table:
    title = f"{report['photographs']}: {report['faces']} faces, cross-validated by {report['cross_validated_by']}"
    table = Table("figure", "before", "after", "gain", "95 % interval of the gain", title=title)
    for name, each in report["figures"].items():
        low, high = each["interval"]
        table.add_row(
            name.replace("macro_recall", "recall, mean over emotions"),
            f"{each['before']:.3f}",
            f"{each['after']:.3f}",
            f"{each['gain']:+.3f}",
            f"[{low:+.3f}, {high:+.3f}]",
        )
    for name, key in (
        ("faces with a known expression", "known"),
        ("accuracy on the bundle's gallery", "gallery_accuracy"),
    ):
        each = report[key]
        gain = each["after"] - each["before"]
        table.add_row(name, f"{each['before']:.3f}", f"{each['after']:.3f}", f"{gain:+.3f}", "")
    return table


def _verdict(report: dict[str, Any]) -> list[str]:
    """What the figures mean, in sentences."""
    gain = report["figures"]["macro_recall"]
    low, high = (100 * bound for bound in gain["interval"])
    accuracy = 100 * report["figures"]["accuracy"]["gain"]
    change = (
        f"recall over emotions changes by {100 * gain['gain']:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}), "
        f"accuracy by {accuracy:+.1f}"
    )
    if report["helps"]:
        lines = [f"it helps: {change}"]
    elif report["strength"] is None and not report["new_emotions"]:
        lines = ["it does not help: the centroids of the bundle name these faces best as they are"]
    else:
        lines = [f"these faces do not show that it helps: {change}"]
    for what, count in report["left_out"].items():
        lines.append(f"left out: {count} {what}")
    lines += [
        f"{name} is shown by one person: how it is named on other people cannot be measured"
        for name, groups in report["new_emotions"].items()
        if groups == 1
    ]
    unfit = [emotion for emotion, fit in report["sub_classes"].items() if fit < 0]
    if unfit:
        lines.append(f"the sub-classes of {', '.join(unfit)} do not describe these faces better than one Gaussian does")
    if report["cross_validated_by"] == "photograph":
        lines.append(
            "cross-validated by photograph, as fewer than two people are named (a column subject): where several "
            "photographs show one person, other people gain less"
        )
    return lines

"""``mien gallery import``: adds faces from folders, tables or archives, by this machine or by a cluster."""

import argparse
import csv
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mien.model.faces.decoding import DecodingLimits
from mien.service.commands.gallery.place import add_place_options, open_place
from mien.service.commands.options import add_config_options, read_options
from mien.service.commands.terminal import console, progress_bar
from mien.service.settings import Settings

if TYPE_CHECKING:
    from mien.index.bundle.bundle import Bundle
    from mien.index.gallery.store import GalleryStore
    from mien.service.bulk.local import Importer
    from mien.service.bulk.ray import ClusterImporter
    from mien.service.bulk.report import ImportReport

_SHOWN_SKIPS: Final = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    add_place_options(parser)
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="What to import: paths, or addresses such as s3://bucket/faces."
    )
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="Import by a Ray cluster: auto is the one that this machine belongs to, local this machine alone, or "
        "HOST:PORT of its head.",
    )
    parser.add_argument(
        "--faces",
        type=face_choice,
        default=1,
        metavar="WHICH",
        help="Which faces of an image: largest, all, or the N largest; further ones get the id with #2, #3 and so on "
        "(default: largest).",
    )
    parser.add_argument(
        "--thumbnails",
        action=argparse.BooleanOptionalAction,
        help="Keep a small picture of each face, also of those that the gallery has without "
        "(default: MIEN_GALLERY_THUMBNAILS).",
    )
    parser.add_argument("--already-cropped", action="store_true", help="The images are face crops: detect nothing.")
    parser.add_argument(
        "--replace", action="store_true", help="Replace faces that the gallery has with the same id and other content."
    )
    parser.add_argument("--skipped", type=Path, metavar="FILE", help="CSV file for the faces skipped, with reasons.")
    add_config_options(parser, DecodingLimits)


def face_choice(text: str) -> int | None:
    """How many faces of an image, largest first; None for all.

    Raises:
        ValueError: it is none of ``largest``, ``all`` and a number from 1.
    """
    number = {"largest": 1, "all": 0}[text] if text in ("largest", "all") else int(text)
    if number < 1 and text != "all":
        raise ValueError(text)
    return number or None


def run(arguments: argparse.Namespace) -> int:
    """Import, and print what became of the faces; 0 if all are in the gallery, 1 if some were skipped."""
    from mien.service.bulk.manifests import open_manifest
    from mien.service.bulk.object_store import place_of
    from mien.service.bulk.report import ImportReport

    report = ImportReport()
    with open_place(arguments) as (gallery, bundle, settings):
        importer = _importer(arguments, gallery, bundle, settings)
        for place in map(place_of, arguments.paths):
            manifest = open_manifest(place, bundle.mixture.emotions)
            with progress_bar() as bar:
                task = bar.add_task(f"importing {place.name}", total=manifest.count, note="")
                report.include(importer.run(manifest, lambda count: bar.advance(task, count)))  # noqa: B023
    _print_report(report)
    if report.added and not _keeps_thumbnails(arguments, settings):
        console.print("No pictures are kept: --thumbnails keeps a small one of each face, for the page")
    if arguments.skipped is not None:
        with arguments.skipped.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("source", "id", "reason"))
            writer.writerows(report.skipped)
    return 1 if report.skipped else 0


def _importer(
    arguments: argparse.Namespace, gallery: "GalleryStore", bundle: "Bundle", settings: Settings
) -> "Importer | ClusterImporter":
    """An importer by the threads of this process, or by a cluster."""
    from mien.index.bundle.bundle import check_fits
    from mien.model.pipeline import load_pipeline
    from mien.service.bulk.actors import ClusterJob
    from mien.service.bulk.local import Importer
    from mien.service.bulk.ray import ClusterImporter
    from mien.service.bulk.stages import ImportOptions

    limits = read_options(arguments, DecodingLimits)
    options = ImportOptions(
        already_cropped=arguments.already_cropped,
        max_faces=arguments.faces,
        thumbnails=_keeps_thumbnails(arguments, settings),
        replacing=arguments.replace,
    )
    if arguments.cluster is not None:
        job = ClusterJob(
            bundle=bundle.folder.resolve(),
            embedder_sha256=gallery.embedder_sha256,
            mien_version=version("mien"),
            place=str(settings.gallery),
            embedding_size=gallery.embedding_size,
            detector=settings.detector,
            limits=limits,
            provider=settings.provider,
            options=options,
        )
        return ClusterImporter(gallery, bundle, job, arguments.cluster)
    pipeline = load_pipeline(
        bundle.embedder_path,
        detector=settings.detector,
        limits=limits,
        max_faces=arguments.faces,
        threads=1,  # each core embeds a batch of its own
        provider=settings.provider,
    )
    check_fits(bundle, pipeline.embedder)
    return Importer(gallery, bundle, pipeline, options)


def _keeps_thumbnails(arguments: argparse.Namespace, settings: Settings) -> bool:
    return settings.gallery_thumbnails if arguments.thumbnails is None else bool(arguments.thumbnails)


def _print_report(report: "ImportReport") -> None:
    for source, face_id, reason in report.skipped[:_SHOWN_SKIPS]:
        console.print(f"skipped {source if str(source).endswith(face_id) else f'{source} ({face_id})'}: {reason}")
    console.print(
        f"{report.added} added, {report.replaced} replaced, {report.unchanged} there already, "
        f"{len(report.skipped)} skipped"
    )
    for node, faces in sorted(report.nodes.items()):
        console.print(f"{node}: {faces}")

"""``mien gallery``: what an owner does with a gallery beside serving it; a service may have it open meanwhile."""

import argparse
import csv
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from mien.index.bundle.bundle import Bundle, check_fits, load_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.gallery.embedded.gallery import EmbeddedGallery
from mien.index.gallery.milvus.gallery import MilvusGallery
from mien.index.gallery.open import open_gallery
from mien.model.errors import ConfigError
from mien.model.faces.decoding import DecodingLimits
from mien.model.pipeline import load_pipeline
from mien.service.bulk.local import Importer, export_parquet
from mien.service.bulk.manifests import read_manifest
from mien.service.bulk.object_store import place_of
from mien.service.bulk.ray import ClusterImporter, Work
from mien.service.bulk.reembed import re_embed_gallery
from mien.service.bulk.stages import ImportReport
from mien.service.commands.gallery_migrate import migrate_gallery
from mien.service.commands.options import add_options as add_config_options
from mien.service.commands.options import read_options
from mien.service.commands.terminal import console, output, progress_bar
from mien.service.inference.gallery_additions import to_png
from mien.service.inference.served_gallery import index_policy
from mien.service.settings import Settings, read_settings

_SHOWN: Final = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give ``mien gallery`` its actions."""
    actions: Any = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        sub.set_defaults(act=run)
        sub.add_argument(
            "--gallery",
            metavar="PLACE",
            help="The gallery's folder, or address such as milvus://host:19530/collection (default: MIEN_GALLERY).",
        )
        sub.add_argument("--bundle", type=Path, metavar="PATH", help="The bundle's folder (default: MIEN_BUNDLE).")
        return sub

    importing = action("import", _import, "Add faces from folders, tables (CSV, Parquet) or archives (faces.npz).")
    importing.add_argument(
        "paths", nargs="+", metavar="PATH", help="What to import: paths, or addresses such as s3://bucket/faces."
    )
    importing.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="Import by a Ray cluster: auto is the one that this machine belongs to, local this machine alone, or "
        "HOST:PORT of its head.",
    )
    importing.add_argument("--already-cropped", action="store_true", help="The images are face crops.")
    importing.add_argument("--replace", action="store_true", help="Replace faces whose id is there with other content.")
    importing.add_argument("--skipped", type=Path, metavar="FILE", help="CSV file for what was skipped, and why.")
    add_config_options(importing, DecodingLimits)
    exporting = action("export", _export, "Write all faces, with their embeddings, to a Parquet file.")
    exporting.add_argument("output", type=Path, metavar="FILE", help="The file to write, such as gallery.parquet.")
    exporting.add_argument("--thumbnails", action="store_true", help="Write the thumbnails that were kept, too.")
    keeping = action("snapshot", _snapshot, "Write all there is at this moment to a new folder.")
    keeping.add_argument("output", type=Path, metavar="PATH", help="The folder to write.")
    restoring = action("restore", _restore, "Put what a snapshot holds in the place of all there is.")
    restoring.add_argument("snapshot", type=Path, metavar="PATH", help="The snapshot's folder.")
    embedding = action("re-embed", _re_embed, "Embed a gallery anew with the bundle's network, into a new folder.")
    embedding.add_argument(
        "output", type=Path, metavar="PATH", help="Folder of the new gallery; gone on from if there."
    )
    embedding.add_argument("--originals", type=Path, metavar="PATH", help="Folder that the ids are paths in.")
    embedding.add_argument("--already-cropped", action="store_true", help="The originals are face crops.")
    migrating = action("migrate", _migrate, "Copy all faces to another gallery; a run that was interrupted goes on.")
    migrating.add_argument("--to", required=True, metavar="PLACE", help="Folder, or address, of the other gallery.")
    migrating.add_argument("--replace", action="store_true", help="Replace faces whose id is there with other content.")
    checking = action(
        "check", _check, "Compare memory with database, and approximate search with exact search; prints JSON."
    )
    checking.add_argument("--queries", type=int, default=200, metavar="N", help="Faces to search for (default: 200).")
    checking.add_argument("--k", type=int, default=10, metavar="N", help="Matches of each (default: 10).")


def run(arguments: argparse.Namespace) -> int:
    """``mien gallery``: 0 done, 1 where something was skipped or does not agree.

    Raises:
        ConfigError: no folder was named.
        MienError: the action cannot be done.
    """
    status: int = arguments.act(arguments)
    return status


def _migrate(arguments: argparse.Namespace) -> int:
    settings = read_settings(os.environ, gallery=arguments.gallery, bundle=arguments.bundle)
    return migrate_gallery(_place(settings), arguments.to, settings.bundle, replace=arguments.replace)


def _place(settings: Settings) -> str:
    if settings.gallery is None:
        raise ConfigError("which gallery? expected --gallery or MIEN_GALLERY, got neither")
    return settings.gallery


def _opened(arguments: argparse.Namespace) -> tuple[EmbeddedGallery | MilvusGallery, Bundle, Settings]:
    settings = read_settings(os.environ, gallery=arguments.gallery, bundle=arguments.bundle)
    place = _place(settings)
    bundle = load_bundle(settings.bundle)
    size = bundle.mixture.centroids.shape[1]
    policy = index_policy(settings)
    store = open_gallery(place, size, bundle.manifest.sha256[EMBEDDER], policy=policy)
    for remark in store.remarks:
        console.print(remark, style="yellow", markup=False)
    return store, bundle, settings


def _import(arguments: argparse.Namespace) -> int:
    store, bundle, settings = _opened(arguments)
    total = ImportReport()
    try:
        importer = _importer(arguments, store, bundle, settings)
        for place in map(place_of, arguments.paths):
            manifest = read_manifest(place, bundle.mixture.emotions)
            with progress_bar() as bar:
                task = bar.add_task(f"importing {place.name}", total=manifest.count, note="")
                total.include(importer.run(manifest, lambda count: bar.advance(task, count)))  # noqa: B023
    finally:
        store.close()
    for source, face_id, reason in total.skipped[:_SHOWN]:
        console.print(f"skipped {source} ({face_id}): {reason}", markup=False)
    if arguments.skipped is not None:
        with arguments.skipped.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("source", "id", "reason"))
            writer.writerows(total.skipped)
    console.print(
        f"{total.added} added, {total.replaced} replaced, {total.unchanged} there already, "
        f"{len(total.skipped)} skipped",
        markup=False,
    )
    for node, faces in sorted(total.nodes.items()):
        console.print(f"{node}: {faces}", markup=False)
    return 1 if total.skipped else 0


def _importer(
    arguments: argparse.Namespace, store: EmbeddedGallery | MilvusGallery, bundle: Bundle, settings: Settings
) -> Importer | ClusterImporter:
    """What imports: the threads of this process, or a cluster."""
    limits = read_options(arguments, DecodingLimits)
    if arguments.cluster is not None:
        work = Work(
            bundle=bundle.folder.resolve(),
            embedder_sha256=store.embedder_sha256,
            mien_version=version("mien"),
            place=_place(settings),
            embedding_size=store.embedding_size,
            detector=settings.detector,
            limits=limits,
            provider=settings.provider,
            already_cropped=arguments.already_cropped,
            thumbnails=settings.gallery_thumbnails,
            replacing=arguments.replace,
        )
        return ClusterImporter(store, bundle, work, arguments.cluster)
    pipeline = load_pipeline(
        bundle.embedder_path, detector=settings.detector, limits=limits, max_faces=1, provider=settings.provider
    )
    check_fits(bundle, pipeline.embedder)
    return Importer(
        store,
        bundle,
        pipeline,
        already_cropped=arguments.already_cropped,
        replacing=arguments.replace,
        thumbnail=to_png if settings.gallery_thumbnails else None,
    )


def _export(arguments: argparse.Namespace) -> int:
    store, _, _ = _opened(arguments)
    try:
        with progress_bar() as bar:
            task = bar.add_task("exporting", total=store.count(), note="")
            count = export_parquet(
                store, arguments.output, lambda done: bar.advance(task, done), thumbnails=arguments.thumbnails
            )
    finally:
        store.close()
    console.print(f"{arguments.output}: {count} faces", markup=False)
    return 0


def _snapshot(arguments: argparse.Namespace) -> int:
    store, _, _ = _opened(arguments)
    try:
        count = store.snapshot(arguments.output)
    finally:
        store.close()
    console.print(f"{arguments.output}: {count} faces", markup=False)
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    store, _, _ = _opened(arguments)
    try:
        count = store.restore(arguments.snapshot)
    finally:
        store.close()
    console.print(f"restored {count} faces", markup=False)
    return 0


def _re_embed(arguments: argparse.Namespace) -> int:
    settings = read_settings(os.environ, gallery=arguments.gallery, bundle=arguments.bundle)
    return re_embed_gallery(
        Path(_place(settings)),
        arguments.output,
        settings.bundle,
        originals=arguments.originals,
        already_cropped=arguments.already_cropped,
    )


def _check(arguments: argparse.Namespace) -> int:
    store, _, _ = _opened(arguments)
    try:
        if isinstance(store, EmbeddedGallery):
            store.wait_for_index()
        report = store.check(arguments.queries, arguments.k)
    finally:
        store.close()
    output.print(json.dumps(report, indent=2), markup=False, soft_wrap=True)
    return 0 if report.get("memory_agrees_with_database", True) and report.get("database", "ok") == "ok" else 1

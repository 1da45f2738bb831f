"""The bundle: the folder with everything that the service needs, loaded and written whole.

    manifest.json    format version, SHA-256 of each file, how it was made, its scores   (``manifest``)
    embedder.onnx    the network, with preprocessing, emotions, sigma and training settings in its metadata
                     (``mien.model.embedder``)
    mixture.npz      centroids, covariances, weights, sigma and quantiles of the Mahalanobis distance; after
                     ``mien calibrate`` also the calibration   (``mixture_npz``)
    gallery.npz      ids, embeddings, labels and votes of the faces that ship with it   (``gallery_npz``)
    portraits.onnx   optional: paints the average face of any point   (``mien.model.portraits``)
    covering.npz     optional: the test of covered mouths and eyes   (``covering_npz``)
    subclasses.npz   optional: the sub-classes of each emotion, and that of each gallery face   (``sub_classes_npz``)
    demonstration.npz   optional: faces that are free to show, with their pictures   (``demonstration_npz``)

There are no photographs of the training data in it. A bundle is data: nothing in it is pickled, and loading it runs no
code from it. Each file is checked against the manifest, and must have been made with the embedder of the same folder.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mien.index.bundle.covering_npz import read_covering, write_covering
from mien.index.bundle.demonstration_npz import read_demonstration, write_demonstration
from mien.index.bundle.gallery_npz import GalleryFaces, read_gallery, to_gallery, write_gallery
from mien.index.bundle.manifest import (
    COVERING,
    DEMONSTRATION,
    EMBEDDER,
    FORMAT_VERSION,
    GALLERY,
    MIXTURE,
    PORTRAITS,
    SUB_CLASSES,
    Manifest,
    check_digests,
    check_is_replaceable,
    read_manifest,
    write_manifest,
)
from mien.index.bundle.mixture_npz import read_mixture, write_mixture
from mien.index.bundle.sub_classes_npz import read_sub_classes, write_sub_classes
from mien.index.errors import BundleError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.fixed_gallery import FixedGallery
from mien.index.mixture.covering import CoveringTest
from mien.index.mixture.mixture import Mixture
from mien.index.mixture.sub_classes import SubClasses
from mien.model.embedder.embedder import Embedder
from mien.model.files import sha256_of


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle.

    Attributes:
        folder: where it was loaded from.
        manifest: its description.
        mixture: gives the emotion of an embedding.
        gallery: the faces that ship with it, searchable.
        sub_classes: the sub-classes of the emotions; None until they are discovered.
        demonstration: faces that are free to show, with their thumbnails; they are served beside those of ``gallery``.
        covering: the test of covered mouths and eyes; None until it is fitted.
    """

    folder: Path
    manifest: Manifest
    mixture: Mixture
    gallery: FixedGallery
    sub_classes: SubClasses | None = None
    demonstration: tuple[GalleryFace, ...] = ()
    covering: CoveringTest | None = None

    @property
    def sub_class_names(self) -> Mapping[str, str]:
        """The id of each sub-class that has a name to that name, such as ``happiness/closed smile``."""
        return {} if self.sub_classes is None else self.sub_classes.names

    @property
    def embedder_path(self) -> Path:
        """The exported network."""
        return self.folder / EMBEDDER

    @property
    def portraits_path(self) -> Path | None:
        """The network that paints portraits; None where the bundle has none."""
        return self.folder / PORTRAITS if PORTRAITS in self.manifest.sha256 else None


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle and check that its parts are whole and belong together.

    Raises:
        BundleError: a file is missing, changed, broken or of another format version, or parts do not fit.
    """
    manifest = read_manifest(folder)
    check_digests(folder, manifest)
    embedder_sha256 = manifest.sha256[EMBEDDER]
    mixture = read_mixture(folder / MIXTURE, embedder_sha256)
    size = mixture.centroids.shape[1]
    faces = read_gallery(folder / GALLERY, embedder_sha256, mixture.emotions, size)
    sub_classes = None
    if SUB_CLASSES in manifest.sha256:
        sub_classes = read_sub_classes(folder / SUB_CLASSES, embedder_sha256, mixture.emotions, size, faces.ids)
    gallery = to_gallery(faces, mixture.emotions, sub_classes)
    demonstration: tuple[GalleryFace, ...] = ()
    if DEMONSTRATION in manifest.sha256:
        demonstration = read_demonstration(folder / DEMONSTRATION, embedder_sha256, size, gallery.rows)
    covering = None
    if COVERING in manifest.sha256:
        covering = read_covering(folder / COVERING, embedder_sha256, size)
    return Bundle(folder, manifest, mixture, gallery, sub_classes, demonstration, covering)


def check_fits(bundle: Bundle, embedder: Embedder) -> None:
    """Refuse an embedder that the bundle's mixture and gallery were not made with.

    A mixture may have further emotions, after those that the network was trained on (``mien.index.fitting.adapt``).

    Raises:
        BundleError: dimensions or emotions differ.
    """
    for name, expected, found in (
        ("number of dimensions", bundle.mixture.centroids.shape[1], embedder.embedding_size),
        ("emotions", bundle.mixture.emotions[: len(embedder.emotions)], embedder.emotions),
    ):
        if expected != found:
            raise BundleError(f"{bundle.folder}: the mixture has the {name} {expected}, the embedder {found}")


def write_bundle(
    folder: Path, embedder: Path, mixture: Mixture, faces: GalleryFaces, made_from: dict[str, Any]
) -> Manifest:
    """Write a bundle; an older one in the same folder is replaced once the new one is complete.

    Args:
        folder: where; its parent is created.
        embedder: the exported network, copied.
        mixture: fitted on embeddings of that network.
        faces: embedded by that network.
        made_from: how it was made, JSON values.

    Raises:
        BundleError: the folder holds something that is not a bundle.
    """
    check_is_replaceable(folder)
    draft = _empty_draft(folder)
    draft.mkdir(parents=True)
    shutil.copyfile(embedder, draft / EMBEDDER)
    embedder_sha256 = sha256_of(draft / EMBEDDER)
    write_mixture(draft / MIXTURE, mixture, embedder_sha256)
    write_gallery(draft / GALLERY, faces, embedder_sha256)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        mien_version=version("mien"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256={EMBEDDER: embedder_sha256} | {name: sha256_of(draft / name) for name in (MIXTURE, GALLERY)},
        made_from=made_from,
    )
    write_manifest(draft, manifest)
    if folder.exists():
        shutil.rmtree(folder)
    draft.rename(folder)
    return manifest


def replace_mixture(folder: Path, mixture: Mixture, calibration: dict[str, Any]) -> Manifest:
    """Give a bundle a calibrated mixture and the report of its calibration; the scores of the old one are dropped.

    Raises:
        BundleError: the folder is no bundle.
    """
    return _replace_file(
        folder,
        MIXTURE,
        lambda path, embedder_sha256: write_mixture(path, mixture, embedder_sha256),
        {"calibration": calibration, "scores": None},
    )


def replace_sub_classes(folder: Path, sub_classes: SubClasses, report: dict[str, Any]) -> Manifest:
    """Give a bundle other sub-classes, and the report of their discovery; each of its gallery faces must have one.

    Raises:
        BundleError: the folder is no bundle.
    """
    ids = tuple(entry.id for entry in load_bundle(folder).gallery.entries)
    return _replace_file(
        folder,
        SUB_CLASSES,
        lambda path, embedder_sha256: write_sub_classes(path, sub_classes, embedder_sha256, ids),
        {"sub_classes": report},
    )


def replace_covering(folder: Path, test: CoveringTest) -> Manifest:
    """Give a bundle another test of covered mouths and eyes.

    Raises:
        BundleError: the folder is no bundle.
    """
    return _replace_file(
        folder, COVERING, lambda path, embedder_sha256: write_covering(path, test, embedder_sha256), {}
    )


def replace_portraits(folder: Path, network: Path) -> Manifest:
    """Give a bundle another portrait network, an ONNX file that is copied.

    Raises:
        BundleError: the folder is no bundle.
    """
    return _replace_file(folder, PORTRAITS, lambda path, _: shutil.copyfile(network, path), {})


def replace_demonstration(folder: Path, faces: Sequence[GalleryFace]) -> Manifest:
    """Give a bundle other faces to show, with their thumbnails.

    Raises:
        BundleError: the folder is no bundle.
    """
    return _replace_file(
        folder,
        DEMONSTRATION,
        lambda path, embedder_sha256: write_demonstration(path, faces, embedder_sha256),
        {},
    )


def record_scores(folder: Path, scores: dict[str, Any]) -> None:
    """Keep scores (JSON values) in the manifest of a bundle."""
    write_manifest(folder, read_manifest(folder).model_copy(update={"scores": scores}))


def write_adapted(
    bundle: Bundle, output: Path, mixture: Mixture, sub_classes: SubClasses | None, report: dict[str, Any]
) -> Manifest:
    """Write a bundle with another mixture over the same network and gallery; its scores are dropped.

    Args:
        bundle: the one to start from; it stays as it is, unless the output is its folder.
        output: folder of the new bundle.
        mixture: whose first emotions are those of the bundle.
        sub_classes: of the mixture; None where the bundle has none.
        report: of the adaptation, JSON values.

    Raises:
        BundleError: the output folder holds something else.
    """
    check_is_replaceable(output)
    ids = tuple(entry.id for entry in bundle.gallery.entries)
    writers: dict[str, Callable[[Path, str], object]] = {MIXTURE: lambda path, sha: write_mixture(path, mixture, sha)}
    if sub_classes is not None:
        writers[SUB_CLASSES] = lambda path, sha: write_sub_classes(path, sub_classes, sha, ids)
    return _write_changed(bundle.folder, output, writers, {"adaptation": report, "scores": None})


def _replace_file(folder: Path, name: str, write: Callable[[Path, str], object], update: dict[str, Any]) -> Manifest:
    """Replace one file of a bundle and update its manifest, all or nothing."""
    return _write_changed(folder, folder, {name: write}, update)


def _write_changed(
    source: Path, output: Path, writers: Mapping[str, Callable[[Path, str], object]], update: dict[str, Any]
) -> Manifest:
    """Write a bundle with some files of another changed, in a copy that then takes its place.

    Each of ``writers`` is called with the path of the file and the SHA-256 of the embedder.
    """
    manifest = read_manifest(source)
    output = output.resolve()  # "." has no name from which to make the draft's
    draft = _empty_draft(output)
    shutil.copytree(source, draft)
    for name, write in writers.items():
        write(draft / name, manifest.sha256[EMBEDDER])
    digests = {name: sha256_of(draft / name) for name in writers}
    manifest = manifest.model_copy(update={"sha256": manifest.sha256 | digests, **update})
    write_manifest(draft, manifest)
    shutil.rmtree(output, ignore_errors=True)
    draft.rename(output)
    return manifest


def _empty_draft(folder: Path) -> Path:
    """Where a bundle is written until it is complete; what an earlier attempt left there is deleted."""
    draft = folder.with_name(folder.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    return draft

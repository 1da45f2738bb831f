"""The bundle: one folder with everything that the service needs, written and loaded whole.

    manifest.json    format version, SHA-256 of each file, how it was made, its scores
    embedder.onnx    the network, with preprocessing, emotions, sigma and training settings in its metadata
    mixture.npz      centroids, covariances, weights, sigma, typical distances; once calibrated, the rest of
                     ``mien.index.mixture.mixture.Calibration``
    gallery.npz      ids, embeddings, labels and votes of the faces that ship with it
    portraits.onnx   paints the average face of any point; a bundle may lack it
    subclasses.npz   once discovered: the sub-classes of each emotion, and that of each gallery face

A bundle is data: loading one never runs code from it. Parts that do not belong together are refused.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from mien.index.bundle.npz import check_arrays, check_ascending, check_covariances, check_positive, read_arrays
from mien.index.bundle.sub_classes_file import read_sub_classes, write_sub_classes
from mien.index.gallery.gallery import Entry, Gallery
from mien.index.mixture.background import Background
from mien.index.mixture.mixture import Calibration, Mixture
from mien.index.mixture.sub_classes import SubClasses
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import VOTE_COLUMNS
from mien.model.errors import BundleError, first_fault
from mien.model.files import written_whole

FORMAT_VERSION: Final = 1
"""Version of the bundle's layout; another one is refused."""

MANIFEST: Final = "manifest.json"
EMBEDDER: Final = "embedder.onnx"
MIXTURE: Final = "mixture.npz"
GALLERY: Final = "gallery.npz"
PORTRAITS: Final = "portraits.onnx"
SUB_CLASSES: Final = "subclasses.npz"
FILES: Final = (EMBEDDER, MIXTURE, GALLERY)
"""What every bundle has."""
OPTIONAL_FILES: Final = (SUB_CLASSES, PORTRAITS)
"""What a bundle may have."""

CALIBRATION_ARRAYS: Final = (
    "trained_sigma",
    "votes_sigma",
    "background_centroid",
    "background_covariance",
    "background_floor",
    "strangeness",
    "min_typicality",
)
"""What a calibrated ``mixture.npz`` has besides: all of them or none."""


class Manifest(BaseModel):
    """``manifest.json``."""

    model_config = ConfigDict(extra="forbid")

    format_version: int
    mien_version: str
    created: str
    sha256: dict[str, str]
    made_from: dict[str, Any]
    calibration: dict[str, Any] | None = None
    sub_classes: dict[str, Any] | None = None
    scores: dict[str, Any] | None = None


@dataclass(frozen=True)
class GalleryFaces:
    """The faces that ship with a bundle.

    Attributes:
        ids: (n,) unique names.
        embeddings: (n, d) float32.
        labels: (n,) int64 indices into the emotions.
        votes: (n, 10) uint8 counts, columns as in ``VOTE_COLUMNS``.
        source: metadata that all of them share, such as data set and split.
    """

    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    votes: NDArray[np.uint8]
    source: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """What the service serves.

    Attributes:
        folder: where it was loaded from.
        manifest: what it says of itself.
        mixture: names the emotion of an embedding.
        gallery: finds its neighbours.
        subclasses: the classes within its classes; None until they are discovered.
    """

    folder: Path
    manifest: Manifest
    mixture: Mixture
    gallery: Gallery
    subclasses: SubClasses | None = None

    @property
    def embedder_path(self) -> Path:
        """The exported network."""
        return self.folder / EMBEDDER

    @property
    def portraits_path(self) -> Path | None:
        """The network that paints portraits, where the bundle has one."""
        return self.folder / PORTRAITS if PORTRAITS in self.manifest.sha256 else None


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle and check that its parts are whole and belong together.

    Raises:
        BundleError: a file is missing, changed, broken or of another format version, or parts do not fit.
    """
    manifest = read_manifest(folder)
    for name in (*FILES, *(name for name in OPTIONAL_FILES if name in manifest.sha256)):
        path = folder / name
        if not path.is_file():
            raise BundleError(f"the bundle {folder} lacks {name}")
        found = sha256_of(path)
        if found != manifest.sha256.get(name):
            raise BundleError(
                f"{path} does not belong to this bundle: its SHA-256 is {found[:12]}…, "
                f"{MANIFEST} says {str(manifest.sha256.get(name))[:12]}…"
            )
    mixture = _read_mixture(folder / MIXTURE, manifest)
    faces = _read_gallery(folder / GALLERY, manifest, len(mixture.emotions))
    if faces.embeddings.shape[1] != mixture.centroids.shape[1]:
        raise BundleError(
            f"{folder}: the gallery has {faces.embeddings.shape[1]} dimensions, "
            f"the mixture {mixture.centroids.shape[1]}"
        )
    subclasses = None
    if SUB_CLASSES in manifest.sha256:
        subclasses = read_sub_classes(
            folder / SUB_CLASSES, manifest.sha256[EMBEDDER], mixture.emotions, mixture.centroids.shape[1], faces.ids
        )
    return Bundle(folder, manifest, mixture, to_gallery(faces, mixture.emotions, subclasses), subclasses)


def check_fits(bundle: Bundle, embedder: Embedder) -> None:
    """Refuse an embedder that the bundle's mixture and gallery were not made with.

    Raises:
        BundleError: dimensions or emotions differ.
    """
    for what, ours, theirs in (
        ("number of dimensions", bundle.mixture.centroids.shape[1], embedder.embedding_size),
        ("emotions", bundle.mixture.emotions, embedder.emotions),
    ):
        if ours != theirs:
            raise BundleError(f"{bundle.folder}: the mixture has the {what} {ours}, the embedder {theirs}")


def to_gallery(faces: GalleryFaces, emotions: tuple[str, ...], subclasses: SubClasses | None = None) -> Gallery:
    """A searchable gallery; the votes become each face's metadata."""
    named = {face: subclasses.each[place].id for face, place in subclasses.of_face.items()} if subclasses else {}
    entries = [
        Entry(
            face_id,
            emotions[label],
            {
                **faces.source,
                "votes": {name: int(count) for name, count in zip(VOTE_COLUMNS, row, strict=True) if count},
            },
            sub_class=named.get(face_id),
        )
        for face_id, label, row in zip(faces.ids, faces.labels.tolist(), faces.votes.tolist(), strict=True)
    ]
    return Gallery(entries, faces.embeddings)


def write_bundle(
    folder: Path, embedder: Path, mixture: Mixture, faces: GalleryFaces, made_from: dict[str, Any]
) -> Manifest:
    """Write a bundle; an older one in the same folder is replaced only when the new one is complete.

    Args:
        folder: where; its parent is created.
        embedder: the exported network, copied.
        mixture: fitted on embeddings of that network.
        faces: embedded by that network.
        made_from: how it was made, JSON values.

    Raises:
        BundleError: the folder holds something that is not a bundle.
    """
    check_output(folder)
    draft = folder.with_name(folder.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    shutil.copyfile(embedder, draft / EMBEDDER)
    sha256 = {EMBEDDER: sha256_of(draft / EMBEDDER)}
    made_with = np.array(sha256[EMBEDDER])
    _write_mixture(draft / MIXTURE, mixture, sha256[EMBEDDER])
    np.savez_compressed(
        draft / GALLERY,
        embedder_sha256=made_with,
        ids=np.array(faces.ids),
        embeddings=faces.embeddings,
        labels=faces.labels.astype(np.uint8),
        votes=faces.votes,
        source=np.array(json.dumps(faces.source)),
    )
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        mien_version=version("mien"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256=sha256 | {name: sha256_of(draft / name) for name in (MIXTURE, GALLERY)},
        made_from=made_from,
    )
    write_manifest(draft, manifest)
    if folder.exists():
        shutil.rmtree(folder)
    draft.rename(folder)
    return manifest


def recalibrate(folder: Path, mixture: Mixture, calibration: dict[str, Any]) -> Manifest:
    """Give a bundle a calibrated mixture, whole or not at all; scores of the old one are dropped.

    Args:
        folder: of the bundle.
        mixture: the bundle's own, with a calibration.
        calibration: on what it was calibrated and how well, JSON values.

    Raises:
        BundleError: the folder is no bundle.
    """
    return _changed(
        folder,
        MIXTURE,
        lambda path, embedder_sha256: _write_mixture(path, mixture, embedder_sha256),
        {"calibration": calibration, "scores": None},
    )


def add_sub_classes(folder: Path, subclasses: SubClasses, report: dict[str, Any]) -> Manifest:
    """Give a bundle sub-classes, whole or not at all, in place of those that it had.

    Args:
        folder: of the bundle.
        subclasses: of the bundle's own network; each of its gallery faces has one.
        report: how they were found and what they are worth, JSON values.

    Raises:
        BundleError: the folder is no bundle.
    """
    ids = tuple(entry.id for entry in load_bundle(folder).gallery.entries)
    return _changed(
        folder,
        SUB_CLASSES,
        lambda path, embedder_sha256: write_sub_classes(path, subclasses, embedder_sha256, ids),
        {"sub_classes": report},
    )


def _changed(folder: Path, name: str, write: Callable[[Path, str], None], update: dict[str, Any]) -> Manifest:
    """Write one file of a bundle anew, and what the manifest says of it; the folder changes whole or not at all."""
    manifest = read_manifest(folder)
    folder = folder.resolve()  # "." has no name to put the draft beside
    draft = folder.with_name(folder.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(folder, draft)
    write(draft / name, manifest.sha256[EMBEDDER])
    sha256 = manifest.sha256 | {name: sha256_of(draft / name)}
    manifest = manifest.model_copy(update={"sha256": sha256, **update})
    write_manifest(draft, manifest)
    shutil.rmtree(folder)
    draft.rename(folder)
    return manifest


def add_file(folder: Path, name: str, source: Path) -> Manifest:
    """Give a bundle one of the files that it may lack, in place of an older one, whole or not at all.

    Args:
        folder: of the bundle.
        name: one of ``OPTIONAL_FILES``.
        source: the file, copied.

    Raises:
        BundleError: the folder is no bundle.
    """

    def write(path: Path, _: str) -> None:
        shutil.copyfile(source, path)

    return _changed(folder, name, write, {})


def check_output(folder: Path) -> None:
    """Refuse to write a bundle over anything but an older bundle, which is replaced.

    Raises:
        BundleError: the folder holds something else, or is no folder.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BundleError(f"{folder} is a file: a bundle is a folder")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    if not names <= {MANIFEST, *FILES, *OPTIONAL_FILES}:
        raise BundleError(f"{folder} holds something else than a bundle: choose an empty or a new folder")
    read_manifest(folder)


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json``.

    Raises:
        BundleError: there is none, or it is broken or of another format version.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}") from None
    except NotADirectoryError:
        raise BundleError(f"{folder} is not a bundle: a bundle is a folder") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise BundleError(f"{path} is broken: {first_fault(error)}") from None
    if manifest.format_version != FORMAT_VERSION:
        raise BundleError(
            f"{folder} has format version {manifest.format_version}, this version of mien reads {FORMAT_VERSION}"
        )
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``, whole or not at all."""
    with written_whole(folder / MANIFEST) as file:
        file.write(manifest.model_dump_json(indent=2).encode() + b"\n")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_mixture(path: Path, mixture: Mixture, embedder_sha256: str) -> None:
    arrays: dict[str, Any] = {
        "embedder_sha256": np.array(embedder_sha256),
        "emotions": np.array(mixture.emotions),
        "centroids": mixture.centroids,
        "covariances": mixture.covariances,
        "weights": mixture.weights,
        "sigma": np.array(mixture.sigma),
        "typical": mixture.typical,
    }
    if mixture.calibration is not None:
        arrays |= {
            "trained_sigma": np.array(mixture.calibration.trained_sigma),
            "votes_sigma": np.array(mixture.calibration.votes_sigma),
            "background_centroid": mixture.calibration.background.centroid,
            "background_covariance": mixture.calibration.background.covariance,
            "background_floor": np.array(mixture.calibration.background.floor),
            "strangeness": mixture.calibration.strangeness,
            "min_typicality": np.array(mixture.calibration.min_typicality),
        }
    np.savez_compressed(path, **arrays)


def _read_mixture(path: Path, manifest: Manifest) -> Mixture:
    names = ("emotions", "centroids", "covariances", "weights", "sigma", "typical")
    arrays = read_arrays(path, manifest.sha256[EMBEDDER], names, CALIBRATION_ARRAYS)
    check_arrays(path, arrays, {"emotions": ("U", (None,)), "centroids": ("f", (None, None)), "sigma": ("f", ())})
    count, size = arrays["centroids"].shape
    check_arrays(
        path,
        arrays,
        {
            "emotions": ("U", (count,)),
            "covariances": ("f", (count, size, size)),
            "weights": ("f", (count,)),
            "typical": ("f", (None,)),
        },
    )
    check_positive(path, arrays, "sigma")
    check_ascending(path, arrays, "typical")
    check_covariances(path, arrays, "covariances")
    return Mixture(
        tuple(arrays["emotions"].tolist()),
        arrays["centroids"],
        arrays["covariances"],
        arrays["weights"],
        float(arrays["sigma"]),
        arrays["typical"],
        _read_calibration(path, arrays, size) if CALIBRATION_ARRAYS[0] in arrays else None,
    )


def _read_calibration(path: Path, arrays: dict[str, NDArray[Any]], size: int) -> Calibration:
    shapes: dict[str, tuple[str, tuple[int | None, ...]]] = dict.fromkeys(CALIBRATION_ARRAYS, ("f", ()))
    shapes |= {
        "background_centroid": ("f", (size,)),
        "background_covariance": ("f", (size, size)),
        "strangeness": ("f", (None,)),
    }
    check_arrays(path, arrays, shapes)
    check_positive(path, arrays, "trained_sigma")
    check_positive(path, arrays, "votes_sigma")
    check_ascending(path, arrays, "strangeness")
    check_covariances(path, arrays, "background_covariance")
    if not 0 <= arrays["min_typicality"] <= 1:
        raise BundleError(f"{path}: min_typicality should be from 0 to 1, got {arrays['min_typicality']}")
    return Calibration(
        float(arrays["trained_sigma"]),
        float(arrays["votes_sigma"]),
        Background(arrays["background_centroid"], arrays["background_covariance"], float(arrays["background_floor"])),
        arrays["strangeness"],
        float(arrays["min_typicality"]),
    )


def _read_gallery(path: Path, manifest: Manifest, emotion_count: int) -> GalleryFaces:
    arrays = read_arrays(path, manifest.sha256[EMBEDDER], ("ids", "embeddings", "labels", "votes", "source"))
    check_arrays(path, arrays, {"ids": ("U", (None,)), "source": ("U", ())})
    count = len(arrays["ids"])
    check_arrays(
        path,
        arrays,
        {"embeddings": ("f", (count, None)), "labels": ("iu", (count,)), "votes": ("iu", (count, len(VOTE_COLUMNS)))},
    )
    if count == 0 or len(set(arrays["ids"].tolist())) != count:
        raise BundleError(f"{path}: the gallery should have one or more faces with an id each, all different")
    if arrays["labels"].min() < 0 or arrays["labels"].max() >= emotion_count:
        raise BundleError(f"{path}: labels should be from 0 to {emotion_count - 1}, got up to {arrays['labels'].max()}")
    try:
        source = dict(json.loads(str(arrays["source"])))
    except (ValueError, TypeError):
        raise BundleError(f"{path}: source should be a JSON object") from None
    return GalleryFaces(
        tuple(arrays["ids"].tolist()),
        arrays["embeddings"].astype(np.float32),
        arrays["labels"].astype(np.int64),
        arrays["votes"].astype(np.uint8),
        source,
    )

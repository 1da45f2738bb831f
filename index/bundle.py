"""The bundle: one folder with everything that the service needs, written and loaded whole.

    manifest.json    format version, SHA-256 of each file, how it was made, its scores
    embedder.onnx    the network, with preprocessing, emotions, sigma and training settings in its metadata
    mixture.npz      centroids, covariances, weights, sigma, typical distances
    gallery.npz      ids, embeddings, labels and votes of the faces that ship with it

A bundle is data: loading one never runs code from it. Parts that do not belong together are refused.
"""

import hashlib
import json
import shutil
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from index.gallery import Entry, Gallery
from index.mixture import Mixture
from model.embedder import Embedder
from model.errors import BundleError, first_fault
from model.files import written_whole
from model.votes import VOTE_COLUMNS

FORMAT_VERSION: Final = 1
"""Version of the bundle's layout; another one is refused."""

MANIFEST: Final = "manifest.json"
EMBEDDER: Final = "embedder.onnx"
MIXTURE: Final = "mixture.npz"
GALLERY: Final = "gallery.npz"
FILES: Final = (EMBEDDER, MIXTURE, GALLERY)


class Manifest(BaseModel):
    """``manifest.json``."""

    model_config = ConfigDict(extra="forbid")

    format_version: int
    mien_version: str
    created: str
    sha256: dict[str, str]
    made_from: dict[str, Any]
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
    """

    folder: Path
    manifest: Manifest
    mixture: Mixture
    gallery: Gallery

    @property
    def embedder_path(self) -> Path:
        """The exported network."""
        return self.folder / EMBEDDER


def default_bundle() -> Path:
    """The bundle that ships with mien."""
    return Path(__file__).parent / "default_bundle"


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle and check that its parts are whole and belong together.

    Raises:
        BundleError: a file is missing, changed, broken or of another format version, or parts do not fit.
    """
    manifest = read_manifest(folder)
    for name in FILES:
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
    return Bundle(folder, manifest, mixture, to_gallery(faces, mixture.emotions))


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


def to_gallery(faces: GalleryFaces, emotions: tuple[str, ...]) -> Gallery:
    """A searchable gallery; the votes become each face's metadata."""
    entries = [
        Entry(
            face_id,
            emotions[label],
            {
                **faces.source,
                "votes": {name: int(count) for name, count in zip(VOTE_COLUMNS, row, strict=True) if count},
            },
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
    np.savez_compressed(
        draft / MIXTURE,
        embedder_sha256=made_with,
        emotions=np.array(mixture.emotions),
        centroids=mixture.centroids,
        covariances=mixture.covariances,
        weights=mixture.weights,
        sigma=np.array(mixture.sigma),
        typical=mixture.typical,
    )
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
    if not names <= {MANIFEST, *FILES}:
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


def _arrays(path: Path, manifest: Manifest, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*names, "embedder_sha256")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is broken: {error}") from None
    except KeyError as error:
        raise BundleError(f"{path} is broken: {error.args[0]}") from None
    if str(arrays["embedder_sha256"]) != manifest.sha256[EMBEDDER]:
        raise BundleError(f"{path} was made with another {EMBEDDER} than the one beside it")
    return arrays


def _check(
    path: Path, arrays: dict[str, NDArray[Any]], expected: dict[str, tuple[str, tuple[int | None, ...]]]
) -> None:
    """Refuse arrays of another kind (NumPy's letters) or shape (None: any length), and numbers that are not finite."""
    for name, (kinds, shape) in expected.items():
        array = arrays[name]
        fits = array.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, array.shape, strict=True)
        )
        if array.dtype.kind not in kinds or not fits or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise BundleError(
                f"{path}: {name} should be finite and of shape ({wanted}), got {array.dtype} {array.shape}"
            )


def _read_mixture(path: Path, manifest: Manifest) -> Mixture:
    arrays = _arrays(path, manifest, ("emotions", "centroids", "covariances", "weights", "sigma", "typical"))
    _check(path, arrays, {"emotions": ("U", (None,)), "centroids": ("f", (None, None)), "sigma": ("f", ())})
    count, size = arrays["centroids"].shape
    _check(
        path,
        arrays,
        {
            "emotions": ("U", (count,)),
            "covariances": ("f", (count, size, size)),
            "weights": ("f", (count,)),
            "typical": ("f", (None,)),
        },
    )
    if not arrays["sigma"] > 0:
        raise BundleError(f"{path}: sigma should be positive, got {arrays['sigma']}")
    if len(arrays["typical"]) < 2 or (np.diff(arrays["typical"]) < 0).any():
        raise BundleError(f"{path}: typical should be two or more distances in ascending order")
    if (np.linalg.eigvalsh(arrays["covariances"]) <= 0).any():
        raise BundleError(f"{path}: covariances should be positive definite")
    return Mixture(
        tuple(arrays["emotions"].tolist()),
        arrays["centroids"],
        arrays["covariances"],
        arrays["weights"],
        float(arrays["sigma"]),
        arrays["typical"],
    )


def _read_gallery(path: Path, manifest: Manifest, emotion_count: int) -> GalleryFaces:
    arrays = _arrays(path, manifest, ("ids", "embeddings", "labels", "votes", "source"))
    _check(path, arrays, {"ids": ("U", (None,)), "source": ("U", ())})
    count = len(arrays["ids"])
    _check(
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

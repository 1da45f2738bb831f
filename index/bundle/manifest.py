"""``manifest.json``: the format version of a bundle, the digest of each of its files, its provenance and its scores."""

import json
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from mien.index.errors import BundleError
from mien.model.errors import first_fault
from mien.model.files import sha256_of, write_atomically

MAX_MANIFEST_BYTES: Final = 4 * 2**20

FORMAT_VERSION: Final = 1
"""Version of the bundle's layout; another one is refused."""

MANIFEST: Final = "manifest.json"
EMBEDDER: Final = "embedder.onnx"
MIXTURE: Final = "mixture.npz"
GALLERY: Final = "gallery.npz"
PORTRAITS: Final = "portraits.onnx"
SUB_CLASSES: Final = "subclasses.npz"
DEMONSTRATION: Final = "demonstration.npz"
COVERING: Final = "covering.npz"

FILES: Final = (EMBEDDER, MIXTURE, GALLERY)
"""The files that every bundle has."""

OPTIONAL_FILES: Final = (SUB_CLASSES, PORTRAITS, DEMONSTRATION, COVERING)


class Manifest(BaseModel):
    """``manifest.json``.

    Attributes:
        format_version: of the layout.
        mien_version: that built the bundle.
        created: when it was built, ISO 8601.
        sha256: file name to its digest, hexadecimal.
        made_from: data set, numbers of faces and training settings, from ``mien build``.
        calibration: report of ``mien calibrate``.
        sub_classes: report of ``mien discover``.
        scores: from ``mien evaluate --record``.
        adaptation: report of ``mien adapt``.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: int
    mien_version: str
    created: str
    sha256: dict[str, str]
    made_from: dict[str, Any]
    calibration: dict[str, Any] | None = None
    sub_classes: dict[str, Any] | None = None
    scores: dict[str, Any] | None = None
    adaptation: dict[str, Any] | None = None

    @field_validator("sha256")
    @classmethod
    def _check_files(cls, sha256: dict[str, str]) -> dict[str, str]:
        missing = [name for name in FILES if name not in sha256]
        if missing:
            raise ValueError(f"expected the digests of {', '.join(FILES)}, {', '.join(missing)} missing")
        return sha256

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        json.dumps(self.model_dump(), allow_nan=False)  # answers could not be written with NaN or infinity in them
        return self


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json``.

    Raises:
        BundleError: there is none, or it is broken or of another format version.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{path} must have at most {MAX_MANIFEST_BYTES} bytes, got {path.stat().st_size}")
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
    with write_atomically(folder / MANIFEST) as file:
        file.write(manifest.model_dump_json(indent=2).encode() + b"\n")


def check_digests(folder: Path, manifest: Manifest) -> None:
    """Compare the files of a bundle with its manifest.

    Raises:
        BundleError: a file is missing, or its digest is another one.
    """
    for name in (*FILES, *(name for name in OPTIONAL_FILES if name in manifest.sha256)):
        path = folder / name
        if not path.is_file():
            raise BundleError(f"the bundle {folder} lacks {name}")
        found = sha256_of(path)
        if found != manifest.sha256[name]:
            raise BundleError(
                f"{path} does not belong to this bundle: its SHA-256 is {found[:12]}…, "
                f"{MANIFEST} says {manifest.sha256[name][:12]}…"
            )


def check_is_replaceable(folder: Path) -> None:
    """Refuse a folder to write a bundle to, unless it is new, empty or an older bundle.

    Raises:
        BundleError: the folder holds something else, or is a file.
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

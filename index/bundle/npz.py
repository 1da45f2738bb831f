"""Archives of arrays (``.npz``) inside a bundle: read without running code, and checked before they are believed."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import BundleError


def read_arrays(
    path: Path, embedder_sha256: str, names: tuple[str, ...], together: tuple[str, ...] = ()
) -> dict[str, NDArray[Any]]:
    """The arrays ``names`` of an archive, and those of ``together`` where it has any of them.

    Args:
        path: the ``.npz`` file.
        embedder_sha256: of the network that the archive should have been made with.
        names: arrays that it should have.
        together: arrays of which it should have all or none.

    Raises:
        BundleError: it cannot be read, lacks an array, holds anything but arrays, or is of another network.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            added = together if any(name in file.files for name in together) else ()
            arrays = {name: file[name] for name in (*names, *added, "embedder_sha256")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is broken: {error}") from None
    except KeyError as error:
        raise BundleError(f"{path} is broken: {error.args[0]}") from None
    if str(arrays["embedder_sha256"]) != embedder_sha256:
        raise BundleError(f"{path} was made with another embedder.onnx than the one beside it")
    return arrays


def check_arrays(
    path: Path, arrays: dict[str, NDArray[Any]], expected: dict[str, tuple[str, tuple[int | None, ...]]]
) -> None:
    """Refuse arrays of another kind (NumPy's letters) or shape (None: any length), and numbers that are not finite.

    Raises:
        BundleError: an array is not as expected.
    """
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


def check_positive(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> None:
    """Refuse a number that is not above zero, with a ``BundleError``."""
    if not arrays[name] > 0:
        raise BundleError(f"{path}: {name} should be positive, got {arrays[name]}")


def check_ascending(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> None:
    """Refuse numbers that fall, or fewer than two, with a ``BundleError``."""
    if len(arrays[name]) < 2 or (np.diff(arrays[name]) < 0).any():
        raise BundleError(f"{path}: {name} should be two or more distances in ascending order")


def check_covariances(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> None:
    """Refuse matrices that are not positive definite, with a ``BundleError``."""
    if (np.linalg.eigvalsh(arrays[name]) <= 0).any():
        raise BundleError(f"{path}: {name} should be positive definite")

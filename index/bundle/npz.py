"""NumPy archives (``.npz``) in a bundle: read without running code from them, and checked against a list of shapes."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import BundleError
from mien.model.emotions import VOTE_COLUMNS

VOTE_COLUMNS_ARRAY: Final = {"vote_columns": "U w"}
"""An optional array of archives with votes."""

_KINDS: Final = {"f": "finite floats", "iu": "integers", "U": "text"}
"""NumPy's letters for kinds of dtypes."""


def read_arrays(
    path: Path,
    embedder_sha256: str,
    shapes: Mapping[str, str],
    *,
    optional: Sequence[Mapping[str, str]] = (),
    sizes: Mapping[str, int] | None = None,
) -> dict[str, NDArray[Any]]:
    """Read and check the arrays of an archive.

    Args:
        path: the ``.npz`` file.
        embedder_sha256: digest of the bundle's network, which the archive must have been made with.
        shapes: array name to its kind (``f``, ``iu`` or ``U``) and dimensions, separated by spaces, such as
            ``f n d``. A dimension is a number, or a letter that stands for the same size in all arrays.
        optional: the same for groups of arrays, of each of which the archive has all or none.
        sizes: what letters stand for; one that is not there stands for the size that it is first met with.

    Raises:
        BundleError: the file cannot be read, lacks an array, holds objects, belongs to another network, or has an
            array of another kind or shape, or one with numbers that are not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            for group in optional:
                if any(name in file.files for name in group):
                    shapes = {**shapes, **group}
            arrays = {name: file[name] for name in (*shapes, "embedder_sha256")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is broken: {error}") from None
    except KeyError as error:
        raise BundleError(f"{path} is broken: {error.args[0]}") from None
    if str(arrays["embedder_sha256"]) != embedder_sha256:
        raise BundleError(f"{path} was made with another embedder.onnx than the one in its folder")
    bound = dict(sizes or {})
    for name, text in shapes.items():
        kind, *dimensions = text.split()
        _check_array(path, name, arrays[name], kind, [_size(dimension, bound) for dimension in dimensions])
        bound |= {letter: size for letter, size in zip(dimensions, arrays[name].shape, strict=True) if letter.isalpha()}
    return arrays


def read_vote_columns(path: Path, arrays: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    """What the columns of ``votes`` are for; archives that do not say it have those of FER+."""
    columns = tuple(arrays["vote_columns"].tolist()) if "vote_columns" in arrays else VOTE_COLUMNS
    if len(columns) != arrays["votes"].shape[1]:
        raise BundleError(f"{path}: votes must be for {', '.join(columns)}, got {arrays['votes'].shape[1]} columns")
    return columns


def check_positive(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse a number that is not above zero, with a ``BundleError``."""
    if not arrays[name] > 0:
        raise BundleError(f"{path}: {name} must be positive, got {arrays[name]}")


def check_ascending(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse numbers that fall, or fewer than two, with a ``BundleError``."""
    if len(arrays[name]) < 2 or (np.diff(arrays[name]) < 0).any():
        raise BundleError(f"{path}: {name} must be two or more numbers in ascending order")


def check_covariances(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse matrices that are not positive definite, with a ``BundleError``."""
    if (np.linalg.eigvalsh(arrays[name]) <= 0).any():
        raise BundleError(f"{path}: {name} must be positive definite")


def _size(dimension: str, bound: Mapping[str, int]) -> int | str:
    """A dimension as a number, or its letter where nothing is known of it yet."""
    return bound.get(dimension, dimension) if dimension.isalpha() else int(dimension)


def _check_array(path: Path, name: str, array: NDArray[Any], kind: str, shape: list[int | str]) -> None:
    fits = array.ndim == len(shape) and all(
        size == expected or isinstance(expected, str) for size, expected in zip(array.shape, shape, strict=True)
    )
    if array.dtype.kind not in kind or not fits or (kind == "f" and not np.isfinite(array).all()):
        raise BundleError(
            f"{path}: {name} must be {_KINDS[kind]} of shape ({', '.join(map(str, shape))}), "
            f"got {array.dtype} {array.shape}"
        )

"""NumPy archives (``.npz``) in a bundle: read without running code from them, and checked against a list of shapes."""

import math
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

MAX_ARCHIVE_BYTES: Final = 2**30
"""All arrays of an archive together: a gallery of three million faces."""

MAX_NUMBER: Final = 1e9
"""Largest absolute value of a float: its square times any number of dimensions is a number in float32, too."""

MIN_SIGMA: Final = 1e-6
"""Smallest standard deviation of a component, in embedding units, and largest when inverted."""

MIN_WEIGHT: Final = 1e-9
MAX_WEIGHT: Final = 1 + 1e-6

MAX_CONDITION: Final = 1e10
"""Largest ratio of a covariance's eigenvalues; beyond, its inverse is made of rounding errors."""

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
            array of another kind or shape, or one with numbers that are not finite or beyond ``MAX_NUMBER``.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            for group in optional:
                if any(name in file.files for name in group):
                    shapes = {**shapes, **group}
            arrays = {name: file[name] for name in (*shapes, "embedder_sha256")}
    except KeyError as error:
        raise BundleError(f"{path} is broken: {error.args[0]}") from None
    except Exception as error:  # noqa: BLE001  parsers raise errors of many kinds
        raise BundleError(f"{path} is broken: {str(error)[:200]}") from None
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


def check_sigma(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse a standard deviation whose square is no number to divide by, with a ``BundleError``."""
    if not MIN_SIGMA <= arrays[name] <= 1 / MIN_SIGMA:
        raise BundleError(
            f"{path}: {name} must be positive, from {MIN_SIGMA:g} to {1 / MIN_SIGMA:g}, got {arrays[name]}"
        )


def check_weights(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse weights of components that are not shares, with a ``BundleError``."""
    weights = arrays[name]
    if not ((weights >= MIN_WEIGHT) & (weights <= MAX_WEIGHT)).all():
        raise BundleError(
            f"{path}: {name} must be above 0, from {MIN_WEIGHT:g}, and at most 1, "
            f"got {weights.min()} to {weights.max()}"
        )


def check_ascending(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse numbers that fall, or fewer than two, with a ``BundleError``."""
    if len(arrays[name]) < 2 or (np.diff(arrays[name]) < 0).any():
        raise BundleError(f"{path}: {name} must be two or more numbers in ascending order")


def check_covariances(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> None:
    """Refuse matrices that are not positive definite, or hardly, with a ``BundleError``."""
    eigenvalues = np.linalg.eigvalsh(arrays[name])  # ascending
    lowest, highest = eigenvalues[..., 0], eigenvalues[..., -1]
    if not ((lowest >= MIN_SIGMA**2) & (lowest * MAX_CONDITION >= highest)).all():
        raise BundleError(
            f"{path}: {name} must be positive definite, with eigenvalues from {MIN_SIGMA**2:g} whose ratio is at most "
            f"{MAX_CONDITION:g}, got {lowest.min()} to {highest.max()}"
        )


def _check_sizes(path: Path) -> None:
    """Refuse arrays whose headers ask for other memory than the archive has for them, before any is allocated.

    Raises:
        ValueError: an array does.
    """
    with zipfile.ZipFile(path) as archive:
        total = sum(member.file_size for member in archive.infolist())
        if total > MAX_ARCHIVE_BYTES:
            raise ValueError(f"its arrays must have at most {MAX_ARCHIVE_BYTES} bytes, got {total}")
        for member in archive.infolist():
            with archive.open(member) as file:
                major, _ = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                found, wanted = member.file_size - file.tell(), math.prod(shape) * dtype.itemsize
                if found != wanted and not dtype.hasobject:
                    raise ValueError(f"{member.filename} must have {wanted} bytes, got {found}")


def _size(dimension: str, bound: Mapping[str, int]) -> int | str:
    """A dimension as a number, or its letter where nothing is known of it yet."""
    return bound.get(dimension, dimension) if dimension.isalpha() else int(dimension)


def _check_array(path: Path, name: str, array: NDArray[Any], kind: str, shape: list[int | str]) -> None:
    fits = array.ndim == len(shape) and all(
        size == expected or isinstance(expected, str) for size, expected in zip(array.shape, shape, strict=True)
    )
    if array.dtype.kind not in kind or not fits or (kind == "f" and not _are_numbers(array)):
        limit = f" up to {MAX_NUMBER:g}" if kind == "f" else ""
        raise BundleError(
            f"{path}: {name} must be {_KINDS[kind]} of shape ({', '.join(map(str, shape))}){limit}, "
            f"got {array.dtype} {array.shape}"
        )


def _are_numbers(array: NDArray[Any]) -> bool:
    """Whether floats are of 32 or 64 bits, and none is NaN or beyond ``MAX_NUMBER``."""
    return array.dtype.itemsize in (4, 8) and bool((np.abs(array) <= MAX_NUMBER).all())

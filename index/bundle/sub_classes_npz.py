"""``subclasses.npz``: the sub-classes of each emotion, and the sub-class of each gallery face."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from mien.index.bundle.npz import VOTE_COLUMNS_ARRAY, check_covariances, check_weights, read_arrays, read_vote_columns
from mien.index.errors import BundleError
from mien.index.mixture.sub_classes import SubClass, SubClasses

# s sub-classes, c emotions, v columns of votes, n faces of the gallery, d dimensions.
_SHAPES: Final = {
    "ids": "U s",
    "emotions": "iu s",
    "weights": "f s",
    "centroids": "f s d",
    "covariances": "f s d d",
    "nearest": "U s",
    "votes": "f s v",
    "difference": "f s v",
    "places": "iu n",
    "highest": "iu c",
}
_NAMES: Final = {"names": "U s", "descriptions": "U s"}
"""Empty text where there is none; a bundle without names has neither array."""


def write_sub_classes(path: Path, sub_classes: SubClasses, embedder_sha256: str, faces: tuple[str, ...]) -> None:
    """Write sub-classes.

    Args:
        path: the file.
        sub_classes: each of ``faces`` has one.
        embedder_sha256: of the network whose embeddings they were found in.
        faces: (n,) ids of the bundle's gallery, in its order.
    """
    each = sub_classes.each
    words: dict[str, Any] = {
        "names": np.array([one.name or "" for one in each]),
        "descriptions": np.array([one.description or "" for one in each]),
    }
    np.savez_compressed(
        path,
        embedder_sha256=np.array(embedder_sha256),
        ids=np.array([one.id for one in each]),
        emotions=np.array([sub_classes.emotions.index(one.emotion) for one in each], dtype=np.uint8),
        weights=np.array([one.weight for one in each]),
        centroids=np.stack([one.centroid for one in each]),
        covariances=np.stack([one.covariance for one in each]),
        nearest=np.array([json.dumps(one.nearest) for one in each]),
        votes=np.stack([one.votes for one in each]),
        difference=np.stack([one.difference for one in each]),
        places=np.array([sub_classes.of_face[face] for face in faces], dtype=np.uint16),
        highest=np.array(sub_classes.highest, dtype=np.int64),
        **(words if sub_classes.names else {}),
        vote_columns=np.array(sub_classes.vote_columns),
    )


def read_sub_classes(
    path: Path, embedder_sha256: str, emotions: tuple[str, ...], size: int, faces: tuple[str, ...]
) -> SubClasses:
    """Read what ``write_sub_classes`` wrote.

    Args:
        path: the file.
        embedder_sha256: of the bundle's network.
        emotions: (c,) names, of the bundle's mixture.
        size: d, dimensions of its embeddings.
        faces: (n,) ids of its gallery, in its order.

    Raises:
        BundleError: the file is broken, or belongs to another network or gallery.
    """
    sizes = {"d": size, "n": len(faces), "c": len(emotions)}
    arrays = read_arrays(path, embedder_sha256, _SHAPES, optional=(_NAMES, VOTE_COLUMNS_ARRAY), sizes=sizes)
    count = len(arrays["ids"])
    check_weights(path, arrays, "weights")
    check_covariances(path, arrays, "covariances")
    owners = arrays["emotions"].astype(np.int64)
    if set(owners.tolist()) != set(range(len(emotions))) or (np.diff(owners) < 0).any():
        raise BundleError(f"{path}: each of {len(emotions)} emotions must have sub-classes, in the order of emotions")
    if arrays["places"].min(initial=0) < 0 or arrays["places"].max(initial=0) >= count:
        raise BundleError(f"{path}: places must be from 0 to {count - 1}, got up to {arrays['places'].max()}")
    try:
        nearest = [tuple(str(face) for face in json.loads(text)) for text in arrays["nearest"].tolist()]
    except (ValueError, TypeError, RecursionError):
        raise BundleError(f"{path}: nearest must hold lists of ids as JSON") from None
    names, descriptions = (arrays[name].tolist() if name in arrays else [""] * count for name in _NAMES)
    each = tuple(
        SubClass(
            str(arrays["ids"][row]),
            emotions[owners[row]],
            float(arrays["weights"][row]),
            arrays["centroids"][row],
            arrays["covariances"][row],
            nearest[row],
            arrays["votes"][row],
            arrays["difference"][row],
            names[row] or None,
            descriptions[row] or None,
        )
        for row in range(count)
    )
    of_face = dict(zip(faces, arrays["places"].astype(int).tolist(), strict=True))
    columns = read_vote_columns(path, arrays)
    return SubClasses(emotions, each, of_face, tuple(arrays["highest"].astype(int).tolist()), columns)

"""``mien portraits``: trains a bundle's portrait network on the faces of its gallery, and embeds its portraits."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle, load_bundle, replace_portraits
from mien.index.bundle.manifest import EMBEDDER, PORTRAITS
from mien.index.errors import BundleError
from mien.index.views.portraits import load_painter
from mien.model.datasets.ferplus import LabelledFaces
from mien.model.embedder.embedder import Embedder
from mien.model.errors import DatasetError
from mien.model.faces.detection import Detector
from mien.model.portraits.averages import AverageFaces, lead_of_the_closest
from mien.model.portraits.config import PortraitConfig
from mien.model.portraits.painter import PortraitPainter

if TYPE_CHECKING:  # it imports torch
    from mien.model.portraits.train import Step

COMPARED_FACES: Final = 500
"""Faces of which the portraits are compared with all faces."""


@dataclass(frozen=True)
class PortraitCheck:
    """The labels of portraits of centroids, after embedding them.

    Attributes:
        emotions: (c,) the emotion of the portrait of each emotion's centroid.
        sub_classes: id of a sub-class to that of the portrait of its centroid; empty where there are no sub-classes.
        distance: mean distance between the centroid of an emotion and the embedding of its portrait.
        leads: medians of ``lead_of_the_closest`` over faces of the gallery: of a face's portrait, and of the face
            itself. If portraits copied faces, the first would be as large as the second. None without the faces.
    """

    emotions: tuple[str, ...]
    sub_classes: dict[str, str]
    distance: float
    leads: tuple[float, float] | None = None


def portray_bundle(
    folder: Path,
    faces: LabelledFaces,
    config: PortraitConfig,
    *,
    on_faces: Callable[[int, int], None] = lambda _, __: None,
    on_step: "Callable[[Step], None]" = lambda _: None,
) -> PortraitCheck:
    """Train a portrait network on the faces of a bundle's gallery and put it into the bundle.

    Args:
        folder: of the bundle.
        faces: the data set that the gallery was built from.
        config: the settings.
        on_faces: called with the number of faces aligned and their total.
        on_step: called after each step of the training.

    Raises:
        BundleError: the folder is no bundle.
        DatasetError: none of the faces is in the gallery, or none can be aligned.
    """
    from mien.model.portraits.aligned_faces import align_faces
    from mien.model.portraits.train import export_portraits, train_portraits

    bundle = load_bundle(folder)
    places = {Path(name).stem: place for place, name in enumerate(faces.names)}
    rows = [row for row, entry in enumerate(bundle.gallery.entries) if entry.id in places]
    if not rows:
        raise DatasetError(f"none of the {len(faces)} faces is in the gallery of {folder}")
    entries = [bundle.gallery.entries[row] for row in rows]
    crops = faces.images[[places[entry.id] for entry in entries]]
    labels = np.array([bundle.mixture.emotions.index(entry.emotion) for entry in entries], dtype=np.int64)
    embeddings = bundle.gallery.embeddings[rows]
    aligned = align_faces(crops, labels, Detector(), most=config.most, seed=config.seed, on_progress=on_faces)
    network = train_portraits(
        AverageFaces(aligned.crops, embeddings[aligned.rows], config.neighbours),
        embeddings,
        labels,
        Embedder(bundle.embedder_path).embed,
        middles=_centroids(bundle),
        config=config,
        on_step=on_step,
    )
    with tempfile.TemporaryDirectory() as work:
        draft = Path(work) / PORTRAITS
        export_portraits(network, config, bundle.manifest.sha256[EMBEDDER], draft)
        replace_portraits(folder, draft)
    bundle = load_bundle(folder)
    some = slice(None, None, max(1, len(aligned.rows) // COMPARED_FACES))
    portraits = PortraitPainter(folder / PORTRAITS).paint(embeddings[aligned.rows][some])
    found = [lead_of_the_closest(each, aligned.crops) for each in (portraits, aligned.crops[some])]
    leads = (float(np.median(found[0])), float(np.median(found[1])))
    return replace(check_portraits(bundle, Embedder(folder / EMBEDDER)), leads=leads)


def _centroids(bundle: Bundle) -> NDArray[np.float64]:
    """(m, d) the centroids of emotions and sub-classes."""
    sub_classes = bundle.sub_classes.each if bundle.sub_classes is not None else ()
    return np.stack([*bundle.mixture.centroids, *(each.centroid for each in sub_classes)])


def check_portraits(bundle: Bundle, embedder: Embedder) -> PortraitCheck:
    """Paint the centroids of a bundle, and embed and label the portraits.

    Raises:
        BundleError: the bundle has no portraits, or those of another embedder.
    """
    painter = load_painter(bundle)
    if painter is None:
        raise BundleError(f"the bundle {bundle.folder} has no {PORTRAITS}: mien portraits makes it")
    mixture = bundle.mixture
    embeddings = embedder.embed(painter.paint(mixture.centroids))
    nearest = mixture.distances(embeddings).argmin(axis=1)
    return PortraitCheck(
        tuple(mixture.emotions[label] for label in nearest),
        _check_sub_classes(bundle, painter, embedder),
        float(np.linalg.norm(embeddings - mixture.centroids, axis=1).mean()),
    )


def _check_sub_classes(bundle: Bundle, painter: PortraitPainter, embedder: Embedder) -> dict[str, str]:
    sub_classes = bundle.sub_classes
    if sub_classes is None:
        return {}
    centroids: NDArray[np.float64] = np.stack([each.centroid for each in sub_classes.each])
    embeddings = embedder.embed(painter.paint(centroids))
    rows, _ = sub_classes.assign(embeddings, bundle.mixture.distances(embeddings).argmin(axis=1))
    return {each.id: sub_classes.each[row].id for each, row in zip(sub_classes.each, rows, strict=True)}

"""Portraits for a bundle: trained on the faces of its gallery, and checked by reading them again."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle, load_bundle, replace_portraits
from mien.index.bundle.manifest import EMBEDDER, PORTRAITS
from mien.index.errors import BundleError
from mien.index.mixture.em import Components
from mien.model.datasets.ferplus import LabelledFaces
from mien.model.embedder.embedder import Embedder
from mien.model.errors import DatasetError
from mien.model.faces.detection import Detector
from mien.model.portraits.config import PortraitConfig
from mien.model.portraits.painter import PortraitPainter

if TYPE_CHECKING:  # it brings torch, which only the command that trains has
    from mien.model.portraits.sub_class_posterior import SubClassGaussians
    from mien.model.portraits.train import Step


@dataclass(frozen=True)
class Reread:
    """What the embedder reads in portraits of known points.

    Attributes:
        emotions: (c,) the emotion that is read in the portrait of each emotion's centroid, in their order.
        sub_classes: the sub-class that is read in the portrait of each sub-class's centroid, by the id of what was
            painted; empty where the bundle has no sub-classes.
        distance: mean distance between the centroid of an emotion and what is read in its portrait.
    """

    emotions: tuple[str, ...]
    sub_classes: dict[str, str]
    distance: float


def portray_bundle(
    folder: Path,
    faces: LabelledFaces,
    config: PortraitConfig,
    *,
    on_faces: Callable[[int, int], None] = lambda _, __: None,
    on_step: "Callable[[Step], None]" = lambda _: None,
) -> Reread:
    """Train a portrait network on the faces of a bundle's gallery and put it into the bundle.

    Args:
        folder: of the bundle.
        faces: the data set that the gallery was built from.
        config: the settings.
        on_faces: called with the number of faces looked at and their total.
        on_step: called after each step of the training.

    Raises:
        BundleError: the folder is no bundle.
        DatasetError: none of the faces is in the gallery, or none can be aligned.
        EmbedderError: the bundle's network cannot be walked in torch.
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
        aligned.crops,
        embeddings[aligned.rows],
        labels[aligned.rows],
        bundle.embedder_path,
        middles=_middles(bundle),
        gaussians=sub_class_gaussians(bundle),
        config=config,
        on_step=on_step,
    )
    with tempfile.TemporaryDirectory() as work:
        draft = Path(work) / PORTRAITS
        export_portraits(network, config, bundle.manifest.sha256[EMBEDDER], draft)
        replace_portraits(folder, draft)
    return reread(load_bundle(folder), Embedder(folder / EMBEDDER))


def _middles(bundle: Bundle) -> NDArray[np.float64]:
    """(m, d) the centroids of emotions and sub-classes."""
    inner = [each.centroid for each in bundle.subclasses.each] if bundle.subclasses is not None else []
    return np.stack([*bundle.mixture.centroids, *inner])


def sub_class_gaussians(bundle: Bundle) -> "SubClassGaussians":
    """The sub-classes of a bundle, or the Gaussians of its emotions where it has none."""
    from mien.model.portraits.sub_class_posterior import SubClassGaussians

    mixture, sub_classes = bundle.mixture, bundle.subclasses
    emotions = range(len(mixture.emotions))
    mixtures = (
        sub_classes.mixtures
        if sub_classes is not None
        else [Components(np.ones(1), mixture.centroids[[row]], mixture.covariances[[row]]) for row in emotions]
    )
    return SubClassGaussians(
        mixture.centroids,
        mixture.sigma,
        np.repeat(np.arange(len(mixtures)), [len(each) for each in mixtures]),
        np.log(np.concatenate([each.weights for each in mixtures])),
        np.concatenate([each.means for each in mixtures]),
        np.concatenate([each.whitening for each in mixtures]),
    )


def load_painter(bundle: Bundle) -> PortraitPainter | None:
    """What paints the portraits of a bundle; None where it has no portrait network.

    Raises:
        BundleError: the portrait network belongs to another embedder.
        EmbedderError: it is broken.
    """
    if bundle.portraits_path is None:
        return None
    painter = PortraitPainter(bundle.portraits_path)
    if painter.metadata["embedder_sha256"] != bundle.manifest.sha256[EMBEDDER]:
        raise BundleError(f"{bundle.portraits_path} was made with another {EMBEDDER} than the one beside it")
    return painter


def reread(bundle: Bundle, embedder: Embedder) -> Reread:
    """Paint the centroids of a bundle and read the portraits again.

    Raises:
        BundleError: the bundle has no portraits, or not its own.
    """
    painter = load_painter(bundle)
    if painter is None:
        raise BundleError(f"the bundle {bundle.folder} has no {PORTRAITS}: mien portraits makes it")
    mixture = bundle.mixture
    read = embedder.embed(painter.paint(mixture.centroids))
    nearest = mixture.distances(read).argmin(axis=1)
    return Reread(
        tuple(mixture.emotions[place] for place in nearest),
        _reread_sub_classes(bundle, painter, embedder),
        float(np.linalg.norm(read - mixture.centroids, axis=1).mean()),
    )


def _reread_sub_classes(bundle: Bundle, painter: PortraitPainter, embedder: Embedder) -> dict[str, str]:
    sub_classes = bundle.subclasses
    if sub_classes is None:
        return {}
    painted: NDArray[np.float64] = np.stack([each.centroid for each in sub_classes.each])
    read = embedder.embed(painter.paint(painted))
    places, _ = sub_classes.assign(read, bundle.mixture.distances(read).argmin(axis=1))
    return {each.id: sub_classes.each[place].id for each, place in zip(sub_classes.each, places, strict=True)}

"""``mien build``: embeds the training faces with an exported network, fits the mixture and writes a bundle."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mien.index.bundle.bundle import write_bundle
from mien.index.bundle.gallery_npz import GalleryFaces
from mien.index.bundle.manifest import Manifest, check_is_replaceable
from mien.index.mixture.mixture import fit_mixture
from mien.model.datasets.ferplus import LabelledFaces
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, labels, vote_columns
from mien.model.errors import DatasetError
from mien.model.files import sha256_of


def build_bundle(
    embedder_path: Path,
    training: LabelledFaces,
    output: Path,
    *,
    dataset: str = "FER+",
    threads: int = 0,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> Manifest:
    """Write a bundle from an exported network and the faces that it was trained on.

    The mixture is fitted on the faces with a strict majority of votes; the gallery holds every face with one most
    frequent emotion, with all votes. No photograph goes into a bundle.

    Args:
        embedder_path: file from ``mien export``.
        training: those faces; votes for emotions that the network does not know count for none.
        output: folder of the bundle.
        dataset: its name.
        threads: of ONNX Runtime; 0 leaves the choice to it.
        on_progress: called with the number of faces done and their total.

    Raises:
        DatasetError: an emotion of the network has too few faces for a Gaussian.
        BundleError: the output folder holds something else.
    """
    check_is_replaceable(output)
    embedder = Embedder(embedder_path, threads=threads)
    emotions = embedder.emotions
    training = training.of(emotions)
    labelled = training.take(labels(training.votes, "argmax") != UNLABELLED)
    embeddings = embedder.embed(labelled.images, on_progress)

    majority = labels(labelled.votes, "majority")
    clear = majority != UNLABELLED
    counts = np.bincount(majority[clear], minlength=len(emotions))
    if counts.min() < 2:
        raise DatasetError(
            f"a Gaussian needs at least two faces with a strict majority of votes, "
            f"{emotions[int(counts.argmin())]} has {int(counts.min())}"
        )
    mixture = fit_mixture(embeddings[clear], majority[clear], emotions, embedder.sigma)
    faces = GalleryFaces(
        ids=tuple(Path(name).stem for name in labelled.names),
        embeddings=embeddings,
        labels=labels(labelled.votes, "argmax"),
        votes=labelled.votes.astype(np.uint8),
        source={"dataset": dataset, "split": "Training"},
        vote_columns=vote_columns(emotions),
    )
    made_from = {
        "dataset": f"{dataset} Training",
        "gallery_faces": len(labelled),
        "mixture_faces": int(clear.sum()),
        "embedder_sha256": sha256_of(embedder_path),
        "training": embedder.metadata.training,
    }
    return write_bundle(output, embedder_path, mixture, faces, made_from)

"""``mien ablate``: trains each loss with the same backbone, faces, budget and seeds, and compares the spaces.

Each row is a training with one setting changed. Its space is scored as a bundle is: a mixture fitted on training
embeddings, with a cross-fitted sigma, so that losses whose spaces have another scale are not at a disadvantage.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.held_out import cross_fitted_posterior, cross_fitted_typicality, held_out_faces
from mien.index.evaluation.outliers import seen_outliers, unseen_outliers
from mien.index.evaluation.scores.calibration import score_calibration
from mien.index.evaluation.scores.classification import nearest_neighbour_vote, score_classification, softmax_head
from mien.index.evaluation.scores.rejection import auroc
from mien.index.evaluation.scores.retrieval import score_retrieval
from mien.index.gallery.fixed_gallery import Entry, FixedGallery
from mien.index.mixture.background import fit_background
from mien.index.mixture.calibration import calibrate_mixture
from mien.index.mixture.mixture import fit_mixture
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.emotions import EMOTIONS, UNLABELLED, labels
from mien.model.errors import ConfigError, DatasetError
from mien.model.files import write_table
from mien.model.training.config import TrainingConfig

if TYPE_CHECKING:  # it imports torch
    from mien.model.training.train import Progress

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

ABLATION_NAME: Final = "ablation.csv"

ROWS: Final[dict[str, dict[str, Any]]] = {
    "Gaussian, as in the paper": {"loss": "gaussian", "targets": "one-hot", "leave_one_out": False},
    "+ leave one out": {"loss": "gaussian", "targets": "one-hot"},
    "+ votes as targets": {"loss": "gaussian"},
    "+ running centroids": {"loss": "gaussian-running"},
    "+ two components per emotion": {"loss": "gaussian-components"},
    "+ annealed sigma": {"loss": "gaussian", "sigma": 1.5, "sigma_schedule": "annealed", "sigma_end": 0.75},
    "+ learned sigma": {"loss": "gaussian", "sigma_schedule": "learned"},
    "+ background class": {"loss": "gaussian", "background_share": 0.15},
    "+ mixing, as in the authors' code": {"loss": "gaussian", "mixing": 2.0},
    "+ balanced batches, as in the paper": {"loss": "gaussian", "balance": 1.0},
    "+ prior in training": {"loss": "gaussian", "prior_power": 1.0},
    "prototypical cross-entropy, votes": {"loss": "prototypical"},
    "softmax cross-entropy": {"loss": "softmax", "targets": "one-hot"},
    "softmax cross-entropy, votes": {"loss": "softmax"},
    "triplet, margin 1": {"loss": "triplet", "margin": 1.0},
    "multi-threshold triplet": {"loss": "multi-threshold-triplet", "margin": 2.0, "learning_rate": 5e-4},
}
"""The rows by name, and the settings that each changes. A plus sign adds to leave-one-out with votes as targets, in the
first two rows to the form of the paper. The last row has a lower learning rate: from random weights, its hardest
triplets let the embedding collapse at that of the others, and often still do at the lower one."""

DECISIVE: Final = (
    "Gaussian, as in the paper",
    "+ votes as targets",
    "softmax cross-entropy, votes",
    "triplet, margin 1",
    "multi-threshold triplet",
)
"""Rows that are trained with every seed; the others are trained with the first one."""

DECISIVE_NAME: Final = "decisive"

FIGURES: Final = {
    "accuracy": "accuracy",
    "recall@1": "recall_at_1",
    "mAP": "mean_average_precision",
    "calibration error": "expected_calibration_error",
    "KL from the votes": "kl_divergence",
    "AUROC of rejection": "auroc",
}
"""Title to field of the figures that are printed and plotted; ``ablation.csv`` has more."""

OUTLIERS: Final = 150
"""Crops of each kind, for fitting the background and again for measuring."""

_SEED: Final = 0


@dataclass(frozen=True)
class AblationRow:
    """The figures of one training, on held-out faces with a strict majority.

    Attributes:
        name: of the row.
        seed: of the training.
        accuracy: by nearest centroid.
        macro_recall: mean recall over the emotions.
        accuracy_neighbours: by the 11 nearest training faces.
        accuracy_softmax_head: of a softmax layer fitted on the same embeddings.
        recall_at_1: of retrieval, leave-one-out.
        mean_average_precision: of retrieval, leave-one-out.
        expected_calibration_error: of the cross-fitted posterior.
        kl_divergence: of the raters' votes from the cross-fitted posterior, in nats.
        auroc: of typicality, faces against outliers, mean over the kinds.
        seconds: of training.
    """

    name: str
    seed: int
    accuracy: float
    macro_recall: float
    accuracy_neighbours: float
    accuracy_softmax_head: float
    recall_at_1: float
    mean_average_precision: float
    expected_calibration_error: float
    kl_divergence: float
    auroc: float
    seconds: float


def choose_rows(names: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """The rows of these names; ``decisive`` stands for those of ``DECISIVE``, and None for all.

    Raises:
        ConfigError: there is no such row.
    """
    if names is None:
        return ROWS
    chosen = {row for name in names for row in (DECISIVE if name == DECISIVE_NAME else (name,))}
    unknown = chosen - ROWS.keys()
    if unknown:
        raise ConfigError(f"a row must be {DECISIVE_NAME} or one of {'; '.join(ROWS)}, got {min(unknown)}")
    return {name: changes for name, changes in ROWS.items() if name in chosen}


def ablate(
    training: LabelledFaces,
    validation: LabelledFaces,
    near_copies: NearCopies,
    config: TrainingConfig,
    folder: Path,
    *,
    device: str = "auto",
    initial: Path | None = None,
    seeds: Sequence[int] = (0, 1),
    faces: int | None = None,
    trials: Mapping[str, dict[str, Any]] = ROWS,
    on_trial: Callable[[str, int, int], None] = lambda _, __, ___: None,
    on_step: "Callable[[Progress], None]" = lambda _: None,
    on_row: Callable[[AblationRow], None] = lambda _: None,
) -> list[AblationRow]:
    """Train and score every row; those that ``ablation.csv`` in the folder already has are skipped.

    Args:
        training: faces to learn from.
        validation: faces to score on; near copies of training faces are left out.
        near_copies: of training faces.
        config: settings that all rows share.
        folder: for ``ablation.csv``, which grows by a line after each row, and for the checkpoint of each row.
        device: where to train.
        initial: weights that all rows start from.
        seeds: the decisive rows are trained with each, the others with the first.
        faces: how many training faces to use, the same for all rows; None for all.
        trials: the rows by name, and the settings that each changes.
        on_trial: called when a row begins, with its name, the number of rows done and their total.
        on_step: called after each step of a training.
        on_row: called after each row.

    Raises:
        ConfigError: see ``mien.model.training.train.train``.
        DatasetError: no face has a label, or ``ablation.csv`` is not a table of this version.
    """
    from mien.model.training.checkpoint import load_network, read_checkpoint
    from mien.model.training.train import choose_device, train

    chosen_device = choose_device(device)
    rows = read_rows(folder / ABLATION_NAME) if (folder / ABLATION_NAME).exists() else []
    done = {(row.name, row.seed) for row in rows}
    if faces is not None:
        chosen = np.random.default_rng(_SEED).permutation(len(training))[:faces]
        training = training.take(np.sort(chosen))
    held_out = near_copies.without_leaks(validation)
    runs = [(name, seed) for name in trials for seed in (seeds if name in DECISIVE else seeds[:1])]
    for number, (name, seed) in enumerate(runs):
        if (name, seed) in done:
            continue
        on_trial(f"{name}, seed {seed}", number, len(runs))
        settings = TrainingConfig.model_validate(config.model_dump() | trials[name] | {"seed": seed})
        checkpoint = train(
            training,
            held_out,
            settings,
            folder / _slug(name, seed),
            device=chosen_device,
            initial=initial,
            resume=True,
            on_progress=on_step,
        )
        network, _, sigma = load_network(checkpoint)
        embed = _embedding(network.to(chosen_device), chosen_device)
        seconds = sum(report["seconds"] for report in read_checkpoint(checkpoint)["reports"])
        scores = space_scores(embed, sigma, training, held_out, near_copies)
        rows.append(AblationRow(name=name, seed=seed, **scores, seconds=seconds))
        write_rows(folder / ABLATION_NAME, rows)
        on_row(rows[-1])
    return rows


def space_scores(
    embed: Embed, sigma: float, training: LabelledFaces, held_out: LabelledFaces, near_copies: NearCopies
) -> dict[str, float]:
    """Score an embedding space: the figures of an ``AblationRow``, by name.

    Args:
        embed: from (n, h, w) uint8 crops to (n, d) float32.
        sigma: of the mixture, before it is fitted.
        training: faces that the mixture is fitted on, where they have a strict majority.
        held_out: faces to score on, likewise.
        near_copies: of these faces.
    """
    known, new = (faces.take(labels(faces.votes) != UNLABELLED) for faces in (training, held_out))
    points, queries = embed(known.images), held_out_faces(new, embed(new.images), near_copies)
    gallery, query_gallery = _gallery(known, points), _gallery(new, queries.embeddings)
    mixture = fit_mixture(points, labels(known.votes), EMOTIONS, sigma)
    posterior = cross_fitted_posterior(mixture, queries)
    classification, _ = score_classification(queries.labels, posterior.argmax(axis=1))
    calibration, _ = score_calibration(posterior, queries.labels, queries.votes)
    retrieval, _ = score_retrieval(
        query_gallery, queries.labels, queries.groups, queries, query_rows=np.arange(len(new))
    )

    fitted_on = np.concatenate([each.crops for each in seen_outliers(known.images, 1, count=OUTLIERS)])
    background = fit_background(embed(fitted_on), mixture.log_density(points))
    calibrated = calibrate_mixture(mixture, background, queries.embeddings, queries.one_hot, queries.votes)
    typical = cross_fitted_typicality(calibrated, queries)
    outliers = seen_outliers(new.images, 2, count=OUTLIERS)
    outliers += unseen_outliers(new.images.shape[1], 2, count=OUTLIERS)
    areas = [auroc(typical, calibrated.typicality(embed(each.crops))) for each in outliers]
    return {
        "accuracy": classification["accuracy"],
        "macro_recall": classification["macro_recall"],
        "accuracy_neighbours": _share(nearest_neighbour_vote(gallery, queries.embeddings), queries.labels),
        "accuracy_softmax_head": _share(softmax_head(gallery)(queries.embeddings), queries.labels),
        "recall_at_1": retrieval["recall_at_1"],
        "mean_average_precision": retrieval["mean_average_precision"],
        "expected_calibration_error": calibration["expected_calibration_error"],
        "kl_divergence": calibration["kl_divergence"],
        "auroc": float(np.mean(areas)),
    }


def by_name(rows: Sequence[AblationRow]) -> dict[str, list[AblationRow]]:
    """The rows of each name, one for each seed."""
    groups: dict[str, list[AblationRow]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(row)
    return groups


def write_rows(path: Path, rows: Sequence[AblationRow]) -> None:
    """Write the table as CSV, whole or not at all."""
    write_table(path, [column.name for column in fields(AblationRow)], map(vars, rows))


def read_rows(path: Path) -> list[AblationRow]:
    """Read a table that ``write_rows`` wrote.

    Raises:
        DatasetError: it cannot be read, or is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                AblationRow(row.pop("name"), int(row.pop("seed")), **{key: float(value) for key, value in row.items()})
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{path} is not the table of an ablation: {error}") from None


def _gallery(faces: LabelledFaces, embeddings: NDArray[np.float32]) -> FixedGallery:
    entries = [Entry(name, EMOTIONS[label], {}) for name, label in zip(faces.names, labels(faces.votes), strict=True)]
    return FixedGallery(entries, embeddings)


def _embedding(network: Any, device: Any) -> Embed:
    """The network as a function of crops; it is typed as Any, because torch is only imported for training."""
    from mien.model.training.validation import embed_with

    return lambda crops: np.asarray(embed_with(network, crops, device).numpy())


def _share(predicted: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    return float((predicted == wanted).mean())


def _slug(name: str, seed: int) -> str:
    return f"{'-'.join(re.findall('[a-z0-9]+', name.lower()))}-{seed}"

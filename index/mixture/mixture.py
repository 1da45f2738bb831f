"""The mixture of Gaussians over the embedding space: the emotion of a point, and how typical the point is.

Source: arXiv 2001.06612. One component per emotion, fitted on training embeddings, never on what is scored.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.background import Background
from mien.index.mixture.em import FEW_POINTS, GaussianMixture
from mien.model.emotions import EmotionPrior

PRIOR_FACES: Final = 128
"""How many faces the mean covariance of all emotions counts for in that of one emotion.

FER+ Training has 116 clear faces of disgust: their covariance alone, in 64 dimensions, would make every other face of
disgust untypical. An emotion with thousands of faces keeps its covariance."""

QUANTILES: Final = 1001
"""Points at which the distribution of the outlier score is kept."""

NEUTRAL: Final = "neutral"
"""The emotion that intensity begins at."""

KEEP_SHARE: Final = 0.95
"""The share of faces that count as a known expression."""


@dataclass(frozen=True)
class Calibration:
    """What ``mien calibrate`` fitted on faces that the network was not trained on; see ``calibration``.

    Attributes:
        trained_sigma: the sigma of the loss.
        votes_sigma: the sigma under which the posterior forecasts best how raters' votes split.
        background: the density of pictures without a known expression.
        outlier_scores: (q,) float64 ascending, quantiles over the faces that the mixture was calibrated on.
        min_typicality: a face below it shows no known expression.
        data_sigma: the sigma of the posterior under the prior ``data``; None in calibrations of before.
    """

    trained_sigma: float
    votes_sigma: float
    background: Background
    outlier_scores: NDArray[np.float64]
    min_typicality: float
    data_sigma: float | None = None


@dataclass(frozen=True)
class Mixture:
    """Gaussians of the emotions: c components in d dimensions.

    The posterior is that of the isotropic mixture which the loss shapes, with one sigma. With equal weights, the prior
    ``uniform``, its largest entry is always the nearest centroid. The full covariances say how typical a point is,
    whatever the prior: of the emotions against the background where the mixture is calibrated, and of the nearest
    emotion where it is not.

    Attributes:
        emotions: (c,) names.
        centroids: (c, d) float64, mean embedding of each emotion.
        covariances: (c, d, d) float64, full and positive definite.
        weights: (c,) float64, share of each emotion among the faces the mixture was fitted on.
        sigma: standard deviation of the posterior's components, in embedding units.
        typical: (q,) float64 ascending, quantiles of the training faces' Mahalanobis distance to their own component.
        calibration: fitted on other faces than the network; None before ``mien calibrate``.
    """

    emotions: tuple[str, ...]
    centroids: NDArray[np.float64]
    covariances: NDArray[np.float64]
    weights: NDArray[np.float64]
    sigma: float
    typical: NDArray[np.float64]
    calibration: Calibration | None = None

    @property
    def trained_sigma(self) -> float:
        """The sigma of the loss."""
        return self.calibration.trained_sigma if self.calibration else self.sigma

    @property
    def votes_sigma(self) -> float:
        """The sigma under which the posterior forecasts how votes split."""
        return self.calibration.votes_sigma if self.calibration else self.sigma

    @property
    def min_typicality(self) -> float:
        """A face below this typicality shows no known expression."""
        return self.calibration.min_typicality if self.calibration else 1 - KEEP_SHARE

    def distances(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, c) Euclidean distances of (n, d) embeddings to the centroids, in embedding units."""
        return centroid_distances(embeddings, self.centroids)

    def sigma_under(self, prior: EmotionPrior) -> float:
        """The sigma of the posterior under a prior."""
        data_sigma = self.calibration.data_sigma if self.calibration else None
        return self.sigma if prior == "uniform" or data_sigma is None else data_sigma

    def posterior(self, embeddings: NDArray[np.floating], prior: EmotionPrior = "uniform") -> NDArray[np.float64]:
        """(n, c) probabilities of the emotions at (n, d) embeddings: rows that sum to 1."""
        return self.posterior_at(self.distances(embeddings), prior)

    def posterior_at(self, distances: NDArray[np.float64], prior: EmotionPrior = "uniform") -> NDArray[np.float64]:
        """(n, c) probabilities of the emotions, from (n, c) distances to their centroids."""
        return posterior_from(distances, self.sigma_under(prior), self.prior_weights(prior))

    def prior_weights(self, prior: EmotionPrior) -> NDArray[np.float64] | None:
        """(c,) the weights of the emotions under a prior; None where they are equal."""
        return self.weights if prior == "data" else None

    def mahalanobis(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, c) Mahalanobis distances of (n, d) embeddings to the components, in standard deviations."""
        return mahalanobis_distances(embeddings, self.centroids, self.covariances)

    def vote_shares(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, c) how the votes of raters are expected to split: rows that sum to 1, in the order of the posterior.

        Raters agree less than the posterior: where nine of ten call a face happy, its posterior is near 1.
        """
        return posterior_from(self.distances(embeddings), self.votes_sigma)

    def intensity(self, embeddings: NDArray[np.floating], emotions: NDArray[np.integer]) -> NDArray[np.float64]:
        """How strongly each point shows an emotion: its place on the line from neutral's centroid to the emotion's.

        0 at neutral's centroid, 1 at the emotion's, and beyond; a point whose nearest centroid is the emotion's is
        above 0.5.

        Args:
            embeddings: (n, d).
            emotions: (n,) the emotion of each, as an index into ``emotions``.

        Returns:
            (n,) float64; NaN for neutral, and where there is no emotion of this name.
        """
        if NEUTRAL not in self.emotions:
            return np.full(len(embeddings), np.nan)
        neutral = self.centroids[self.emotions.index(NEUTRAL)]
        lines = (self.centroids - neutral)[emotions]
        squares = np.einsum("nd,nd->n", lines, lines)
        along = np.einsum("nd,nd->n", embeddings - neutral, lines)
        return np.asarray(np.divide(along, squares, out=np.full(len(squares), np.nan), where=squares > 0))

    def log_density(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,) log density of (n, d) embeddings under the emotions, equally likely, with full covariances; in nats."""
        return self._gaussians.log_likelihood(embeddings)

    def outlier_score(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,) how unlike the known expressions each of (n, d) embeddings is.

        Calibrated: the log ratio of the background's density to that of the emotions, in nats. Otherwise the
        Mahalanobis distance to the nearest emotion, in standard deviations.
        """
        if self.calibration is None:
            return np.asarray(self.mahalanobis(embeddings).min(axis=1))
        return self.calibration.background.log_density(embeddings) - self.log_density(embeddings)

    def typicality(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """How typical each point is of the known expressions.

        The share of faces with a higher outlier score: about uniform over faces with an expression, near 0 for other
        pictures. The faces are those that the mixture was calibrated on; without a calibration, the training faces,
        each by its distance from its emotion.

        Args:
            embeddings: (n, d).

        Returns:
            (n,) float64 from 0 to 1.
        """
        table = self.calibration.outlier_scores if self.calibration else self.typical
        return typicality_from(self.outlier_score(embeddings), table)

    @cached_property
    def typical_distances(self) -> tuple[float, float]:
        """Root mean square distance of two faces of one emotion, and of two of different ones, in embedding units.

        By the Gaussians, each emotion as frequent as its weight: |x - y|^2 of independent x and y has the mean
        tr(Sx) + tr(Sy) + |mx - my|^2.
        """
        traces = np.trace(self.covariances, axis1=1, axis2=2)
        squares = traces[:, None] + traces + np.square(centroid_distances(self.centroids, self.centroids))  # (c, c)
        weights = np.outer(self.weights, self.weights)
        same = np.eye(len(self.emotions), dtype=bool)
        rms = [float(np.sqrt(np.average(squares[pairs], weights=weights[pairs]))) for pairs in (same, ~same)]
        return rms[0], rms[1]

    @cached_property
    def _gaussians(self) -> GaussianMixture:
        return GaussianMixture(np.full(len(self.emotions), 1 / len(self.emotions)), self.centroids, self.covariances)


def quantile_table(outlier_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(QUANTILES,) the quantiles of (n,) outlier scores, ascending."""
    return np.quantile(outlier_scores, np.linspace(0, 1, QUANTILES))


def typicality_from(outlier_scores: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) share of the faces of a quantile table whose outlier score is higher than each of (n,)."""
    shares = np.linspace(1.0, 0.0, len(table))
    return np.asarray(np.interp(outlier_scores, table, shares), dtype=np.float64)


def centroid_distances(embeddings: NDArray[np.floating], centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, c) Euclidean distances of (n, d) embeddings to (c, d) centroids, in embedding units."""
    points = embeddings.astype(np.float64)
    if len(points) <= FEW_POINTS:
        apart = points[:, None] - centroids  # (n, c, d)
        return np.asarray(np.sqrt(np.einsum("ncd,ncd->nc", apart, apart)))
    differences = (points - centroid for centroid in centroids)
    squares = np.stack([np.einsum("nd,nd->n", each, each) for each in differences], axis=1)
    return np.asarray(np.sqrt(squares))


def posterior_from(
    distances: NDArray[np.float64], sigma: float, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """The posterior of an isotropic mixture, without overflow, and without underflow of a whole row.

    Args:
        distances: (n, c) to the centroids.
        sigma: standard deviation of each component.
        weights: (c,) of the components, above 0; None takes equal ones.

    Returns:
        (n, c) softmax of ``log(weight) - distance^2 / (2 sigma^2)``.
    """
    logits = -np.square(distances) / (2 * sigma**2)
    if weights is not None:
        logits += np.log(weights)
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def mahalanobis_distances(
    embeddings: NDArray[np.floating], centroids: NDArray[np.float64], covariances: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n, c) Mahalanobis distances of (n, d) embeddings to c Gaussians, by their Cholesky factors."""
    points = embeddings.astype(np.float64)
    columns = []
    for centroid, covariance in zip(centroids, covariances, strict=True):
        whitened = np.linalg.solve(np.linalg.cholesky(covariance), (points - centroid).T)  # (d, n)
        columns.append(np.linalg.norm(whitened, axis=0))
    return np.stack(columns, axis=1)


def fit_mixture(
    embeddings: NDArray[np.floating], labels: NDArray[np.integer], emotions: tuple[str, ...], sigma: float
) -> Mixture:
    """Fit one Gaussian per emotion.

    Args:
        embeddings: (n, d) of training faces.
        labels: (n,) indices into ``emotions``.
        emotions: (c,) names; each needs at least two faces.
        sigma: standard deviation of the posterior's components, that of the loss.

    Raises:
        ValueError: an emotion has fewer than two faces.
    """
    points = embeddings.astype(np.float64)
    counts = np.bincount(labels, minlength=len(emotions))
    if counts.min() < 2:
        raise ValueError(
            f"each emotion needs at least two faces, {emotions[int(counts.argmin())]} has {int(counts.min())}"
        )
    groups = [points[labels == label] for label in range(len(emotions))]
    centroids = np.stack([group.mean(axis=0) for group in groups])
    own = np.stack([np.cov(group, rowvar=False) for group in groups])
    pooled = own.mean(axis=0)
    # A share of the pooled variance on the diagonal keeps directions in which nothing varies invertible.
    floor = 1e-6 * np.trace(pooled) / pooled.shape[0] * np.eye(pooled.shape[0])
    trust = counts / (counts + PRIOR_FACES)
    covariances = trust[:, None, None] * own + (1 - trust)[:, None, None] * pooled + floor
    to_own = mahalanobis_distances(points, centroids, covariances)[np.arange(len(points)), labels]
    return Mixture(
        emotions,
        centroids,
        covariances,
        counts / counts.sum(),
        sigma,
        quantile_table(to_own),
    )

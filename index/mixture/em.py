"""Gaussian mixtures with full covariances, fitted to weighted points by expectation maximisation (EM).

A prior keeps the covariance of a component with few faces positive definite; EM then increases the *penalised*
log-likelihood in every step.

Sources: Dempster, Laird, Rubin: *Maximum Likelihood from Incomplete Data via the EM Algorithm*, 1977; Fraley,
Raftery: *Bayesian Regularization for Normal Mixture Estimation and Model-Based Clustering*, 2007 (the prior);
Arthur, Vassilvitskii: *k-means++: The Advantages of Careful Seeding*, 2007 (the start).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESTARTS: Final = 5
"""Seeded starts, of which the best result is kept."""

MAX_STEPS: Final = 300
"""Steps of EM from one start."""

TOLERANCE: Final = 1e-5
"""EM has converged when a step gains less than this much penalised log-likelihood per face, in nats."""

_MIN_FACES: Final = 1e-8
"""A component with fewer faces keeps its previous mean."""


@dataclass(frozen=True)
class Prior:
    """An inverse-Wishart prior on a covariance, given by its mode.

    Attributes:
        covariance: (d, d) float64, positive definite: that of a component without faces.
        faces: how many faces it counts for, above 0. A component of n faces with sample covariance S gets
            ``(n S + faces covariance) / (n + faces)``, so that no variance can fall to zero.
    """

    covariance: NDArray[np.float64]
    faces: float


FEW_POINTS: Final = 64
"""Up to so many points are compared with all Gaussians at once: of a face, the calls take longer than the work."""


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of k Gaussians in d dimensions.

    Attributes:
        weights: (k,) float64, not negative, sum 1.
        means: (k, d) float64.
        covariances: (k, d, d) float64, positive definite.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    covariances: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.weights)

    @cached_property
    def whitening(self) -> NDArray[np.float64]:
        """(k, d, d) inverses of the covariances' Cholesky factors, which map each Gaussian to the standard one.

        Raises:
            numpy.linalg.LinAlgError: a covariance is not positive definite.
        """
        # An inverse and matrix products are an order of magnitude faster than a solve with n right-hand sides.
        return np.asarray(np.linalg.inv(np.linalg.cholesky(self.covariances)))

    @cached_property
    def log_determinants(self) -> NDArray[np.float64]:
        """(k,) of the covariances."""
        return np.asarray(-2 * np.log(np.diagonal(self.whitening, axis1=1, axis2=2)).sum(axis=1))

    @cached_property
    def log_weights(self) -> NDArray[np.float64]:
        """(k,) -inf for a component of weight 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    def log_densities(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, k) log density of (n, d) points under each Gaussian, in nats."""
        points = points.astype(np.float64, copy=False)
        size = self.means.shape[1]
        if len(points) <= FEW_POINTS:
            whitened = (points - self.means[:, None]) @ self.whitening.transpose(0, 2, 1)  # (k, n, d)
            squared = np.einsum("knd,knd->nk", whitened, whitened)
        else:
            squared = np.empty((len(points), len(self)))
            for column, (mean, whitening) in enumerate(zip(self.means, self.whitening, strict=True)):
                of_one = (points - mean) @ whitening.T  # (n, d)
                squared[:, column] = np.einsum("nd,nd->n", of_one, of_one)
        return np.asarray(-0.5 * (size * math.log(2 * math.pi) + self.log_determinants + squared))

    def log_joint(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, k) log of weight times density of (n, d) points, in nats; -inf for a component of weight 0."""
        return self.log_densities(points) + self.log_weights

    def log_likelihood(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,) log density of (n, d) points under the whole mixture, in nats."""
        return log_sum_exp(self.log_joint(points))

    def responsibilities(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, k) probability that each point comes from each component; rows sum to 1, however far the point."""
        joint = self.log_joint(points)
        return np.asarray(np.exp(joint - log_sum_exp(joint)[:, None]))


@dataclass(frozen=True)
class Fit:
    """A result of EM.

    Attributes:
        mixture: the k Gaussians.
        objective: the penalised log-likelihood after each step, in nats; it never decreases.
        converged: whether the last step gained less than the tolerance; otherwise all steps were used.
    """

    mixture: GaussianMixture
    objective: tuple[float, ...]
    converged: bool


def log_sum_exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) log of the sum of exp of each row of (n, k), without overflow, and without underflow of a whole row."""
    highest = values.max(axis=1, keepdims=True)
    return np.asarray(highest[:, 0] + np.log(np.exp(values - highest).sum(axis=1)))


def fit_gaussian_mixture(
    points: NDArray[np.floating],
    count: int,
    prior: Prior,
    *,
    weights: NDArray[np.floating] | None = None,
    start: NDArray[np.integer] | None = None,
    seed: int = 0,
    restarts: int = RESTARTS,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
) -> Fit:
    """Fit ``count`` Gaussians with full covariances to weighted points by EM.

    Args:
        points: (n, d), finite.
        count: k, at least 1 and at most the number of points with a weight above 0.
        prior: on the covariance of each component.
        weights: (n,) how many faces each point counts for, not negative: 1 for a face that is known to belong to the
            mixture, its probability for another. None counts each as 1.
        start: (n,) the component of each point to start from, from 0 on; component j of the result started as j.
            Components beyond these start from random seeds, as all do without ``start``.
        seed: of the random starts.
        restarts: how many random starts, of which the best result is kept.
        max_steps: from each start.
        tolerance: gain per face below which EM has converged, in nats.

    Raises:
        ValueError: the arguments do not fit one another.
    """
    exact = np.asarray(points, dtype=np.float64)
    shares = np.ones(len(points)) if weights is None else weights.astype(np.float64)
    _check(exact, shares, count, prior, start)
    random = count - (0 if start is None else int(start.max()) + 1)
    # One component has one fit, and without random components every start is the same.
    generators = np.random.default_rng(seed).spawn(1 if count == 1 or random == 0 else restarts)
    fits = [
        _maximise(
            exact,
            shares,
            np.eye(count)[_start(exact, shares, count, start, generator)],
            prior,
            max_steps=max_steps,
            min_gain=tolerance * shares.sum(),
        )
        for generator in generators
    ]
    return max(fits, key=lambda fit: fit.objective[-1])


def _check(
    points: NDArray[np.float64],
    shares: NDArray[np.float64],
    count: int,
    prior: Prior,
    start: NDArray[np.integer] | None,
) -> None:
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(f"expected finite points (n, d), got an array of shape {points.shape}")
    length, size = points.shape
    if shares.shape != (length,) or not np.isfinite(shares).all() or (shares < 0).any():
        raise ValueError(f"expected one weight of 0 or more for each of {length} points, got {shares.shape}")
    if not 1 <= count <= np.count_nonzero(shares):
        raise ValueError(f"expected from 1 to {np.count_nonzero(shares)} components, got {count}")
    if prior.covariance.shape != (size, size) or not prior.faces > 0:
        raise ValueError(
            f"expected a prior ({size}, {size}) for more than 0 faces, got {prior.covariance.shape} for {prior.faces}"
        )
    if start is not None and (start.shape != (length,) or start.min() < 0 or start.max() >= count):
        raise ValueError(
            f"expected a start of {length} components from 0 to {count - 1}, got {start.shape} from {start.min()} "
            f"to {start.max()}"
        )


def _start(
    points: NDArray[np.float64],
    shares: NDArray[np.float64],
    count: int,
    start: NDArray[np.integer] | None,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """(n,) the component of each point at the start.

    Seeds are points, drawn as by k-means++: with a probability that grows with the distance from all before. A point
    moves to a seed that is nearer than the mean of its component.
    """
    if start is None:
        owner = np.zeros(len(points), dtype=np.int64)
        first = generator.choice(len(points), p=shares / shares.sum())
        squared = np.square(points - points[first]).sum(axis=1)  # (n,) to the seed or mean of each point's component
        begun = 1
    else:
        owner = start.astype(np.int64)
        begun = int(owner.max()) + 1
        memberships = shares[:, None] * np.eye(begun)[owner]
        # A component without points has no mean, but no point uses it.
        means = memberships.T @ points / np.maximum(memberships.sum(axis=0), _MIN_FACES)[:, None]
        squared = np.square(points - means[owner]).sum(axis=1)
    for component in range(begun, count):
        chances = shares * squared
        # Where every point lies on a seed, all distances are 0.
        chances = chances if chances.sum() > 0 else shares
        seed = generator.choice(len(points), p=chances / chances.sum())
        to_seed = np.square(points - points[seed]).sum(axis=1)
        owner[to_seed < squared] = component
        squared = np.minimum(squared, to_seed)
    return owner


def _maximise(
    points: NDArray[np.float64],
    shares: NDArray[np.float64],
    responsibilities: NDArray[np.float64],
    prior: Prior,
    *,
    max_steps: int,
    min_gain: float,
) -> Fit:
    """EM, starting from responsibilities (n, k)."""
    overall_mean = np.average(points, axis=0, weights=shares)
    means = np.tile(overall_mean, (responsibilities.shape[1], 1))
    objective: list[float] = []
    converged = False
    while not converged and len(objective) < max_steps:
        mixture = _maximisation_step(points, shares[:, None] * responsibilities, means, prior)
        means = mixture.means
        joint = mixture.log_joint(points)
        total = log_sum_exp(joint)
        responsibilities = np.exp(joint - total[:, None])
        objective.append(float(shares @ total) + _log_prior(mixture, prior))
        converged = len(objective) > 1 and objective[-1] - objective[-2] < min_gain
    return Fit(mixture, tuple(objective), converged)


def _maximisation_step(
    points: NDArray[np.float64], memberships: NDArray[np.float64], previous: NDArray[np.float64], prior: Prior
) -> GaussianMixture:
    """The M step: the best components for (n, k) memberships, the weight of each point in each component."""
    counts = memberships.sum(axis=0)  # (k,)
    sums = memberships.T @ points
    means = np.where(counts[:, None] > _MIN_FACES, sums / np.maximum(counts, _MIN_FACES)[:, None], previous)
    covariances = []
    for mean, column, count in zip(means, memberships.T, counts, strict=True):
        scaled = np.sqrt(column)[:, None] * (points - mean)  # a product with its own transpose stays symmetric
        covariances.append((scaled.T @ scaled + prior.faces * prior.covariance) / (count + prior.faces))
    return GaussianMixture(counts / counts.sum(), means, np.stack(covariances))


def _log_prior(mixture: GaussianMixture, prior: Prior) -> float:
    """Log of the inverse-Wishart prior of the covariances, up to a constant, in nats."""
    whitened = mixture.whitening @ np.linalg.cholesky(prior.covariance)  # (k, d, d)
    traces = np.square(whitened).sum(axis=(1, 2))  # of inverse covariance times prior covariance
    return float(-0.5 * prior.faces * (mixture.log_determinants + traces).sum())

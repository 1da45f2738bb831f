"""The components of a Gaussian mixture, fitted by expectation maximisation (EM).

Full covariances, faces with weights, and a prior on each covariance, which keeps a component of few faces positive
definite: EM then climbs the *penalised* log-likelihood, and never falls.

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
"""Seeded starts, of which the best end is kept."""

MOST_STEPS: Final = 300
"""Steps of EM after which a start is taken as it is."""

TOLERANCE: Final = 1e-5
"""EM has arrived when a step gains less than this much penalised log-likelihood per face, in nats."""

_NOBODY: Final = 1e-8
"""A component with less than this many faces keeps its mean: it has none of its own."""


@dataclass(frozen=True)
class Prior:
    """What is known of a covariance before a face is seen: an inverse-Wishart prior, by its mode.

    Attributes:
        covariance: (d, d) float64, positive definite: what a component without faces would have.
        faces: how many faces it counts for, above 0. A component of n faces whose own covariance is ``own`` gets
            ``(n own + faces covariance) / (n + faces)``, so that no variance can fall to zero.
    """

    covariance: NDArray[np.float64]
    faces: float


@dataclass(frozen=True)
class Components:
    """Gaussians with weights: k components in d dimensions.

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
        """(k, d, d) inverses of the covariances' Cholesky factors: they turn each Gaussian into the standard one.

        Raises:
            numpy.linalg.LinAlgError: a covariance is not positive definite.
        """
        # One small inverse and matrix products are an order of magnitude faster than a solve with n right sides.
        return np.asarray(np.linalg.inv(np.linalg.cholesky(self.covariances)))

    @cached_property
    def log_determinants(self) -> NDArray[np.float64]:
        """(k,) of the covariances."""
        return np.asarray(-2 * np.log(np.diagonal(self.whitening, axis1=1, axis2=2)).sum(axis=1))

    def log_densities(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, k) log density of (n, d) points under each Gaussian, in nats."""
        points = points.astype(np.float64, copy=False)
        size = self.means.shape[1]
        squared = np.empty((len(points), len(self)))
        for column, (mean, whitening) in enumerate(zip(self.means, self.whitening, strict=True)):
            whitened = (points - mean) @ whitening.T  # (n, d)
            squared[:, column] = np.einsum("nd,nd->n", whitened, whitened)
        return np.asarray(-0.5 * (size * math.log(2 * math.pi) + self.log_determinants + squared))

    def log_joint(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, k) log of weight times density of (n, d) points, in nats; -inf for a component of weight 0."""
        with np.errstate(divide="ignore"):
            return self.log_densities(points) + np.log(self.weights)

    def log_likelihood(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,) log density of (n, d) points under the whole mixture, in nats."""
        return log_sum_exp(self.log_joint(points))

    def responsibilities(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, k) probability that each point comes from each component; rows sum to 1, however far the point."""
        joint = self.log_joint(points)
        return np.asarray(np.exp(joint - log_sum_exp(joint)[:, None]))


@dataclass(frozen=True)
class Fit:
    """Where EM arrived.

    Attributes:
        components: k Gaussians.
        objective: the penalised log-likelihood after each step, in nats; it never falls.
        arrived: the last step gained less than the tolerance; False when the steps ran out.
    """

    components: Components
    objective: tuple[float, ...]
    arrived: bool


def log_sum_exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) log of the sum of exp of each row of (n, k), without overflow, and without underflow of a whole row."""
    highest = values.max(axis=1, keepdims=True)
    return np.asarray(highest[:, 0] + np.log(np.exp(values - highest).sum(axis=1)))


def fit_components(
    points: NDArray[np.floating],
    count: int,
    prior: Prior,
    *,
    weights: NDArray[np.floating] | None = None,
    start: NDArray[np.integer] | None = None,
    seed: int = 0,
    restarts: int = RESTARTS,
    most_steps: int = MOST_STEPS,
    tolerance: float = TOLERANCE,
) -> Fit:
    """Fit ``count`` Gaussians with full covariances to weighted points by EM.

    Args:
        points: (n, d), finite.
        count: k, at least 1 and at most the number of points that weigh something.
        prior: of every component's covariance.
        weights: (n,) how many faces each point counts for, not negative: 1 for a face that is known to belong
            here, its probability for one that may. None counts each as 1.
        start: (n,) the component from 0 on that each point was in before, as after an earlier round: component j
            of the result goes on from there. Where they are fewer than ``count``, the rest start from seeds, and
            without ``start`` all do.
        seed: decides the starts.
        restarts: how many seeded starts, of which the best end is kept.
        most_steps: of each start.
        tolerance: gain per face that ends a start, in nats.

    Raises:
        ValueError: the arguments do not fit one another.
    """
    places = np.asarray(points, dtype=np.float64)
    shares = np.ones(len(points)) if weights is None else weights.astype(np.float64)
    _check(places, shares, count, prior, start)
    drawn = count - (0 if start is None else int(start.max()) + 1)
    # One component has one fit, and where no seed is drawn every start is the same.
    generators = np.random.default_rng(seed).spawn(1 if count == 1 or drawn == 0 else restarts)
    fits = [
        _climb(
            places,
            shares,
            np.eye(count)[_started(places, shares, count, start, generator)],
            prior,
            most_steps=most_steps,
            least_gain=tolerance * shares.sum(),
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
            f"expected a prior ({size}, {size}) that counts for some faces, got {prior.covariance.shape} "
            f"for {prior.faces}"
        )
    if start is not None and (start.shape != (length,) or start.min() < 0 or start.max() >= count):
        raise ValueError(
            f"expected a start of {length} components from 0 to {count - 1}, got {start.shape} from {start.min()} "
            f"to {start.max()}"
        )


def _started(
    points: NDArray[np.float64],
    shares: NDArray[np.float64],
    count: int,
    start: NDArray[np.integer] | None,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """(n,) the component of each point at the start.

    Seeds are points, drawn as k-means++ draws them: the farther from all before it, the likelier. A point moves
    to a seed that is nearer than the mean of the component it was in.
    """
    if start is None:
        owner = np.zeros(len(points), dtype=np.int64)
        first = generator.choice(len(points), p=shares / shares.sum())
        squared = np.square(points - points[first]).sum(axis=1)  # (n,) to the seed or mean each point is with
        begun = 1
    else:
        owner = start.astype(np.int64)
        begun = int(owner.max()) + 1
        held = shares[:, None] * np.eye(begun)[owner]
        # A component that nobody was in has no mean, and no point that asks for it.
        means = held.T @ points / np.maximum(held.sum(axis=0), _NOBODY)[:, None]
        squared = np.square(points - means[owner]).sum(axis=1)
    for component in range(begun, count):
        chances = shares * squared
        # Points that all lie on a seed leave nothing to choose by.
        chances = chances if chances.sum() > 0 else shares
        seed = generator.choice(len(points), p=chances / chances.sum())
        to_seed = np.square(points - points[seed]).sum(axis=1)
        owner[to_seed < squared] = component
        squared = np.minimum(squared, to_seed)
    return owner


def _climb(
    points: NDArray[np.float64],
    shares: NDArray[np.float64],
    responsibilities: NDArray[np.float64],
    prior: Prior,
    *,
    most_steps: int,
    least_gain: float,
) -> Fit:
    """EM from responsibilities (n, k) on."""
    everyone = np.average(points, axis=0, weights=shares)
    means = np.tile(everyone, (responsibilities.shape[1], 1))
    objective: list[float] = []
    arrived = False
    while not arrived and len(objective) < most_steps:
        components = _maximised(points, shares[:, None] * responsibilities, means, prior)
        means = components.means
        joint = components.log_joint(points)
        total = log_sum_exp(joint)
        responsibilities = np.exp(joint - total[:, None])
        objective.append(float(shares @ total) + _log_prior(components, prior))
        arrived = len(objective) > 1 and objective[-1] - objective[-2] < least_gain
    return Fit(components, tuple(objective), arrived)


def _maximised(
    points: NDArray[np.float64], held: NDArray[np.float64], previous: NDArray[np.float64], prior: Prior
) -> Components:
    """The M step: the best components for ``held`` (n, k), how much of each point each component holds."""
    counts = held.sum(axis=0)  # (k,)
    means = np.where(counts[:, None] > _NOBODY, held.T @ points / np.maximum(counts, _NOBODY)[:, None], previous)
    covariances = []
    for mean, column, count in zip(means, held.T, counts, strict=True):
        scaled = np.sqrt(column)[:, None] * (points - mean)  # a product with its own transpose stays symmetric
        covariances.append((scaled.T @ scaled + prior.faces * prior.covariance) / (count + prior.faces))
    return Components(counts / counts.sum(), means, np.stack(covariances))


def _log_prior(components: Components, prior: Prior) -> float:
    """Log of the inverse-Wishart prior of the covariances, up to a constant, in nats."""
    whitened = components.whitening @ np.linalg.cholesky(prior.covariance)  # (k, d, d)
    traces = np.square(whitened).sum(axis=(1, 2))  # of inverse covariance times prior covariance
    return float(-0.5 * prior.faces * (components.log_determinants + traces).sum())

"""How many components an emotion has: as many as are found again in other faces, and describe faces not seen.

Source of the idea that a number is right when halves of the data agree on it: Ben-Hur, Elisseeff, Guyon: *A
Stability Based Method for Discovering Structure in Clustered Data*, 2002.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.partitions import adjusted_rand_index
from mien.index.mixture.em import RESTARTS, log_sum_exp
from mien.index.mixture.emotion_mixture import EmotionFaces, fit_emotion

HALVINGS: Final = 5
"""How often the faces are halved at random."""

LEAST_AGREEMENT: Final = 0.6
"""Adjusted Rand index that components of two halves of the faces should reach to count as found again.

Held-out likelihood alone, like BIC, asks for more components up to any limit that was tried (5), because clouds of
faces have heavier tails than Gaussians: on FER+ Training it rose with each. Their agreement did not: in anger 0.79
for three components, 0.49 for four; in happiness 0.83 for four."""


@dataclass(frozen=True)
class Candidate:
    """A number of components, tried out on halves of the faces.

    Attributes:
        count: k.
        log_likelihood: (n,) float64 of each clear face under the components of the half it is not in, mean over
            the halvings, in nats.
        agreement: mean adjusted Rand index between the components of the two halves, over all clear faces.
        smallest: mean number of clear faces in the smallest component.
    """

    count: int
    log_likelihood: NDArray[np.float64]
    agreement: float
    smallest: float

    def gain_over(self, other: "Candidate") -> tuple[float, float]:
        """Mean held-out log-likelihood per face above that of another number, and its standard error, in nats."""
        difference = self.log_likelihood - other.log_likelihood
        return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def try_numbers(
    faces: EmotionFaces,
    most: int,
    background: NDArray[np.float64],
    *,
    seed: int = 0,
    halvings: int = HALVINGS,
    restarts: int = RESTARTS,
) -> list[Candidate]:
    """Try out each number of components from 1 on.

    Near copies of a face are in the same half as it is.

    Args:
        faces: those of one emotion.
        most: the highest number to try.
        background: as of ``fit_emotion``.
        seed: decides the halves and the starts.
        halvings: how often.
        restarts: seeded starts of each fit.

    Returns:
        Candidates for 1, 2, ... components; none where the faces cannot be halved.
    """
    generators = np.random.default_rng(seed).spawn(halvings)
    numbers, group = np.unique(faces.groups, return_inverse=True)
    halves = [(generator.permutation(len(numbers)) % 2)[group] for generator in generators]  # (n,) 0 or 1 each
    parts = [[half == side for side in (0, 1)] for half in halves]
    if any(faces.clear[part].sum() < max(2, most) for pair in parts for part in pair):
        return []
    clear = faces.points[faces.clear]
    candidates = []
    for count in range(1, most + 1):
        held_out, agreements, smallest = np.zeros(len(clear)), [], []
        for round_, (half, pair) in enumerate(zip(halves, parts, strict=True)):
            fits = [fit_emotion(faces.take(part), count, background, seed=round_, restarts=restarts) for part in pair]
            joints = [fit.log_joint(clear) for fit in fits]
            of_first, of_second = (log_sum_exp(joint) for joint in joints)
            held_out += np.where(half[faces.clear] == 0, of_second, of_first) / len(halves)
            found = [joint.argmax(axis=1) for joint in joints]
            agreements.append(adjusted_rand_index(*found))
            smallest.append(min(np.bincount(each, minlength=count).min() for each in found))
        candidates.append(Candidate(count, held_out, float(np.mean(agreements)), float(np.mean(smallest))))
    return candidates


def choose_number(candidates: list[Candidate], *, least_agreement: float = LEAST_AGREEMENT) -> list[int]:
    """The numbers of components worth having, the best first; 1 is always among them, as the last.

    A number counts when halves of the faces agree on its components, and when the held-out log-likelihood rises
    from the next smaller number that counts by more than its standard error.
    """
    worth = [1]
    best = candidates[0] if candidates else None
    for candidate in candidates[1:]:
        if best is None or candidate.agreement < least_agreement:
            continue
        gain, error = candidate.gain_over(best)
        if gain > error:
            worth.append(candidate.count)
            best = candidate
    return worth[::-1]

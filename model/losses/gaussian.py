"""The Gaussian structured loss, which shapes the embedding space into a mixture of Gaussians.

Source: Marrero Fernandez, Guerrero Pena, Ren, Cunha: *Deep Metric Structured Learning for Facial Expression
Recognition*, arXiv 2001.06612.
"""

import torch
from torch import Tensor

from mien.model.losses.base import EmbeddedBatch, Loss
from mien.model.losses.centroids import class_centroids, squared_distances, squared_distances_to_class_centroids
from mien.model.losses.sigma import Sigma


def gaussian_structured_loss(
    embeddings: Tensor,
    labels: Tensor,
    targets: Tensor,
    sigma: float | Tensor,
    *,
    leave_one_out: bool = False,
    emotion_of: Tensor | None = None,
    prior_power: float = 0.0,
) -> Tensor:
    """Brier score of the batch's isotropic Gaussian mixture against target distributions.

    With the batch centroids ``mu_j``, for each embedding ``z_i``::

        pi_ij = softmax_j(-||z_i - mu_j||^2 / (2 sigma^2))
        L     = (1 / n) sum_i sum_j (pi_ij - t_ij)^2

    where the components have equal weights, unless ``prior_power`` is set.

    Classes without samples in the batch are left out. The posterior is computed by log-softmax, because the exponential
    underflows in float32, and has no gradient, where the squared distance exceeds about ``200 sigma^2``.

    With ``emotion_of``, the classes are sub-classes, each with a centroid, and the posterior of an emotion is the sum
    over its sub-classes.

    Args:
        embeddings: (n, d) float.
        labels: (n,) int64, the class whose centroid each embedding belongs to.
        targets: (n, c) float rows that sum to 1: one-hot as in the paper, or the shares of the raters' votes.
        sigma: standard deviation of all components, in embedding units.
        leave_one_out: leave each embedding out of its centroid (see ``mien.model.losses.centroids``).
        emotion_of: (s,) int64, the emotion (0..c-1) of each of s sub-classes; None if the classes are the emotions.
        prior_power: the weight of a component is its share of the batch to this power; 0 gives equal weights.

    Returns:
        () float, from 0 to 2. A uniform posterior over c classes against one-hot targets gives 1 - 1/c.
    """
    class_count = targets.shape[1] if emotion_of is None else len(emotion_of)
    squared, present = squared_distances_to_class_centroids(
        embeddings, labels, class_count, leave_one_out=leave_one_out
    )
    weights = shares(labels, class_count) ** prior_power if prior_power else None
    return brier_score(squared, present, targets, sigma, emotion_of=emotion_of, weights=weights)


def mixed_loss(
    embeddings: Tensor,
    labels: Tensor,
    targets: Tensor,
    sigma: float | Tensor,
    concentration: float,
    *,
    emotion_of: Tensor | None = None,
    prior_power: float = 0.0,
) -> Tensor:
    """Brier score of points between two embeddings of a batch, against targets mixed in the same shares.

    The points are ``lambda z_i + (1 - lambda) z_k`` with a random partner k of each i, and one lambda for the batch
    from a symmetric Beta distribution, as in the code of the paper's authors; targets are mixed in place of class
    numbers. The centroids are those of the embeddings alone. Random numbers come from torch's global generator.

    Args:
        embeddings: (n, d) float.
        labels: (n,) int64, the class whose centroid each embedding belongs to.
        targets: (n, c) float rows that sum to 1.
        sigma: standard deviation of all components, in embedding units.
        concentration: both parameters of the Beta distribution.
        emotion_of: (s,) int64, the emotion of each sub-class; None if the classes are the emotions.
        prior_power: as for ``gaussian_structured_loss``.

    Returns:
        () float, from 0 to 2.
    """
    class_count = targets.shape[1] if emotion_of is None else len(emotion_of)
    share = torch.distributions.Beta(concentration, concentration).sample().to(embeddings)
    partners = torch.randperm(len(embeddings)).to(embeddings.device)
    centroids, present = class_centroids(embeddings, labels, class_count)
    squared = squared_distances(torch.lerp(embeddings[partners], embeddings, share), centroids)
    weights = shares(labels, class_count) ** prior_power if prior_power else None
    mixed = torch.lerp(targets[partners], targets, share)
    return brier_score(squared, present, mixed, sigma, emotion_of=emotion_of, weights=weights)


def shares(labels: Tensor, class_count: int) -> Tensor:
    """(c,) float, the share of each class among (n,) labels."""
    return torch.bincount(labels, minlength=class_count) / len(labels)


def brier_score(
    squared: Tensor,
    present: Tensor,
    targets: Tensor,
    sigma: float | Tensor,
    *,
    emotion_of: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """The Brier score of an isotropic mixture, given the squared distances to its centroids.

    Args:
        squared: (n, s) squared distances to the centroids of s components.
        present: (s,) bool, false for components to leave out.
        targets: (n, c) float rows that sum to 1.
        sigma: standard deviation of all components, in embedding units.
        emotion_of: (s,) int64, the emotion of each component; None if each emotion is one component.
        weights: (s,) float weights of the components, positive where present; None for equal weights.

    Returns:
        () float, from 0 to 2.
    """
    logits = -squared / (2 * sigma**2)
    if weights is not None:
        logits = logits + weights.clamp(min=torch.finfo(weights.dtype).tiny).log()
    logits = logits.masked_fill(~present, -torch.inf)
    posterior = logits.log_softmax(dim=1).exp()  # (n, s)
    if emotion_of is not None:
        posterior = posterior @ torch.nn.functional.one_hot(emotion_of, targets.shape[1]).to(posterior.dtype)
        present = torch.bincount(emotion_of[present], minlength=targets.shape[1]) > 0
    return ((posterior - targets) * present).square().sum(dim=1).mean()


class GaussianLoss(Loss):
    """The Gaussian structured loss over the centroids of each batch, of emotions or of sub-classes."""

    emotion_of: Tensor | None

    def __init__(
        self,
        sigma: Sigma,
        *,
        leave_one_out: bool,
        emotion_of: Tensor | None = None,
        prior_power: float = 0.0,
        mixing: float = 0.0,
    ) -> None:
        super().__init__(sigma)
        self.leave_one_out = leave_one_out
        self.prior_power = prior_power
        self.mixing = mixing
        self.register_buffer("emotion_of", emotion_of, persistent=False)

    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """() float, from 0 to 2; with ``mixing``, the mean over the loss of the embeddings and of mixed points."""
        sigma = self.sigma(batch.done)
        loss = gaussian_structured_loss(
            batch.embeddings,
            batch.classes,
            batch.targets,
            sigma,
            leave_one_out=self.leave_one_out,
            emotion_of=self.emotion_of,
            prior_power=self.prior_power,
        )
        if not self.mixing:
            return loss
        mixed = mixed_loss(
            batch.embeddings,
            batch.classes,
            batch.targets,
            sigma,
            self.mixing,
            emotion_of=self.emotion_of,
            prior_power=self.prior_power,
        )
        return (loss + mixed) / 2

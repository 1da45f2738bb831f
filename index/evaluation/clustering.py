"""Clustering: how well K-means clusters of the embeddings agree with the raters' labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import DatasetError


@dataclass(frozen=True)
class ClusteringScores:
    """Agreement of K-means clusters with labels.

    Attributes:
        faces: n, how many were clustered.
        clusters: k.
        normalised_mutual_information: 2 MI / (H(labels) + H(clusters)), from 0 to 1.
        adjusted_rand_index: agreement on pairs of faces, corrected for chance: 1 for the same partition, about 0
            for an unrelated one.
    """

    faces: int
    clusters: int
    normalised_mutual_information: float
    adjusted_rand_index: float


def clustering_scores(
    embeddings: NDArray[np.floating], labels: NDArray[np.integer], clusters: int, *, seed: int = 0
) -> ClusteringScores:
    """Cluster embeddings by K-means, the best of ten starts, and compare the clusters with the labels.

    Args:
        embeddings: (n, d) float.
        labels: (n,) class indices.
        clusters: k.
        seed: of the ten starts.

    Raises:
        DatasetError: there are fewer faces than clusters, or labels and embeddings differ in length.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if len(embeddings) != len(labels) or len(embeddings) < clusters:
        raise DatasetError(
            f"clustering needs at least {clusters} faces with one label each, got {len(embeddings)} embeddings "
            f"and {len(labels)} labels"
        )
    assigned = KMeans(clusters, n_init=10, random_state=seed).fit_predict(embeddings)
    return ClusteringScores(
        faces=len(labels),
        clusters=clusters,
        normalised_mutual_information=float(normalized_mutual_info_score(labels, assigned)),
        adjusted_rand_index=float(adjusted_rand_score(labels, assigned)),
    )

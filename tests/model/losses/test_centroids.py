import numpy as np
import pytest
import torch
from torch import Tensor

from mien.model.losses.centroids import class_centroids, squared_distances, squared_distances_to_class_centroids


def batch(n: int, c: int, d: int, seed: int, present: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return z, torch.arange(n) % present, torch.rand(n, c, generator=generator, dtype=torch.float64)


def test_centroids_are_means_of_the_present_classes() -> None:
    z, labels, _ = batch(10, 4, 3, seed=5, present=3)
    centroids, present = class_centroids(z, labels, 4)
    assert present.tolist() == [True, True, True, False]
    for j in range(3):
        np.testing.assert_allclose(centroids[j], z[labels == j].mean(dim=0))
    assert centroids[3].tolist() == [0.0, 0.0, 0.0]


def test_squared_distances_do_not_cancel_far_from_the_origin() -> None:
    z = torch.tensor([[10_000.0, 0.0]])
    centroid = torch.tensor([[10_000.0, 0.01]])
    assert float(squared_distances(z, centroid)) == pytest.approx(1e-4, rel=1e-5)


def test_leaving_one_out_is_the_mean_of_the_others() -> None:
    z, labels, _ = batch(9, 4, 3, seed=6, present=2)
    found, present = squared_distances_to_class_centroids(z, labels, 4, leave_one_out=True)
    assert present.tolist() == [True, True, False, False]
    for i in range(9):
        for j in range(2):
            others = [k for k in range(9) if labels[k] == j and k != i]
            expected = (z[i] - z[others].mean(dim=0)).square().sum()
            assert float(found[i, j]) == pytest.approx(float(expected), rel=1e-12)


def test_class_of_one_sample_keeps_it() -> None:
    z = torch.tensor([[1.0], [3.0], [5.0]])
    found, _ = squared_distances_to_class_centroids(z, torch.tensor([0, 0, 1]), 2, leave_one_out=True)
    assert found.tolist() == [[4.0, 16.0], [4.0, 4.0], [9.0, 0.0]]

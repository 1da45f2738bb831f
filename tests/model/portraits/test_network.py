import numpy as np
import torch

from mien.model.networks.preprocessing import standardise
from mien.model.portraits.network import CONTRAST, RIDGE, PortraitNetwork, set_contrast


def test_initial_network_is_the_ridge_regression() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(90, 64, generator=generator)
    faces = standardise(torch.rand(90, 1, 48, 48, generator=generator)).squeeze(1)
    network = PortraitNetwork(4)
    network.fit_linear_part(points, faces)

    design = np.concatenate([points.numpy(), np.ones((90, 1), np.float32)], axis=1).astype(np.float64)
    # Only the slopes are regularised: ridge regression by rows stacked under the centred design matrix.
    centred = design[:, :64] - design[:, :64].mean(axis=0)
    pixels = faces.flatten(1).numpy().astype(np.float64)
    stacked = np.concatenate([centred, np.sqrt(RIDGE) * np.eye(64)])
    wanted = np.concatenate([pixels - pixels.mean(axis=0), np.zeros((64, pixels.shape[1]))])
    slopes, *_ = np.linalg.lstsq(stacked, wanted, rcond=None)
    painted = centred @ slopes + pixels.mean(axis=0)
    expected = set_contrast(standardise(torch.from_numpy(painted.reshape(90, 1, 48, 48))))
    with torch.inference_mode():
        np.testing.assert_allclose(network(points).numpy(), expected.numpy(), atol=1e-4)


def test_every_face_has_the_same_contrast() -> None:
    network = PortraitNetwork(4)
    with torch.inference_mode():
        faces = network(torch.randn(6, 64, generator=torch.Generator().manual_seed(1)) * 10)
    assert faces.shape == (6, 48, 48)
    assert 0 <= float(faces.min()) <= float(faces.max()) <= 1
    np.testing.assert_allclose(faces.flatten(1).std(dim=1).numpy(), CONTRAST, atol=0.03)

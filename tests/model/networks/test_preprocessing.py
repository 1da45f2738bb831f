import numpy as np
import pytest
import torch

from mien.model.networks.preprocessing import standardise, to_unit


def test_unit_faces_are_grey_values_over_255() -> None:
    crops = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    faces = to_unit(crops)
    assert faces.shape == (1, 1, 16, 16)
    assert faces.dtype == torch.float32
    np.testing.assert_allclose(faces.ravel().numpy(), np.arange(256) / 255, rtol=1e-6)


def test_standardised_faces_have_zero_mean_and_unit_contrast() -> None:
    faces = torch.rand(5, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    standard = standardise(faces)
    assert standard.mean(dim=(2, 3)).abs().max() < 1e-5
    # A little under one: the floor is added to the standard deviation.
    assert standard.std(dim=(2, 3), correction=0).sub(1).abs().max() < 0.02


def test_brightness_and_contrast_make_no_difference() -> None:
    faces = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(standardise(0.5 * faces + 0.3), standardise(faces), atol=0.06, rtol=0)
    torch.testing.assert_close(standardise(faces + 0.3), standardise(faces), atol=1e-4, rtol=0)


def test_faces_of_a_batch_are_independent() -> None:
    faces = torch.rand(4, 1, 48, 48, generator=torch.Generator().manual_seed(2))
    together = standardise(faces)
    for row in range(4):
        torch.testing.assert_close(together[row : row + 1], standardise(faces[row : row + 1]))


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_face_of_one_grey_stays_finite(grey: float) -> None:
    standard = standardise(torch.full((1, 1, 48, 48), grey))
    assert standard.abs().max() < 1e-3

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mien.model.training.augmentation import augment, compress
from mien.model.training.config import AugmentationConfig

STILL: dict[str, Any] = {"mirror": False, "rotation_deg": 0, "scale": 0, "shift": 0, "gamma": 0, "erase": 0}


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int = 40, side: int = 48) -> Tensor:
    return torch.rand(n, 1, side, side, generator=chance(99))


def ramp(n: int, side: int = 48) -> Tensor:
    """Faces that grow brighter from left to right."""
    return torch.linspace(0.2, 0.8, side).expand(n, 1, side, side).clone()


def test_no_augmentation_returns_the_faces() -> None:
    faces = noise()
    torch.testing.assert_close(augment(faces, AugmentationConfig(**STILL), 48, chance()), faces, atol=1e-4, rtol=0)


def test_faces_given_are_not_written_to() -> None:
    faces = noise()
    before = faces.clone()
    augment(faces, AugmentationConfig(), 48, chance())
    assert torch.equal(faces, before)


def test_generator_decides_and_the_global_one_is_unchanged() -> None:
    faces, config = noise(), AugmentationConfig()
    state = torch.get_rng_state()
    first = augment(faces, config, 48, chance(1))
    assert torch.equal(first, augment(faces, config, 48, chance(1)))
    assert not torch.equal(first, augment(faces, config, 48, chance(2)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("side_px", [24, 40, 48, 64])
def test_values_and_sides_stay_in_bounds(side_px: int) -> None:
    varied = augment(noise().round(), AugmentationConfig(gamma=1.5, erase=1.0, shift=0.5), side_px, chance())
    assert varied.shape == (40, 1, side_px, side_px)
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert torch.isfinite(varied).all()


def test_another_side_shows_the_same_view() -> None:
    smaller = augment(ramp(1), AugmentationConfig(**STILL), 40, chance())
    # Centres of pixels: the ramp is linear, so that interpolation is exact.
    centres = (torch.arange(40) + 0.5) * 48 / 40 - 0.5
    expected = 0.2 + 0.6 * centres.clamp(0, 47) / 47
    torch.testing.assert_close(smaller[0, 0, 20], expected, atol=1e-4, rtol=0)


def test_mirror_turns_about_half_of_the_faces_and_nothing_else() -> None:
    faces = noise(200)
    varied = augment(faces, AugmentationConfig(**STILL | {"mirror": True}), 48, chance())
    same = (varied - faces).abs().amax(dim=(1, 2, 3)) < 1e-3
    turned = (varied - faces.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-3
    assert (same ^ turned).all()
    assert 60 < int(turned.sum()) < 140


def test_erase_covers_one_rectangle_with_the_mean() -> None:
    faces = noise(50)
    varied = augment(faces, AugmentationConfig(**STILL | {"erase": 1.0}), 48, chance())
    for face, covered in zip(faces[:, 0], varied[:, 0], strict=True):
        changed = (covered - face).abs() > 1e-3
        rows, columns = changed.any(dim=1).nonzero().ravel(), changed.any(dim=0).nonzero().ravel()
        height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        # A fifth to two fifths of 48 pixels, give or take the rim.
        assert 9 <= height <= 20
        assert 9 <= width <= 20
        inside = covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        torch.testing.assert_close(inside, face.mean().expand_as(inside), atol=1e-3, rtol=0)


def test_erase_spares_the_other_faces() -> None:
    faces = noise(400)
    varied = augment(faces, AugmentationConfig(**STILL | {"erase": 0.25}), 48, chance())
    changed = (varied - faces).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 0.15 < float(changed.float().mean()) < 0.35


def test_rotation_keeps_the_centre_and_stays_within_its_limit() -> None:
    # The direction in which a ramp grows tells how far it was turned.
    faces = ramp(60)
    varied = augment(faces, AugmentationConfig(**STILL | {"rotation_deg": 20.0}), 48, chance())[:, 0, 16:32, 16:32]
    across = varied[:, :, -1].mean(dim=1) - varied[:, :, 0].mean(dim=1)
    down = varied[:, -1].mean(dim=1) - varied[:, 0].mean(dim=1)
    degrees = torch.atan2(down, across).rad2deg()
    assert degrees.abs().max() <= 20.1
    assert degrees.max() > 12
    assert degrees.min() < -12
    torch.testing.assert_close(varied.mean(dim=(1, 2)), torch.full((60,), 0.5), atol=1e-3, rtol=0)


def test_shift_stays_within_its_limit() -> None:
    faces = ramp(60)
    varied = augment(faces, AugmentationConfig(**STILL | {"shift": 0.1}), 48, chance())
    slope = 0.6 / 47  # per pixel
    moved_px = (varied[:, 0, 24, 24] - faces[:, 0, 24, 24]) / slope
    assert moved_px.abs().max() <= 0.1 * 48 + 0.01
    assert moved_px.max() > 2
    assert moved_px.min() < -2


def test_gamma_keeps_black_white_and_the_order_of_greys() -> None:
    faces = torch.linspace(0, 1, 48).expand(20, 1, 48, 48).clone()
    varied = augment(faces, AugmentationConfig(**STILL | {"gamma": 0.4}), 48, chance())
    assert (varied[:, 0, 24].diff(dim=1) >= 0).all()
    exponents = varied[:, 0, 24, 24].log() / faces[:, 0, 24, 24].log()
    assert exponents.log().abs().max() <= 0.4 + 1e-3
    assert exponents.std() > 0.05


@pytest.mark.parametrize("wrong", [{"scale": 1.0}, {"erase": 1.5}, {"gamma": -0.1}, {"degradation": 2}, {"warp": 1}])
def test_invalid_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AugmentationConfig(**wrong)


WORLD: dict[str, Any] = {"shear": 0.1, "perspective": 0.2, "light": 0.8, "degradation": 1.0, "cover": 0.5}


def test_world_augmentation_stays_in_range_and_depends_on_the_generator_alone() -> None:
    faces, config = noise(), AugmentationConfig(**STILL | WORLD)
    before, state = faces.clone(), torch.get_rng_state()
    varied = augment(faces, config, 64, chance(3))
    assert varied.shape == (40, 1, 64, 64)
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert torch.equal(varied, augment(faces, config, 64, chance(3)))
    assert not torch.equal(varied, augment(faces, config, 64, chance(4)))
    assert torch.equal(faces, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_world_settings_at_zero_draw_no_random_numbers() -> None:
    """Runs from before they were there can be repeated."""
    one, other = chance(5), chance(5)
    augment(noise(), AugmentationConfig(), 48, one)
    augment(noise(), AugmentationConfig(**dict.fromkeys(WORLD, 0)), 48, other)
    assert torch.equal(torch.rand(1, generator=one), torch.rand(1, generator=other))


def test_degradation_removes_detail_or_adds_noise_in_a_share_of_the_faces() -> None:
    faces = noise(400)
    varied = augment(faces, AugmentationConfig(**STILL | {"degradation": 0.4}), 48, chance())
    changed = (varied - faces).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 0.3 < float(changed.float().mean()) < 0.5
    detail = varied.diff(dim=3).abs().mean(dim=(1, 2, 3)) / faces.diff(dim=3).abs().mean(dim=(1, 2, 3))
    assert (detail[changed] < 0.8).float().mean() > 0.3  # low resolution and blur, half of the faults
    smooth = augment(ramp(400), AugmentationConfig(**STILL | {"degradation": 1.0}), 48, chance())
    assert (smooth.diff(dim=2).abs().amax(dim=(1, 2, 3)) > 0.02).float().mean() > 0.2  # noise


def test_compression_in_fine_steps_keeps_the_face_and_in_coarse_ones_flattens_blocks() -> None:
    faces = noise(3)
    torch.testing.assert_close(compress(faces, 1e-6), faces, atol=1e-4, rtol=0)
    coarse = compress(ramp(1), 0.6)[0, 0].reshape(6, 8, 6, 8).transpose(1, 2)
    assert coarse.std(dim=(2, 3)).max() < 1e-4
    odd = torch.rand(2, 1, 20, 20, generator=chance())
    assert torch.equal(compress(odd, 0.5)[:, :, 16:], odd[:, :, 16:])  # no whole block


def test_cover_is_a_bar_of_one_grey() -> None:
    faces = noise(60)
    varied = augment(faces, AugmentationConfig(**STILL | {"cover": 1.0}), 48, chance())
    for face, covered in zip(faces[:, 0], varied[:, 0], strict=True):
        inside = covered[(covered - face).abs() > 1e-3]
        assert 0.1 < len(inside) / 48**2 < 0.6
        assert float(inside.std()) < 1e-3


def test_light_changes_from_side_to_side_within_its_limit() -> None:
    faces = torch.full((100, 1, 48, 48), 0.3)
    gain = augment(faces, AugmentationConfig(**STILL | {"light": 0.4}), 48, chance())[:, 0] / 0.3
    assert gain.log().abs().max() <= 0.81  # along the diagonal
    torch.testing.assert_close(gain[:, 23:25, 23:25].mean(dim=(1, 2)), torch.ones(100), atol=0.01, rtol=0)
    assert (gain[:, 24, 0] / gain[:, 24, -1]).log().std() > 0.2


def test_perspective_makes_one_side_larger_and_keeps_the_middle() -> None:
    varied = augment(ramp(80), AugmentationConfig(**STILL | {"perspective": 0.3}), 48, chance())[:, 0, 24]
    left, right = varied[:, 23] - varied[:, 8], varied[:, 39] - varied[:, 24]
    assert (left / right).log().abs().max() > 0.1
    torch.testing.assert_close(varied[:, 23:25].mean(dim=1), torch.full((80,), 0.5), atol=0.01, rtol=0)

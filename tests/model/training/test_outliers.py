import pytest
import torch
from torch import Tensor

from mien.model.training.outliers import KINDS, make_outliers, textures


def faces(n: int) -> Tensor:
    """Dark above and bright below, with a mark at the left, so that rotation, cuts and shifts are visible."""
    ramp = torch.linspace(0, 1, 48)
    face = ramp.view(48, 1).expand(48, 48).clone()
    face[20:28, :8] = 1 - face[20:28, :8]
    return face.expand(n, 1, 48, 48).clone()


def of_kind(pictures: Tensor, kind: str, first: int) -> Tensor:
    return pictures[(torch.arange(len(pictures)) + first) % len(KINDS) == KINDS.index(kind)]


@pytest.fixture(scope="module")
def drawn() -> tuple[Tensor, int]:
    first = int(torch.randint(len(KINDS), (), generator=torch.Generator().manual_seed(3)))
    return make_outliers(faces(120), 64, torch.Generator().manual_seed(3)), first


def test_pictures_are_of_the_asked_size_and_range(drawn: tuple[Tensor, int]) -> None:
    pictures, _ = drawn
    assert pictures.shape == (120, 1, 64, 64)
    assert float(pictures.min()) >= 0
    assert float(pictures.max()) <= 1
    assert torch.isfinite(pictures).all()


def test_same_seed_draws_the_same(drawn: tuple[Tensor, int]) -> None:
    assert torch.equal(make_outliers(faces(120), 64, torch.Generator().manual_seed(3)), drawn[0])
    assert not torch.equal(make_outliers(faces(120), 64, torch.Generator().manual_seed(4)), drawn[0])


def test_turned_faces_are_bright_above(drawn: tuple[Tensor, int]) -> None:
    turned = of_kind(drawn[0], "turned", drawn[1])
    brighter_above = turned[:, :, :32].mean(dim=(1, 2, 3)) > turned[:, :, 32:].mean(dim=(1, 2, 3))
    assert float(brighter_above.float().mean()) > 0.9  # a quarter turn leaves them about equal


def test_enlarged_parts_span_few_greys(drawn: tuple[Tensor, int]) -> None:
    enlarged = of_kind(drawn[0], "enlarged", drawn[1])[:, :, :, 32:]  # away from the mark at the left
    whole = faces(1)[:, :, :, 24:]
    assert float(enlarged.std(dim=(2, 3)).mean()) < 0.5 * float(whole.std())


def test_no_outlier_is_the_face_itself(drawn: tuple[Tensor, int]) -> None:
    face = torch.nn.functional.interpolate(faces(1), size=(64, 64), mode="bilinear")
    distance = (drawn[0] - face).abs().mean(dim=(1, 2, 3))
    assert float(distance.min()) > 0.02


def test_few_faces_still_get_every_kind_in_turn() -> None:
    starts = {int(torch.randint(len(KINDS), (), generator=torch.Generator().manual_seed(seed))) for seed in range(60)}
    assert starts == set(range(len(KINDS)))
    assert make_outliers(faces(1), 48, torch.Generator().manual_seed(0)).shape == (1, 1, 48, 48)


def test_textures_use_the_whole_range() -> None:
    drawn = textures(5, 48, torch.Generator().manual_seed(0))
    assert drawn.amin(dim=(1, 2, 3)).tolist() == [0.0] * 5
    assert drawn.amax(dim=(1, 2, 3)).tolist() == [1.0] * 5

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.model.portraits.averages import CONTRAST, AverageFaces, lead_of_the_closest, to_greys


@pytest.fixture(scope="module")
def line() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Faces along a line: the position is the grey of the upper half, and the first coordinate of the embedding."""
    positions = np.linspace(0, 1, 101)
    crops = np.full((101, 8, 8), 100, dtype=np.uint8)
    crops[:, :4] = (100 + 100 * positions)[:, None, None].round()
    crops[:, 0, 0] = 255 - crops[:, 0, 1]
    embeddings = np.zeros((101, 3), dtype=np.float32)
    embeddings[:, 0] = positions
    return crops, embeddings


def test_average_is_of_the_nearest_faces_and_their_mirror_images(
    line: tuple[NDArray[np.uint8], NDArray[np.float32]],
) -> None:
    crops, embeddings = line
    found = AverageFaces(crops, embeddings, neighbours=5).around(np.array([[0.5, 0, 0]], dtype=np.float32))
    wanted = crops[48:53].astype(float).mean(axis=0)
    wanted = (wanted + wanted[:, ::-1]) / 2
    np.testing.assert_allclose(found[0], (wanted - wanted.mean()) / wanted.std(), atol=1e-4)


def test_average_moves_until_its_embedding_is_the_point() -> None:
    """The embedding of a flat half is its contrast; every average is embedded 0.2 short, as faint expressions are."""
    shares = np.linspace(0.1, 0.9, 200)
    crops = np.zeros((200, 10, 10), dtype=np.uint8)
    for crop, share in zip(crops, shares, strict=True):
        crop[: max(1, round(10 * share))] = 200
    embeddings = shares[:, None].astype(np.float32)

    def embed(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray((faces > 128).mean(axis=(1, 2))[:, None] - 0.2, dtype=np.float32)

    averages, point = AverageFaces(crops, embeddings, neighbours=3), np.array([[0.4]], dtype=np.float32)
    plain, moved = (embed(to_greys(averages.embedded_at(point, embed, rounds))) for rounds in (1, 6))
    assert abs(float(plain[0, 0]) - 0.4) > 0.15
    assert abs(float(moved[0, 0]) - 0.4) < 0.06


def test_every_portrait_has_the_same_contrast() -> None:
    faces = np.random.default_rng(0).normal(size=(3, 48, 48)).astype(np.float32)
    greys = to_greys((faces - faces.mean()) / faces.std())
    np.testing.assert_allclose(greys.std(axis=(1, 2)) / 255, CONTRAST, atol=0.02)


def test_copy_of_a_face_is_told_from_an_average() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    noisy = np.clip(faces[:2].astype(int) + np.random.default_rng(1).integers(-20, 21, (2, 8, 8)), 0, 255)
    copies = lead_of_the_closest(noisy.astype(np.uint8), faces)
    averages = lead_of_the_closest(faces.mean(axis=0, keepdims=True).astype(np.uint8), faces)
    assert copies.min() > 0.4 > averages.max()
    assert lead_of_the_closest(faces, faces).max() < 0.4, "a face is not compared with itself"

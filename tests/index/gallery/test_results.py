import numpy as np
import pytest

from mien.index.gallery.results import draw_sample


@pytest.mark.parametrize("count", [0, 1, 10])
def test_sample_of_few_faces_has_all(count: int) -> None:
    np.testing.assert_array_equal(draw_sample(np.arange(count), 10), np.arange(count))


def test_sample_is_even_over_the_keys() -> None:
    places = draw_sample(np.arange(100_000), 5000)
    assert len(np.unique(places)) == 5000
    counts = np.histogram(places, bins=20, range=(0, 100_000))[0]
    assert 180 < counts.min() <= counts.max() < 320
    odd = (places % 2).mean()
    assert 0.46 < odd < 0.54


def test_sample_hardly_changes_while_the_gallery_grows() -> None:
    keys = np.arange(1, 20_001)
    before, after = set(draw_sample(keys[:19_000], 1000).tolist()), set(draw_sample(keys, 1000).tolist())
    assert len(before & after) > 920

import pytest

from mien.service.errors import QueueFullError
from mien.service.inference.admission import Admission


def test_what_is_held_is_counted_and_bounded() -> None:
    images = Admission("images", 3)
    with images.holding(2):
        assert images.held == 2
        images.check()
        with pytest.raises(QueueFullError, match="with 2 images more there would be more than 3 at once"):
            images.take(2)
        with images.holding(1), pytest.raises(QueueFullError, match="3 images are being worked on"):
            images.check()
    assert images.held == 0


def test_it_is_given_back_after_an_error() -> None:
    images = Admission("images", 3)
    with pytest.raises(ValueError, match="x"), images.holding(3):
        raise ValueError("x")
    assert images.held == 0

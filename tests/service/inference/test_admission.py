import pytest

from mien.service.errors import QueueFullError
from mien.service.inference.admission import Admission, Limit
from mien.service.settings import Settings


def test_held_images_are_counted_and_bounded() -> None:
    images = Limit("images", 3)
    with images.hold(2):
        assert images.held == 2
        assert not images.is_full
        with pytest.raises(QueueFullError, match="with 2 images more there would be more than 3 at once"):
            images.take(2)
        with images.hold(1):
            assert images.is_full
            assert str(images.refusal()) == "mien is busy: 3 images are being worked on already"
    assert images.held == 0


def test_images_are_given_back_after_an_error() -> None:
    images = Limit("images", 3)
    with pytest.raises(ValueError, match="x"), images.hold(3):
        raise ValueError("x")
    assert images.held == 0


def test_each_path_needs_its_limits() -> None:
    admission = Admission(Settings())
    assert admission.by_path["/classify"] == (admission.images,)
    assert admission.by_path["/classify/video"] == (admission.images, admission.videos)
    assert "/gallery" not in admission.by_path

import pytest

from mien.service.errors import QueueFullError
from mien.service.inference.admission import CALLER, Admission, Limit
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
    assert admission.by_path["/explain"] == (admission.images, admission.views)
    assert admission.by_path["/map"] == (admission.queries,)
    assert "/health/ready" not in admission.by_path


def test_one_caller_holds_no_more_than_its_share() -> None:
    images = Limit("images", 8, 0.75)
    token = CALLER.set("a")
    images.take(6)
    assert images.is_full
    with pytest.raises(QueueFullError, match="with 1 images more there would be more than 6 of one caller at once"):
        images.take(1)
    CALLER.set("b")
    assert not images.is_full
    images.take(2)
    assert images.is_full
    with pytest.raises(QueueFullError, match="more than 8 at once"):
        images.take(1)
    images.give_back(2)
    images.give_back(6, "a")
    assert images.held == 0
    CALLER.reset(token)


def test_share_of_one_caller_is_enough_for_one_request() -> None:
    admission = Admission(Settings(caller_share=0.01, max_images=16))
    assert admission.images.per_caller == 16
    assert admission.videos.per_caller == admission.streams.per_caller == admission.queries.per_caller == 1
    assert admission.body_bytes.per_caller == Settings().max_video_bytes

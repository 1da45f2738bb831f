"""Faces are followed from frame to frame; new and lost ones, cuts and still pictures are noticed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.model.faces.detection import Detector
from mien.model.faces.reader import Face, FaceReader
from mien.model.video.follower import MAX_FOLLOWED, FaceFollower
from tests.support.cartoon import cartoon
from tests.support.videos import scene


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader(Detector())


def middles(faces: list[Face]) -> list[int]:
    return [round(face.box[0] + face.box[2] / 2) for face in faces]


def test_moving_face_is_found_in_every_frame_and_few_are_searched(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=3)
    for number in range(12):
        frame = scene([(150 + 20 * number, 120)])
        (face,) = follower.read(frame, number / 25)
        (expected,) = reader.crop_faces(frame)
        assert face.box == pytest.approx(expected.box, abs=8)
        assert face.landmarks == pytest.approx(expected.landmarks, abs=6)  # those of a larger look
        assert face.crop.shape == (48, 48)
    assert follower.searched == 4


def test_each_frame_is_searched_where_that_is_wanted(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=1)
    for number in range(4):
        frame = scene([(150 + 20 * number, 120)])
        assert [face.box for face in follower.read(frame, number / 25)] == [
            face.box for face in reader.crop_faces(frame)
        ]
    assert follower.searched == 4


def test_frames_far_apart_are_all_searched(reader: FaceReader) -> None:
    follower = FaceFollower(reader)
    for number in range(4):
        follower.read(scene([(150, 120)]), float(number))
    assert follower.searched == 4


def test_unchanged_face_is_the_same_object(reader: FaceReader) -> None:
    follower, generator = FaceFollower(reader), np.random.default_rng(0)
    frame = scene([(150, 120), (450, 120)])
    first = follower.read(frame, 0)
    for number in range(1, 7):
        noisy = np.rint(frame + generator.normal(0, 2, frame.shape)).clip(0, 255).astype(np.uint8)
        found = follower.read(noisy, number / 25)
        assert all(face is before for face, before in zip(found, first, strict=True))


def test_small_change_of_a_face_is_noticed(reader: FaceReader) -> None:
    follower = FaceFollower(reader)
    frame = scene([(150, 120)])
    (before,) = follower.read(frame, 0)
    assert before.landmarks is not None
    x, y = before.landmarks[3].astype(int)
    frame[y : y + 6, x : x + 12] = 40  # a corner of the mouth
    (after,) = follower.read(frame, 0.04)
    assert after is not before
    assert follower.searched == 1


def test_change_that_is_too_slow_for_two_frames_is_noticed(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=1000)
    frame = scene([(150, 120)]).astype(np.int16)
    faces = [follower.read((frame + number).astype(np.uint8), number / 1000)[0] for number in range(12)]
    assert 2 < len({id(face) for face in faces}) < 12


def test_new_face_is_found_at_the_next_search(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=3)
    shown = [scene([(150, 120)]), *[scene([(150, 120), (450, 120)])] * 3]
    assert [len(follower.read(frame, number / 25)) for number, frame in enumerate(shown)] == [1, 1, 1, 2]


@pytest.mark.parametrize("left", [0, 1])
def test_lost_face_is_noticed_at_once(reader: FaceReader, left: int) -> None:
    follower = FaceFollower(reader, detect_every=100)
    places = [(150, 120), (450, 120)]
    assert len(follower.read(scene(places), 0)) == 2
    assert middles(follower.read(scene(places[:left]), 0.04)) == pytest.approx([150][:left], abs=3)
    assert follower.searched == 2, "it may be somewhere else"


def test_face_that_leaps_is_found_at_once(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=100)
    follower.read(scene([(150, 120)]), 0)
    assert middles(follower.read(scene([(450, 120)]), 0.04)) == pytest.approx([450], abs=3)


def test_cut_is_noticed_though_the_face_stays(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=100)
    follower.read(scene([(150, 120)]), 0)
    cut = scene([(150, 120), (450, 120)])
    behind = (cut == (90, 120, 150)).all(axis=2)
    cut[behind] = (200, 220, 60)
    assert len(follower.read(cut, 0.04)) == 2


def test_faces_that_meet_are_not_one_face_twice(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=100)
    for number in range(16):
        found = follower.read(scene([(100 + 15 * number, 120), (500 - 15 * number, 120)]), number / 100)
        assert len({round(each / 40) for each in middles(found)}) == len(found)


def test_face_that_goes_out_of_the_frame_is_followed_to_its_border(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=1000)
    counts = [len(follower.read(scene([(640 - 80 + 16 * number, 120)]), number / 1000)) for number in range(12)]
    assert counts[:3] == [1, 1, 1]
    assert counts[-1] == 0


def test_largest_first_and_no_more_than_wanted(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=4)
    one = FaceFollower(reader, detect_every=4, max_faces=1)

    def frame(number: int) -> NDArray[np.uint8]:
        image = np.full((300, 640, 3), 127, np.uint8)
        for side, x in ((110 + 20 * number, 60), (160, 360)):
            image[40 : 40 + side, x : x + side] = cartoon(side)
        return image

    assert middles(follower.read(frame(0), 0)) == pytest.approx([440, 115], abs=3)
    assert middles(one.read(frame(0), 0)) == pytest.approx([440], abs=3)
    for number in (1, 2, 3):
        found = follower.read(frame(number), number / 25)
        one.read(frame(number), number / 25)
    assert middles(found)[1] == pytest.approx(440, abs=3)
    assert middles(one.read(frame(4), 0.16)) == middles(follower.read(frame(4), 0.16))[:1]


def test_frame_of_another_size_is_searched(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=100)
    follower.read(scene([(150, 120)]), 0)
    assert len(follower.read(scene([(150, 120)], width=300), 0.04)) == 1
    assert follower.searched == 2
    assert follower.read(np.zeros((1, 1, 3), np.uint8), 0.08) == []
    assert follower.read(np.zeros((1, 1, 3), np.uint8), 0.12) == []


def test_crowd_is_searched_each_time(reader: FaceReader) -> None:
    follower = FaceFollower(reader, detect_every=100)
    for number in range(3):
        frame = np.roll(np.tile(cartoon(110), (3, 5, 1)), 4 * number, axis=1)
        assert len(follower.read(frame, number / 25)) > MAX_FOLLOWED
    assert follower.searched == 3

"""Videos in this process: the lines of the service, from files and from frames."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from mien.index.errors import QueryError
from mien.model.errors import BrokenVideoError, UnsupportedImageError, UnsupportedVideoError
from mien.model.video.decoder import Video, can_decode_videos
from mien.model.video.decoder import VideoFrame as Frame
from mien.service.answers.video import VideoEnd, VideoFrame, VideoTrack
from mien.service.app import create_app
from mien.service.client import Client
from mien.service.inference.engine import Engine
from mien.service.local.client import LocalClient
from mien.service.settings import Settings
from tests.support.images import encode
from tests.support.serving import served_app
from tests.support.videos import encode_video, scene

pytestmark = pytest.mark.skipif(not can_decode_videos(), reason="needs the extra 'video'")

FRAMES = [scene([(200 + 5 * number, 120)]) for number in range(10)]


@pytest.fixture(scope="module")
def local(served_engine: Engine) -> LocalClient:
    return LocalClient(served_engine)


@pytest.fixture(scope="module")
def video() -> bytes:
    return encode_video(FRAMES)


def test_lines_are_those_of_the_service(
    local: LocalClient, served_engine: Engine, video: bytes, tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(video)
    with served_app(create_app(served_engine, Settings(rate_per_s=0))) as url, Client(url) as client:
        expected = list(client.classify_video(video, fps=10))
        assert list(client.classify_video(BytesIO(video), fps=10)) == expected
    for source in (video, tmp_path / "clip.mp4", BytesIO(video)):
        assert list(local.classify_video(source, fps=10)) == expected


def test_frames_are_followed_like_a_file(local: LocalClient) -> None:
    def camera() -> Iterator[object]:
        yield encode(FRAMES[0])
        yield from FRAMES[1:]

    for frames in (FRAMES, np.stack(FRAMES), camera()):
        *answered, track, end = local.classify_video(frames, fps=10)  # type: ignore[arg-type]
        assert [each.time_s for each in answered if isinstance(each, VideoFrame)] == [n / 10 for n in range(10)]
        assert isinstance(track, VideoTrack)
        assert track.frames == 10
        assert isinstance(end, VideoEnd)
        assert (end.frames, end.complete) == (10, True)
    assert [line.kind for line in local.classify_video([])] == ["end"]


def test_decoder_that_fails_later_is_the_problem_of_the_last_line(
    local: LocalClient, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Video.step
    frames: list[Frame] = []

    def step(self: Video) -> object:
        if len(frames) == 2:
            raise BrokenVideoError("expected a whole video, got one on which the decoder fails")
        decoded = original(self)
        frames.extend([decoded] if isinstance(decoded, Frame) else [])
        return decoded

    monkeypatch.setattr(Video, "step", step)
    first, _, track, end = local.classify_video(video, fps=10)
    assert isinstance(first, VideoFrame)
    assert isinstance(track, VideoTrack)
    assert isinstance(end, VideoEnd)
    assert not end.complete
    assert end.problem is not None
    assert (end.problem.type, end.problem.status) == ("urn:mien:broken-video", 422)


def test_wrong_video_is_refused_by_a_sentence(local: LocalClient) -> None:
    with pytest.raises(UnsupportedVideoError, match="expected a video"):
        next(local.classify_video(b"nothing"))
    with pytest.raises(UnsupportedVideoError, match="fetches nothing from the network"):
        local.classify_video("rtsp://camera/1")
    with pytest.raises(TypeError, match="or its frames, got int"):
        local.classify_video(3)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedImageError, match="got int64"):
        list(local.classify_video([np.zeros((4, 4, 3), np.int64)]))
    with pytest.raises(QueryError, match="fps must be above 0 and at most 1000, got 0"):
        local.classify_video(b"GIF89a", fps=0)

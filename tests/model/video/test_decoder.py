"""Videos to frames: formats, sampling, limits, and what a hostile file can do."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.model.errors import (
    BrokenVideoError,
    NoVideoDecoderError,
    UnsupportedVideoError,
    VideoError,
    VideoTooLargeError,
)
from mien.model.video import decoder
from mien.model.video.decoder import DEFAULT_LIMITS, Video, VideoEnd, VideoFrame, VideoLimits, can_decode_videos
from mien.model.video.worker import DecodeRequest, FrameSampler, RefusalError
from tests.support.data import ROOT
from tests.support.videos import encode_video

pytestmark = pytest.mark.skipif(not can_decode_videos(), reason="needs the extra 'video'")


def grey(number: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A frame whose brightness gives its number; its upper left corner is white."""
    frame = np.full((height, width, 3), 40 + 5 * number, np.uint8)
    frame[: height // 2, : width // 2] = 255
    return frame


def decoded(data: bytes, fps: float = 10.0, limits: VideoLimits = DEFAULT_LIMITS) -> tuple[list[VideoFrame], VideoEnd]:
    frames = []
    with Video(data, fps, limits) as decoding:
        while not isinstance(step := decoding.step(), VideoEnd):
            if step is not None:
                frames.append(step)
    return frames, step


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", None), ("mp4", "mpeg4"), ("webm", None), ("webm", "libvpx"), ("gif", None)]
)
def test_each_format_gives_its_frames(form: str, codec: str | None) -> None:
    frames, end = decoded(encode_video([grey(number) for number in range(20)], form, codec=codec))
    assert [frame.number for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(20) / 10, atol=0.011)
    assert (end.frames, end.damaged, end.cut) == (20, 0, False)
    for number, frame in enumerate(frames):
        assert frame.image.shape == (48, 64, 3)
        assert abs(frame.image[40, 50].mean() - (40 + 5 * number)) < 40
        assert frame.image[8, 8].mean() > 220


@pytest.mark.parametrize(
    ("fps", "numbers"), [(100.0, range(30)), (5.0, range(0, 30, 2)), (1.0, (0, 10, 20)), (0.1, (0,))]
)
def test_frames_are_sampled(fps: float, numbers: range | tuple[int, ...]) -> None:
    frames, end = decoded(encode_video([grey(number) for number in range(30)]), fps)
    assert [frame.number for frame in frames] == list(numbers)
    assert end.frames == 30


def test_sampling_keeps_the_rate_where_it_does_not_divide_the_video_s() -> None:
    """25 frames a second sampled at 10 give one frame for each tenth, though few frames fall on one."""
    frames, _ = decoded(encode_video([grey(number % 40) for number in range(50)], rate=25), 10.0)
    assert len(frames) == 20
    assert {b.number - a.number for a, b in pairwise(frames)} == {2, 3}


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotated_video_is_upright(turn: int) -> None:
    """The file holds by how many degrees, anticlockwise, frames are rotated for display."""
    (frame, *_), _ = decoded(encode_video([grey(0)] * 3, turn=turn))
    np.testing.assert_allclose(frame.image, np.rot90(grey(0), turn // 90), atol=12)


def test_transparent_parts_are_white() -> None:
    from io import BytesIO

    from PIL import Image

    pictures = [Image.new("RGBA", (32, 32), (255, 0, 0, 0)) for _ in range(3)]
    for number, picture in enumerate(pictures):
        picture.paste((0, 0, 200, 255), (0, 0, 16, 16 + number))
    buffer = BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=100, disposal=2)
    frames, _ = decoded(buffer.getvalue())
    assert len(frames) == 3
    for frame in frames:
        assert frame.image[30, 30].tolist() == [255, 255, 255]
        assert frame.image[4, 4].tolist() == [0, 0, 200]


@pytest.mark.parametrize(
    "data", [b"", b"GIF", b"\xff\xd8\xff\xe0 a picture", b"#EXTM3U\nfile:///etc/passwd", b"RIFF0000AVI "]
)
def test_other_files_are_refused(data: bytes) -> None:
    """A playlist is refused, too: FFmpeg would read the files that it names."""
    with pytest.raises(UnsupportedVideoError, match=f"MP4, WebM, GIF.*got {len(data)} bytes"):
        Video(data, 5.0)


def test_mp4_without_pictures_or_with_another_codec_is_refused() -> None:
    data = encode_video([grey(0)] * 3)
    unknown = data.replace(b"avc1", b"zzzz")
    with pytest.raises(VideoError):
        decoded(unknown)


def test_broken_file_is_refused() -> None:
    data = encode_video([grey(number) for number in range(30)])
    with pytest.raises(BrokenVideoError, match="cut off or damaged"):
        decoded(data[: len(data) // 2])  # MP4 has its table at the end
    with pytest.raises(BrokenVideoError):
        decoded(b"\x1a\x45\xdf\xa3" + bytes(1000))
    gif = encode_video([grey(number) for number in range(30)], "gif")
    frames, _ = decoded(gif[: len(gif) // 2])
    assert 5 < len(frames) < 30, "a film that ends early gives its first frames"


def test_damage_in_the_middle_is_counted_and_skipped() -> None:
    data = bytearray(
        encode_video([np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8) for number in range(30)])
    )
    at = data.index(b"mdat") + 20_000
    data[at : at + 2000] = bytes(2000)
    frames, end = decoded(bytes(data))
    assert frames
    assert end.frames + end.damaged >= 25
    assert [frame.time_s for frame in frames] == sorted(frame.time_s for frame in frames)


def test_videos_over_a_limit_are_refused() -> None:
    data = encode_video([grey(number) for number in range(30)])
    with pytest.raises(VideoTooLargeError, match="at most 3000 pixels, got 64x48"):
        decoded(data, limits=VideoLimits(max_pixels=3000))
    with pytest.raises(VideoTooLargeError, match=r"at most 2 s, got one of 3\.0 s"):
        decoded(data, limits=VideoLimits(max_s=2))
    with pytest.raises(VideoTooLargeError, match=r"20 frames to look at, got about 30: for 3\.0 s, ask for 6\.7 fps"):
        decoded(data, limits=VideoLimits(max_frames=20))
    assert len(decoded(data, 6.0, VideoLimits(max_frames=20))[0]) == 18


def test_video_longer_than_its_header_says_is_cut() -> None:
    data = bytearray(encode_video([grey(number) for number in range(30)], "webm"))
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 500.0)  # its duration, milliseconds
    frames, end = decoded(bytes(data), limits=VideoLimits(max_s=1.0))
    assert end.cut
    assert 9 <= len(frames) <= 11
    assert end.last_s <= 1.0


def grown_table(data: bytes) -> bytes:
    """An MP4 whose table says that there are 50 million samples of seven bytes, all in the first chunk."""
    grown, count = bytearray(data), 50_000_000
    for name, numbers in ((b"stsz", (7, count)), (b"stsc", (1, 1, count, 1)), (b"stts", (1, count, 1))):
        struct.pack_into(f">{len(numbers)}I", grown, data.index(name) + 8, *numbers)
    return bytes(grown)


DECODE_AND_TELL = """
import resource, sys
from pathlib import Path
from mien.model.errors import VideoError
from mien.model.video.decoder import DEFAULT_LIMITS, Video, VideoEnd
try:
    with Video(Path(sys.argv[1]).read_bytes(), 10.0, DEFAULT_LIMITS) as decoding:
        while not isinstance(decoding.step(), VideoEnd):
            pass
except VideoError:
    print(*(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""
"""Runs in its own process, since the peak memory of child processes includes those of other tests."""


def test_small_file_of_huge_frames_takes_no_memory_here(tmp_path: Path) -> None:
    """FFmpeg allocates the table that the file declares, 3.5 GB for 2 KB, but in the decoder's process."""
    data, path = grown_table(encode_video([grey(number) for number in range(30)])), tmp_path / "grown.mp4"
    assert len(data) < 3000
    path.write_bytes(data)
    told = subprocess.run(
        # A process inherits the peak memory of its parent, which is small for a shell.
        ["sh", "-c", '"$@" && true', "sh", sys.executable, "-c", DECODE_AND_TELL, str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    own_kb, child_kb = map(int, told.stdout.split())
    assert own_kb < 200_000
    assert child_kb < 1_500_000


def test_killed_decoder_means_a_broken_video() -> None:
    with Video(encode_video([grey(number) for number in range(30)]), 10.0) as decoding:
        while decoding.step() is None:
            pass
        decoding.kill()
        with pytest.raises(BrokenVideoError, match="decoder fails"):
            decoding.step()


def test_parts_without_a_frame_do_not_delay_replies() -> None:
    """A file may have millions of them."""
    whole = bytearray(encode_video([grey(number) for number in range(40)], codec="mpeg4"))
    start = whole.index(b"mdat") + 4
    whole[start : whole.index(b"moov", start)] = bytes(whole.index(b"moov", start) - start)
    request = DecodeRequest(bytes=len(whole), format="mp4", fps=10.0, **DEFAULT_LIMITS.model_dump())  # type: ignore[typeddict-item]
    sampler = FrameSampler(BytesIO(whole), request)
    steps: list[tuple[float, object] | None] = []
    with pytest.raises(RefusalError, match="no frame"):
        steps.extend(sampler.steps())
    assert steps.count(None) == len(steps) >= 40 <= sampler.damaged


def test_hanging_decoder_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decoder, "REPLY_TIMEOUT_S", 0.3)
    with Video(encode_video([grey(0)] * 3), 10.0) as decoding:
        os.kill(decoding._process.pid, signal.SIGSTOP)
        with pytest.raises(BrokenVideoError, match="decoder fails"):
            decoding.step()


def test_kill_while_another_thread_waits() -> None:
    decoding = Video(encode_video([grey(0)] * 3), 10.0)
    os.kill(decoding._process.pid, signal.SIGSTOP)
    failed: list[VideoError] = []

    def wait() -> None:
        try:
            decoding.step()
        except VideoError as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.1)
    decoding.close()
    waiting.join(5)
    assert len(failed) == 1
    assert decoding._process.returncode is not None


def test_close_leaves_nothing_behind() -> None:
    data = encode_video([grey(number) for number in range(10)])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        decoded(data)
        with Video(data, 10.0) as decoding:
            decoding.step()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "can_decode_videos", lambda: False)
    with pytest.raises(NoVideoDecoderError, match="extra 'video'"):
        Video(b"GIF89a", 5.0)

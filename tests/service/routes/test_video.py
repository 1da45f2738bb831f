"""POST /classify/video: lines, tracks, limits and disconnects."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from numpy.typing import NDArray
from pydantic import TypeAdapter
from starlette.types import Message

from mien.model.errors import BrokenVideoError, ImageError
from mien.model.video.decoder import can_decode_videos
from mien.service.answers.video import VideoEnd, VideoFrame, VideoLine, VideoTrack
from mien.service.app import create_app, create_app_on
from mien.service.inference.engine import Engine
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.inference.runtime import Runtime
from mien.service.routes import video as video_routes
from mien.service.settings import Settings
from tests.support.answers import CROPPED, form_head, form_scope, problem_kind
from tests.support.cartoon import cartoon
from tests.support.data import london_photographs, needs_london
from tests.support.engines import SlowEngine
from tests.support.images import encode
from tests.support.videos import encode_video, scene
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not can_decode_videos(), reason="needs the extra 'video'")

LINE: TypeAdapter[VideoLine] = TypeAdapter(VideoLine)


@pytest.fixture(scope="module")
def two_cross() -> bytes:
    """Three seconds: one face moves from left to right, another, below it, from right to left."""
    return encode_video([scene([(100 + 15 * number, 100), (540 - 15 * number, 140)]) for number in range(30)])


@pytest.fixture
def runtime(served_engine: Engine) -> Runtime:
    return Runtime(Engine(served_engine.bundle, served_engine.pipeline, 100), Settings(rate_per_s=0))


@pytest.fixture
def client(runtime: Runtime) -> Iterator[TestClient]:
    with TestClient(create_app_on(runtime)) as client:
        yield client
        wait_until(
            lambda: (
                runtime.admission.videos.held == runtime.admission.images.held == runtime.admission.body_bytes.held == 0
            )
        )


def moving(frames: int) -> list[NDArray[np.uint8]]:
    """A face that moves to and fro, so that each frame is embedded."""
    return [scene([(200 + 8 * (number % 20), 120)]) for number in range(frames)]


def asked(client: TestClient, data: bytes, **query: Any) -> Response:
    return client.post("/classify/video", params=query, files={"video": data})


def lines(response: Response) -> tuple[list[VideoFrame], list[VideoTrack], VideoEnd]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    read = [LINE.validate_json(line) for line in response.text.splitlines()]
    frames = [line for line in read if isinstance(line, VideoFrame)]
    tracks = [line for line in read if isinstance(line, VideoTrack)]
    end = read[-1]
    assert isinstance(end, VideoEnd)
    assert read == [*frames, *tracks, end]
    return frames, tracks, end


def test_two_faces_are_tracked(client: TestClient, two_cross: bytes) -> None:
    frames, tracks, end = lines(asked(client, two_cross))
    assert [frame.frame for frame in frames] == list(range(0, 30, 2)), "five a second, unless told otherwise"
    assert [frame.time_s for frame in frames] == pytest.approx([number / 5 for number in range(15)])
    assert (end.frames, end.skipped.between, end.skipped.damaged) == (15, 15, 0)
    assert (end.complete, end.problem, end.tracks) == (True, None, len(tracks))
    first = {face.track: face.box[0] for face in frames[0].faces}
    last = {face.track: face.box[0] for face in frames[-1].faces}
    assert len(first) == len(last) == 2
    assert set(first) == set(last), "each keeps its number, though they passed each other"
    for track, x in first.items():
        assert (x < 200) == (last[track] > 200)
    for summary in tracks:
        own = [(frame.time_s, face) for frame in frames for face in frame.faces if face.track == summary.track]
        assert summary.frames == len(own)
        assert (summary.first_s, summary.last_s) == (own[0][0], own[-1][0])
        for emotion, mean in summary.posterior.items():
            assert mean == pytest.approx(sum(face.posterior[emotion] for _, face in own) / len(own), abs=1e-4)
        assert sum(summary.shares.values()) == pytest.approx(1, abs=1e-4)
        for emotion, share in summary.shares.items():
            assert share == pytest.approx(sum(face.emotion == emotion for _, face in own) / len(own), abs=1e-4)
        assert summary.known == pytest.approx(sum(face.known for _, face in own) / len(own), abs=1e-4)


def test_frame_is_answered_as_the_same_image(client: TestClient) -> None:
    """Videos and images have the same path from the pixels on."""

    picture = scene([(200, 120), (460, 120)])
    video = encode_video([picture] * 4, "webm")
    frames, _, _ = lines(asked(client, video))
    faces = client.post("/classify", files={"image": encode(picture)}).json()["faces"]
    assert len(faces) == len(frames[0].faces) == 2
    for face, seen in zip(
        sorted(faces, key=lambda face: face["box"]), sorted(frames[0].faces, key=lambda f: f.box), strict=True
    ):
        assert seen.box == pytest.approx(face["box"], abs=4)
        assert seen.emotion == face["emotion"]
        assert seen.posterior[seen.emotion] == pytest.approx(face["posterior"][seen.emotion], abs=0.15)


@pytest.mark.parametrize("fps", [5, 60])
def test_followed_faces_are_answered_as_those_searched_in_each_frame(
    served_engine: Engine, two_cross: bytes, fps: int
) -> None:
    answers = []
    for every in (1, 3):
        with TestClient(create_app_on(Runtime(served_engine, Settings(detect_every=every)))) as client:
            answers.append(lines(asked(client, two_cross, fps=fps)))
    (searched, tracks, end), (followed, their_tracks, their_end) = answers
    assert (end.frames, end.tracks) == (their_end.frames, their_end.tracks)
    found = [[track.frames for track in each] for each in (tracks, their_tracks)]
    assert found[0] == pytest.approx(found[1], abs=2), "one face covers the other for a moment"
    for frame, other in zip(searched, followed, strict=True):
        assert (frame.frame, frame.time_s) == (other.frame, other.time_s)
        if len(frame.faces) == len(other.faces):
            boxes = [sorted(face.box for face in each.faces) for each in (frame, other)]
            assert boxes[0] == pytest.approx(np.array(boxes[1]), abs=10)


@pytest.mark.parametrize("form", ["webm", "gif"])
def test_other_formats_are_answered(client: TestClient, form: str) -> None:
    video = encode_video([scene([(200 + 5 * number, 120)]) for number in range(10)], form)
    frames, tracks, end = lines(asked(client, video, fps=60))
    assert len(frames) == 10
    assert [track.frames for track in tracks] == [10]
    assert end.complete


@needs_london
def test_moving_photographs_keep_their_tracks(client: TestClient) -> None:
    """Two photographs move in parallel."""
    from PIL import Image

    names = london_photographs()[:2]
    faces = [np.asarray(Image.open(name).convert("RGB").resize((300, 300))) for name in names]
    frames = []
    for number in range(15):
        frame = np.full((320, 800, 3), 255, np.uint8)
        for place, face in enumerate(faces):
            x = 20 + place * 400 + 5 * number
            frame[10:310, x : x + 300] = face
        frames.append(frame)
    seen, tracks, _ = lines(asked(client, encode_video(frames), fps=10))
    assert [track.frames for track in tracks] == [15, 15]
    assert len(seen) == 15


def test_parameters_of_a_video_are_checked(client: TestClient, two_cross: bytes) -> None:
    frames, tracks, _ = lines(asked(client, two_cross, fps=1))
    assert [frame.time_s for frame in frames] == [0, 1, 2]
    frames, tracks, _ = lines(asked(client, two_cross, fps=1, faces="largest"))
    assert [len(frame.faces) for frame in frames] == [1, 1, 1]
    cropped = encode_video([cartoon(64)] * 5)
    frames, tracks, _ = lines(asked(client, cropped, already_cropped=True))
    assert len(tracks) == 1
    assert frames[0].faces[0].detection is None
    for wrong in ({"fps": 0}, {"fps": 61}, {"fps": "fast"}, {"rate": 3}):
        assert problem_kind(asked(client, two_cross, **wrong)) == (422, "validation")
    assert problem_kind(asked(client, two_cross, faces=1000)) == (422, "query")


def test_video_without_a_face_has_empty_frames(client: TestClient) -> None:
    frames, tracks, end = lines(asked(client, encode_video([scene([])] * 10)))
    assert [frame.faces for frame in frames] == [[]] * 5
    assert tracks == []
    assert end.complete


def test_invalid_videos_are_refused(client: TestClient, two_cross: bytes) -> None:
    assert problem_kind(asked(client, b"no video")) == (415, "unsupported-video")
    assert problem_kind(asked(client, two_cross[:5000])) == (422, "broken-video")
    assert problem_kind(client.post("/classify/video", files={"image": two_cross})) == (422, "missing-field")
    assert problem_kind(client.post("/classify/video", files=[("video", two_cross)] * 2)) == (422, "missing-field")
    text = client.post("/classify/video", data={"video": "text"}, files={"x": b""})
    assert problem_kind(text) == (422, "missing-field")
    assert problem_kind(client.post("/classify/video", content=two_cross)) == (422, "missing-field")
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert problem_kind(client.post("/classify/video", content=b"--b", headers=headers)) == (400, "malformed-body")
    assert b'mien_rejections_total{problem="unsupported-video"} 1.0' in client.get("/metrics").content


@pytest.mark.parametrize(
    ("settings", "detail"),
    [
        ({"max_video_s": 2}, "at most 2 s, got one of 3.0 s"),
        ({"max_video_frames": 10}, "ask for 3.3 fps at most"),
        ({"max_video_pixels": 100_000}, "at most 100000 pixels, got 640x240"),
        ({"max_video_bytes": 5000}, "may have 5000 bytes"),
    ],
)
def test_limits_of_videos_are_checked(
    served_engine: Engine, two_cross: bytes, settings: dict[str, Any], detail: str
) -> None:
    with TestClient(create_app(served_engine, Settings(**settings))) as client:
        refused = asked(client, two_cross)
        assert refused.status_code == 413
        assert detail in refused.json()["detail"]


def test_video_may_be_larger_than_other_bodies(served_engine: Engine, two_cross: bytes) -> None:
    with TestClient(create_app(served_engine, Settings(max_body_bytes=1000))) as client:
        assert asked(client, two_cross, fps=1).status_code == 200
        assert problem_kind(client.post("/classify", files={"image": two_cross})) == (413, "body-too-large")


def test_missing_extra_is_answered_before_the_body_is_read(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_routes, "can_decode_videos", lambda: False)
    refused = asked(client, b"anything")
    assert problem_kind(refused) == (501, "no-video-decoder")
    assert "extra 'video'" in refused.json()["detail"]


def test_too_many_videos_at_once_are_refused(slow: SlowEngine, two_cross: bytes) -> None:
    runtime = Runtime(slow, Settings(queue_videos=1))
    with TestClient(create_app_on(runtime)) as client:
        first = threading.Thread(target=asked, args=(client, two_cross))
        first.start()
        assert slow.begun.wait(20)
        refused = asked(client, two_cross)
        assert problem_kind(refused) == (503, "busy")
        assert refused.headers["retry-after"] == "1"
        slow.go.set()
        first.join()
        assert asked(client, two_cross, fps=1).status_code == 200


def test_video_that_is_too_late_before_its_first_frame_is_answered_with_504(slow: SlowEngine, two_cross: bytes) -> None:
    runtime = Runtime(slow, Settings(video_timeout_s=0.5))
    with TestClient(create_app_on(runtime)) as client:
        late = asked(client, two_cross)
        assert problem_kind(late) == (504, "too-late")
        assert "may take 0.5 s" in late.json()["detail"]
        slow.go.set()
        wait_until(
            lambda: (
                runtime.admission.videos.held == runtime.admission.images.held == runtime.admission.body_bytes.held == 0
            )
        )


class TwoFrames(Engine):
    """The real engine, which waits from its third frame on."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.bundle, engine.pipeline, engine.max_k)
        self.frames = 0
        self.third, self.go = threading.Event(), threading.Event()

    def predict(self, requests: Sequence[InferenceRequest]) -> list[Prediction | ImageError]:
        self.frames += 1
        if self.frames > 2:
            self.third.set()
            assert self.go.wait(20)
        return super().predict(requests)


@pytest.fixture
def two_frames(served_engine: Engine) -> Iterator[TwoFrames]:
    engine = TwoFrames(served_engine)
    yield engine
    engine.go.set()


def test_video_that_is_too_late_later_ends_with_a_problem(two_frames: TwoFrames, two_cross: bytes) -> None:
    runtime = Runtime(two_frames, Settings(video_timeout_s=3))
    with TestClient(create_app_on(runtime)) as client:
        frames, tracks, end = lines(asked(client, two_cross))
        assert len(frames) == end.frames == 2
        assert tracks, "what was seen is summed up"
        assert not end.complete
        assert end.problem is not None
        assert (end.problem.status, end.problem.type) == (504, "urn:mien:too-late")
        two_frames.go.set()


def test_stopping_service_ends_a_video_in_time(two_frames: TwoFrames, two_cross: bytes) -> None:
    runtime = Runtime(two_frames, Settings(video_timeout_s=60, timeout_s=0.5))
    with TestClient(create_app_on(runtime)) as client:

        def stop() -> None:
            assert two_frames.third.wait(20)
            runtime.drain()
            time.sleep(0.1)
            two_frames.go.set()

        stopping = threading.Thread(target=stop)
        stopping.start()
        _, _, end = lines(asked(client, encode_video(moving(300)), fps=60))
        stopping.join()
        assert not end.complete
        assert end.problem is not None
        assert (end.problem.status, end.problem.type) == (503, "urn:mien:not-ready")
        assert problem_kind(asked(client, two_cross)) == (503, "not-ready")


def test_failing_decoder_ends_the_answer_with_a_problem(two_frames: TwoFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.service.video.answer import VideoAnswer

    original = VideoAnswer._step

    def step(self: VideoAnswer) -> Any:
        if self._lines.frames == 2:
            raise BrokenVideoError("expected a whole video, got one on which the decoder fails")
        return original(self)

    monkeypatch.setattr(VideoAnswer, "_step", step)
    two_frames.go.set()
    with TestClient(create_app(two_frames, Settings())) as client:
        frames, _, end = lines(asked(client, encode_video(moving(30))))
        assert 2 <= len(frames) <= 3
        assert end.problem is not None
        assert end.problem.type == "urn:mien:broken-video"


class FailingNetwork(TwoFrames):
    """The real engine, whose network fails from its third frame on."""

    def predict(self, requests: Sequence[InferenceRequest]) -> list[Prediction | ImageError]:
        if self.frames == 2:
            raise RuntimeError("the session fails")
        return super().predict(requests)


def test_failing_network_ends_the_answer_with_a_problem(served_engine: Engine) -> None:
    with TestClient(create_app(FailingNetwork(served_engine), Settings())) as client:
        frames, tracks, end = lines(asked(client, encode_video(moving(30))))
        assert len(frames) == end.frames == 2
        assert [track.frames for track in tracks] == [2]
        assert not end.complete
        assert end.problem is not None
        assert (end.problem.status, end.problem.type) == (500, "urn:mien:internal")
        assert "session" not in end.problem.detail
        figures = client.get("/metrics").text
        assert "mien_videos_held 0.0" in figures
        assert 'mien_rejections_total{problem="internal"} 1.0' in figures


def test_images_are_answered_while_a_video_is_decoded(
    served_engine: Engine, crop_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that hangs takes no thread from them."""
    from mien.service.video.answer import VideoAnswer

    original, begun, go = VideoAnswer._step, threading.Event(), threading.Event()

    def step(self: VideoAnswer) -> Any:
        begun.set()
        assert go.wait(20)
        return original(self)

    monkeypatch.setattr(VideoAnswer, "_step", step)
    runtime = Runtime(served_engine, Settings(workers=1, rate_per_s=0))
    with TestClient(create_app_on(runtime)) as client:
        answers: list[Response] = []
        video = threading.Thread(target=lambda: answers.append(asked(client, encode_video(moving(3)))))
        video.start()
        assert begun.wait(20)
        assert client.post("/classify", params=CROPPED, files={"image": crop_file}).status_code == 200
        assert not answers
        go.set()
        video.join()
    assert lines(answers[0])[2].complete


def streamed(app: FastAPI, data: bytes, leave_after: int) -> list[bytes]:
    """The first lines of an answer, after which the client disconnects."""
    head = form_head("video")
    body = head + data + b"\r\n--b--\r\n"
    got: list[bytes] = []
    scope = form_scope("/classify/video", "fps=60")

    async def ask() -> None:
        gone = asyncio.Event()
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body" and message["body"]:
                got.append(message["body"])
                if len(got) == leave_after:
                    gone.set()

        async with app.router.lifespan_context(app):
            await asyncio.wait_for(app(scope, receive, send), 30)

    asyncio.run(ask())
    return got


def test_lines_come_as_they_are_ready_and_a_disconnect_ends_the_work(served_engine: Engine) -> None:
    runtime = Runtime(served_engine, Settings())
    got = streamed(create_app_on(runtime), encode_video(moving(300)), leave_after=3)
    assert 3 <= len(got) <= 6, "nobody reads the other 294"
    assert all(json.loads(line)["kind"] == "frame" for line in got)
    assert runtime.admission.videos.held == runtime.admission.images.held == runtime.admission.body_bytes.held == 0


def test_images_are_answered_during_a_video(client: TestClient, runtime: Runtime, crop_file: bytes) -> None:
    video = encode_video(moving(60))
    answers: list[Response] = []
    asking = threading.Thread(target=lambda: answers.append(asked(client, video, fps=60)))
    asking.start()
    wait_until(lambda: runtime.admission.videos.held == 1)
    count = 0
    while runtime.admission.videos.held:
        answer = client.post("/classify", params={"already_cropped": "true"}, files={"image": crop_file})
        assert answer.status_code == 200
        count += 1
    asking.join()
    assert count > 5
    _, _, end = lines(answers[0])
    assert end.complete


@pytest.mark.system
def test_memory_does_not_grow_with_the_video(client: TestClient) -> None:
    """Of 300 frames of 0.5 MB, 140 MB in all, only a few are in memory at once."""
    import tracemalloc

    asked(client, encode_video(moving(10)), fps=60)
    video = encode_video([scene([(200 + number % 50, 120)]) for number in range(300)], rate=30)
    tracemalloc.start()
    try:
        _, _, end = lines(asked(client, video, fps=30, already_cropped=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert end.frames == 300
    assert peak < 40e6

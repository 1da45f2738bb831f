"""WS /stream: answers, dropped frames, keys, limits and ends."""

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.testclient import WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mien.model.errors import ImageError
from mien.model.video.tracker import Tracker
from mien.service.app import create_app_on
from mien.service.inference.engine import Engine
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.inference.runtime import Runtime
from mien.service.middleware.api_keys import create_key, revoke_key
from mien.service.operation.logs import JsonFormatter
from mien.service.settings import Settings
from mien.service.video import session
from tests.support.engines import SlowEngine
from tests.support.images import encode
from tests.support.serving import served_by_uvicorn
from tests.support.videos import scene
from tests.support.waiting import wait_until


def picture(x: int = 200, form: str = "JPEG") -> bytes:
    return encode(scene([(x, 120)]), form)


@contextmanager
def served(engine: Engine, **settings: Any) -> Iterator[tuple[TestClient, Runtime]]:
    runtime = Runtime(
        Engine(engine.bundle, engine.pipeline, 100) if type(engine) is Engine else engine,
        Settings(**{"rate_per_s": 0, "stream_fps": 1000, **settings}),
    )
    with TestClient(create_app_on(runtime)) as client:
        yield client, runtime


def answer(stream: WebSocketTestSession) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stream.receive_text())
    assert set(found) == {"frame", "dropped", "faces", "problem"}
    return found


def refused(client: TestClient, path: str = "/stream", **options: Any) -> tuple[int, str]:
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(path, **options):
        pass
    response = caught.value
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["type"].removeprefix("urn:mien:")


def closed(stream: WebSocketTestSession) -> tuple[int, str]:
    try:
        while True:
            stream.receive_text()
    except WebSocketDisconnect as end:
        return end.code, end.reason


def test_frames_are_answered_and_a_face_keeps_its_track(served_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Tracker", lambda: Tracker(max_gap_s=30.0))  # a busy machine is slow
    with served(served_engine, detect_every=1) as (client, runtime), client.websocket_connect("/stream") as stream:
        pictures = [picture(200 + 10 * number, form) for number, form in enumerate(("JPEG", "PNG", "WEBP"), 1)]
        alone = [client.post("/classify", files={"image": data}).json()["faces"] for data in pictures]
        for number, data in enumerate(pictures, 1):
            stream.send_bytes(data)
            found = answer(stream)
            assert (found["frame"], found["dropped"], found["problem"]) == (number, 0, None)
            (face,) = found["faces"]
            assert face.pop("track") == 1
            picture_alone = alone[number - 1][0]
            for field in ("box", "detection", "emotion", "sub_class", "known", "reasons"):
                assert face[field] == picture_alone[field]
            # The landmarks of a picture are found once more, closer; those of a frame are not (docs/load.md).
            assert face["posterior"] == pytest.approx(picture_alone["posterior"], abs=0.1)
        assert runtime.admission.streams.held == 1
        figures = client.get("/metrics").text
        assert "mien_streams_open 1.0" in figures
        assert 'mien_frames_total{result="answered",source="stream"} 3.0' in figures


def test_faces_of_a_stream_are_followed(served_engine: Engine) -> None:
    """New ones are found at the next search, lost ones at once."""
    with served(served_engine, detect_every=3) as (client, _), client.websocket_connect("/stream") as stream:
        counts = []
        for places in ([(200, 120)], [(210, 120)], [(220, 120), (450, 120)], [(230, 120), (450, 120)], []):
            stream.send_bytes(encode(scene(places)))
            faces = answer(stream)["faces"]
            assert all(face["track"] == 1 for face in faces if face["box"][0] < 350)
            counts.append(len(faces))
        assert counts == [1, 1, 1, 2, 0]


def test_frames_that_are_not_plain_are_decoded_by_a_process(served_engine: Engine) -> None:
    """Their faces are those of plain ones."""
    with served(served_engine) as (client, runtime), client.websocket_connect("/stream") as stream:
        faces = []
        for options in ({}, {"progressive": True}):
            buffer = BytesIO()
            Image.fromarray(scene([(200, 120)])).save(buffer, "JPEG", quality=90, **options)
            stream.send_bytes(buffer.getvalue())
            (face,) = answer(stream)["faces"]
            faces.append(face["box"])
            assert bool(runtime.readers.pids()) == bool(options)
        assert faces[0] == faces[1]


def test_stream_answers_the_points_of_faces_if_wanted(served_engine: Engine) -> None:
    with served(served_engine) as (client, _):
        embedded = client.post("/embed", files={"image": picture()}).json()["faces"][0]["embedding"]
        for path in ("/stream?embeddings=true", "/stream"):
            with client.websocket_connect(path) as stream:
                stream.send_bytes(picture())
                found = answer(stream)["faces"][0].get("embedding")
                assert found is None if path == "/stream" else math.dist(found, embedded) < 0.5


def test_parameters_of_a_stream_are_checked(served_engine: Engine, crop_file: bytes, photograph_file: bytes) -> None:
    with served(served_engine) as (client, _):
        with client.websocket_connect("/stream?already_cropped=true") as stream:
            stream.send_bytes(crop_file)
            assert answer(stream)["faces"][0]["detection"] is None
        with client.websocket_connect("/stream?faces=1") as stream:
            stream.send_bytes(photograph_file)
            assert len(answer(stream)["faces"]) == 1
        for wrong in ("face=1", "faces=none", "faces=1000"):
            assert refused(client, f"/stream?{wrong}") == (422, "query")


def test_bad_frame_is_answered_with_a_problem_and_the_stream_goes_on(served_engine: Engine) -> None:
    with served(served_engine, detect_every=1) as (client, _), client.websocket_connect("/stream") as stream:
        for bad, kind in (
            (b"nothing", "unsupported-image"),
            (b"", "empty-image"),
            (picture()[:300], "broken-image"),
        ):
            stream.send_bytes(bad)
            found = answer(stream)
            assert found["problem"]["type"] == f"urn:mien:{kind}"
            assert found["faces"] == []
        stream.send_text("hello")
        assert "got text" in answer(stream)["problem"]["detail"]
        empty = BytesIO()
        Image.fromarray(scene([])).save(empty, "PNG")
        stream.send_bytes(empty.getvalue())
        assert answer(stream) == {"frame": 5, "dropped": 0, "faces": [], "problem": None}, "no face is no problem here"
        stream.send_bytes(picture())
        assert len(answer(stream)["faces"]) == 1
        assert b'mien_rejections_total{problem="broken-image"} 1.0' in client.get("/metrics").content


def test_only_the_newest_frame_waits(served_engine: Engine) -> None:
    slow = SlowEngine(served_engine)
    with served(slow) as (client, runtime), client.websocket_connect("/stream") as stream:
        stream.send_bytes(picture(200))
        assert slow.begun.wait(20)
        for x in range(210, 300, 10):
            stream.send_bytes(picture(x))
        deadline = time.monotonic() + 20
        while b'result="dropped",source="stream"} 8.0' not in client.get("/metrics").content:
            assert time.monotonic() < deadline
        slow.go.set()
        assert (answer(stream)["frame"], runtime.admission.images.held <= 1) == (1, True)
        last = answer(stream)
        assert (last["frame"], last["dropped"]) == (10, 8)
        assert last["faces"][0]["box"][0] > 230


def test_frame_that_is_too_late_or_finds_the_queue_full_has_a_problem(served_engine: Engine) -> None:
    slow = SlowEngine(served_engine)
    with (
        served(slow, timeout_s=0.3, queue_images=1, max_images=1) as (client, runtime),
        client.websocket_connect("/stream") as stream,
    ):
        stream.send_bytes(picture())
        assert answer(stream)["problem"]["status"] == 504
        slow.go.set()
        runtime.admission.images.take(1)
        stream.send_bytes(picture())
        assert answer(stream)["problem"]["type"] == "urn:mien:busy"
        runtime.admission.images.give_back(1)

        def is_answered() -> bool:
            stream.send_bytes(picture())
            return answer(stream)["problem"] is None

        wait_until(is_answered)  # the process that reads pictures may have to start first


def test_failing_network_is_a_problem_of_the_frame(served_engine: Engine) -> None:
    class Failing(Engine):
        def predict(self, requests: Sequence[InferenceRequest]) -> list[Prediction | ImageError]:
            raise RuntimeError("secret of the network")

    failing = Failing(served_engine.bundle, served_engine.pipeline, 100)
    with served(failing) as (client, _), client.websocket_connect("/stream") as stream:
        for _ in range(2):
            stream.send_bytes(picture())
            found = stream.receive_text()
            assert '"status":500' in found
            assert "secret" not in found


def test_frames_per_second_are_limited(served_engine: Engine, crop_file: bytes) -> None:
    with (
        served(served_engine, stream_fps=20) as (client, _),
        client.websocket_connect("/stream?already_cropped=true") as stream,
    ):
        began = time.monotonic()
        for _ in range(5):
            stream.send_bytes(crop_file)
            answer(stream)
        assert time.monotonic() - began >= 4 / 20, "no faster, whatever comes"


def test_stream_with_too_many_frames_is_closed(served_engine: Engine) -> None:
    with served(served_engine, stream_fps=1) as (client, _), client.websocket_connect("/stream") as stream:
        for _ in range(40):
            stream.send_bytes(b"x")
        assert closed(stream) == (1008, "more than 10 frames a second")


def test_idle_stream_is_closed(served_engine: Engine) -> None:
    with served(served_engine, stream_idle_s=0.1) as (client, runtime):
        with client.websocket_connect("/stream") as stream:
            assert closed(stream) == (1008, "no frame for 0.1 s")
        assert runtime.admission.streams.held == 0


def test_number_of_streams_is_limited(served_engine: Engine) -> None:
    with served(served_engine, max_streams=1) as (client, runtime):
        with client.websocket_connect("/stream"):
            assert refused(client) == (503, "busy")
        wait_until(lambda: runtime.admission.streams.held == 0)
        with client.websocket_connect("/stream") as stream:
            stream.send_bytes(picture())
            assert answer(stream)["problem"] is None


def test_stopping_service_closes_streams(served_engine: Engine) -> None:
    with served(served_engine) as (client, runtime):
        with client.websocket_connect("/stream") as stream:
            stream.send_bytes(picture())
            answer(stream)
            runtime.drain()
            assert closed(stream) == (1012, "mien is stopping")
        assert refused(client) == (503, "not-ready")


def test_disconnected_client_leaves_nothing_behind(served_engine: Engine) -> None:
    slow = SlowEngine(served_engine)
    with served(slow) as (client, runtime):
        with client.websocket_connect("/stream") as stream:
            stream.send_bytes(picture())
            assert slow.begun.wait(20)
        slow.go.set()
        wait_until(lambda: runtime.admission.streams.held == 0)
        assert runtime.admission.images.held == 0


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "keys.json"
    return {"read": create_key(path, "r", "read"), "write": create_key(path, "w", "write"), "path": str(path)}


def test_key_is_accepted_in_a_header_or_as_a_subprotocol(served_engine: Engine, keys: dict[str, str]) -> None:
    """Browsers cannot set headers of a WebSocket."""
    with served(served_engine, keys=Path(keys["path"])) as (client, _):
        assert refused(client) == (401, "no-key")
        assert refused(client, subprotocols=["mien"]) == (401, "no-key")
        assert refused(client, subprotocols=["mien", "mien.key.mien_x_y"]) == (401, "no-key")
        for options in (
            {"headers": {"authorization": f"Bearer {keys['read']}"}},
            {"headers": {"x-api-key": keys["write"]}},
            {"subprotocols": ["mien", f"mien.key.{keys['read']}"]},
        ):
            with client.websocket_connect("/stream", **options) as stream:
                stream.send_bytes(picture())
                assert answer(stream)["problem"] is None
                said = "mien" if "subprotocols" in options else None
                assert stream.accepted_subprotocol == said, "never the key"
        answered = client.get("/metrics", headers={"sec-websocket-protocol": f"mien.key.{keys['read']}"})
        assert answered.status_code == 401, "on anything else a subprotocol is no key"


def test_revoked_key_closes_its_streams(served_engine: Engine, keys: dict[str, str]) -> None:
    with (
        served(served_engine, keys=Path(keys["path"])) as (client, _),
        client.websocket_connect("/stream", headers={"x-api-key": keys["read"]}) as stream,
    ):
        stream.send_bytes(picture())
        answer(stream)
        revoke_key(Path(keys["path"]), keys["read"].split("_")[1])
        wait_until(lambda: client.get("/metrics", headers={"x-api-key": keys["read"]}).status_code == 401)
        stream.send_bytes(picture())
        assert closed(stream) == (1008, "the key was revoked")


def test_rate_limit_counts_opened_streams(served_engine: Engine) -> None:
    with served(served_engine, rate_per_s=1) as (client, _):
        for _ in range(2):
            with client.websocket_connect("/stream"):
                pass
        assert refused(client) == (429, "rate")


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"origin": "http://testserver"}, True),
        ({"origin": "https://faces.example", "host": "faces.example"}, True),  # behind a proxy that ends TLS
        ({"origin": "https://faces.example:443", "host": "faces.example"}, True),
        ({"origin": "https://friend.example"}, True),
        ({"origin": "http://friend.example"}, False),
        ({"origin": "https://elsewhere.example"}, False),
        ({"origin": "http://testserver:81"}, False),
        ({"origin": "http://testserver.elsewhere.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://["}, False),
        ({"origin": ""}, False),
    ],
)
def test_pages_of_other_origins_cannot_open_a_stream(
    served_engine: Engine, headers: dict[str, str], allowed: bool
) -> None:
    with served(served_engine, cors_origins="https://friend.example") as (client, runtime):
        if allowed:
            with client.websocket_connect("/stream", headers=headers):
                pass
        else:
            assert refused(client, headers=headers) == (403, "origin")
        wait_until(lambda: runtime.admission.streams.held == 0)


def test_streams_are_counted_and_logged(
    served_engine: Engine, keys: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with served(served_engine, keys=Path(keys["path"])) as (client, runtime), caplog.at_level(logging.INFO, "mien"):
        refused(client, "/stream?faces=secret")
        with client.websocket_connect(
            "/stream?faces=all", subprotocols=["mien", f"mien.key.{keys['read']}"], headers={"x-request-id": "r-1"}
        ) as stream:
            stream.send_bytes(picture())
            answer(stream)
        wait_until(lambda: runtime.admission.streams.held == 0)
        figures = client.get("/metrics", headers={"x-api-key": keys["read"]}).text
        assert 'mien_requests_total{method="GET",route="/stream",status="101"} 1.0' in figures
        assert 'mien_requests_total{method="GET",route="none",status="401"} 1.0' in figures
        assert 'mien_request_seconds_count{route="/stream"}' not in figures
    text = "\n".join(JsonFormatter().format(record) for record in caplog.records if record.name.startswith("mien"))
    assert "secret" not in text
    assert keys["read"] not in text
    line = next(line for line in map(json.loads, text.splitlines()) if line.get("status") == 101)
    assert line["key"] == keys["read"].split("_")[1]


@pytest.fixture(scope="module")
def url(served_engine: Engine) -> Iterator[str]:
    """The app on a real socket, with the configuration of ``mien serve``."""
    from mien.service.server import uvicorn_config

    settings = Settings(max_stream_frame_bytes=100_000, rate_per_s=0)
    runtime = Runtime(Engine(served_engine.bundle, served_engine.pipeline, 100), settings)
    with served_by_uvicorn(uvicorn_config(create_app_on(runtime), settings, runtime.metrics)) as url:
        yield url.replace("http:", "ws:")


def test_stream_over_a_real_socket(url: str) -> None:
    with connect(f"{url}/stream", subprotocols=["mien"]) as stream:  # type: ignore[list-item]
        assert stream.subprotocol == "mien"
        assert stream.protocol.extensions == []
        assert stream.response is not None
        assert stream.response.headers["x-request-id"]
        stream.send(picture())
        assert len(json.loads(stream.recv(20))["faces"]) == 1


def test_too_large_message_closes_the_stream(url: str) -> None:
    with connect(f"{url}/stream") as stream:
        stream.send(bytes(100_001))
        with pytest.raises(ConnectionClosed) as caught:
            stream.recv(20)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009

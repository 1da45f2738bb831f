import time
from concurrent.futures import ThreadPoolExecutor

from fastapi.testclient import TestClient
from httpx2 import Response

from mien.service.app import create_app_on
from mien.service.inference.runtime import Runtime
from mien.service.settings import Settings
from tests.support.answers import CROPPED, problem_kind
from tests.support.engines import SlowEngine


def test_full_queue_is_answered_with_503_at_once(slow: SlowEngine, crop_file: bytes) -> None:
    runtime = Runtime(slow, Settings(queue_images=2, max_images=2))
    with TestClient(create_app_on(runtime)) as client, ThreadPoolExecutor(2) as threads:

        def ask() -> Response:
            return client.post("/classify", params=CROPPED, files={"image": crop_file})

        first = threads.submit(ask)
        assert slow.begun.wait(20)
        two_more = client.post("/classify", params=CROPPED, files=[("images", crop_file)] * 2)
        assert problem_kind(two_more) == (503, "busy")
        assert "with 2 images more there would be more than 2" in two_more.json()["detail"]
        second = threads.submit(ask)
        deadline = time.monotonic() + 20
        while runtime.admission.images.held < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        refused = client.post("/embed", files={"image": b"x"})
        assert problem_kind(refused) == (503, "busy")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/health/ready").status_code == 200, "a full queue is no fault"
        slow.go.set()
        assert first.result().status_code == second.result().status_code == 200
        assert ask().status_code == 200, "what was taken was not given back"
        figures = client.get("/metrics").content
        assert b'mien_rejections_total{problem="busy"} 2.0' in figures
        assert b'mien_requests_total{method="POST",route="/embed",status="503"} 1.0' in figures

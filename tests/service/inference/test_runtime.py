from fastapi.testclient import TestClient

from mien.service.app import create_app
from mien.service.settings import Settings
from tests.support.answers import CROPPED, problem_kind
from tests.support.engines import SlowEngine


def test_answer_that_takes_too_long_is_answered_with_504(slow: SlowEngine, crop_file: bytes) -> None:
    with TestClient(create_app(slow, Settings(timeout_s=0.2))) as client:
        late = client.post("/classify", params=CROPPED, files={"image": crop_file})
        assert problem_kind(late) == (504, "too-late")
        assert "may take 0.2 s" in late.json()["detail"]
        several = client.post("/classify", params=CROPPED, files=[("images", crop_file)] * 3)
        assert problem_kind(several) == (504, "too-late")
        slow.go.set()

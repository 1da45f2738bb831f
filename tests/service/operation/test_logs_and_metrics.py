"""Metrics, log, request ids, readiness and reload."""

import json
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import MIXTURE, read_manifest, write_manifest
from mien.model.errors import ImageError
from mien.model.files import sha256_of
from mien.service.app import create_app
from mien.service.inference.engine import Engine, load_engine
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.operation.logs import FIELDS, JsonFormatter, request_id
from mien.service.settings import Settings
from tests.support.answers import CROPPED, problem_kind
from tests.support.engines import EMBEDDING_SIZE, gallery_engine
from tests.support.small_run import SmallRun


@pytest.fixture
def client(served_engine: Engine) -> Iterator[TestClient]:
    engine = Engine(served_engine.bundle, served_engine.pipeline, 100)
    with TestClient(create_app(engine, Settings(rate_per_s=0))) as client:
        yield client


def figures(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_and_stages_are_counted(
    client: TestClient, served_engine: Engine, crop_file: bytes, photograph_file: bytes
) -> None:
    client.post("/retrieve", params=CROPPED, files={"image": crop_file})
    client.post("/classify", files={"image": photograph_file})
    client.post("/classify", files={"image": b"nothing"})
    client.get("/nowhere/secret-name")
    found = figures(client)
    route = ("method", "POST"), ("route", "/classify")
    assert found["mien_requests_total", (*route, ("status", "200"))] == 1
    assert found["mien_requests_total", (*route, ("status", "415"))] == 1
    assert found["mien_requests_total", (("method", "GET"), ("route", "none"), ("status", "404"))] == 1
    assert found["mien_request_seconds_count", (("route", "/retrieve"),)] == 1
    # The head of a photograph is read apart from its picture, which is looked at in two sizes.
    for stage, count in {"decode": 4, "detect": 2, "embed": 2, "search": 1}.items():
        assert found["mien_stage_seconds_count", (("stage", stage),)] == count, stage
    assert found["mien_batch_faces_sum", ()] == 3
    assert found["mien_faces_per_image_sum", ()] == 3
    assert found["mien_rejections_total", (("problem", "unsupported-image"),)] == 1
    assert found["mien_gallery_faces", ()] == served_engine.gallery.count()
    assert found["mien_images_held", ()] == 0
    assert found["mien_resident_bytes", ()] > 2**20
    assert found["process_resident_memory_bytes", ()] > 2**20
    assert not any("secret" in str(key) for key in found)


def test_request_id_is_returned(client: TestClient) -> None:
    assert client.get("/health/live", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("", "x" * 65, "two words", "semi;colon"):
        given = client.get("/nowhere", headers={"x-request-id": bad}).headers["x-request-id"]
        assert given != bad
        assert len(given) == 16


def test_every_answer_has_security_headers(client: TestClient) -> None:
    for path in ("/docs", "/health/live", "/nowhere"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
    preflight = {"origin": "https://example.org", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in client.options("/classify", headers=preflight).headers


def lines(records: list[logging.LogRecord]) -> list[dict[str, Any]]:
    return [json.loads(JsonFormatter().format(record)) for record in records]


def test_log_has_no_personal_data(
    client: TestClient, crop_file: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.INFO, "mien"):
        client.post("/classify", params=CROPPED, files={"image": ("secret-name.png", crop_file)})
        client.post("/retrieve", json={"query": {"id": "secret-id"}})
        client.get("/secret-path?secret=query")
    text = "\n".join(JsonFormatter().format(record) for record in caplog.records if record.name.startswith("mien"))
    assert "secret" not in text
    first, second, third = (line for line in lines(caplog.records) if line["logger"] == "mien.requests")
    assert (first["method"], first["route"], first["status"]) == ("POST", "/classify", 200)
    assert first["ms"] > 0
    assert (second["status"], second["problem"]) == (422, "query")
    assert third["route"] == "none"


def test_log_line_has_the_request_id_and_no_message_of_an_error() -> None:
    token = request_id.set("r1")
    try:
        try:
            int("secret of the caller")
        except ValueError:
            record = logging.LogRecord("mien", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())
        setattr(record, FIELDS, {"status": 500})
        line = json.loads(JsonFormatter().format(record))
    finally:
        request_id.reset(token)
    assert line["request_id"] == "r1"
    assert line["status"] == 500
    assert line["error"] == "ValueError"
    assert "secret" not in json.dumps({key: value for key, value in line.items() if key != "raised_at"})
    assert "test_log_line_has" in line["raised_at"][-1]


def test_service_is_not_ready_while_the_network_fails(served_engine: Engine, crop_file: bytes) -> None:
    """Requests get 500, readiness 503 until the network works again; liveness stays 200."""

    class Failing(Engine):
        fails = False

        def predict(self, requests: Sequence[InferenceRequest]) -> list[Prediction | ImageError]:
            if self.fails:
                raise RuntimeError("out of memory")
            return super().predict(requests)

    engine = Failing(served_engine.bundle, served_engine.pipeline, 100)
    with TestClient(create_app(engine, Settings()), raise_server_exceptions=False) as client:

        def ask() -> int:
            return client.post("/classify", params=CROPPED, files={"image": crop_file}).status_code

        engine.fails = True
        assert client.get("/health/ready").status_code == 200
        assert [ask() for _ in range(3)] == [500, 500, 500]
        ready = client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["detail"] == "mien's network fails"
        assert client.get("/health/live").status_code == 200
        engine.fails = False
        assert client.get("/health/ready").status_code == 200
        assert ask() == 200


def test_bug_in_one_of_several_images_is_answered_with_500(
    served_engine: Engine, crop_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug is not a problem of one image: the request is answered with 500, not with 200."""
    monkeypatch.setattr(served_engine.pipeline, "read_faces", lambda *_, **__: 1 / 0)
    with TestClient(create_app(served_engine, Settings()), raise_server_exceptions=False) as client:
        response = client.post("/classify", params=CROPPED, files=[("images", crop_file)] * 2)
    assert response.status_code == 500
    assert response.headers["x-request-id"]


def test_reload_drops_no_request(small_run: SmallRun, tmp_path: Path, crop_file: bytes) -> None:
    """Running requests are answered from the old bundle, new ones from the new, and none fails."""
    bundle = tmp_path / "bundle"
    copytree(small_run.bundle, bundle)
    settings = Settings(bundle=bundle, provider="cpu", rate_per_s=0)
    with TestClient(create_app(load_engine(settings), settings)) as client, ThreadPoolExecutor(4) as threads:
        stop = threading.Event()

        def ask() -> set[int]:
            statuses = set()
            while not stop.is_set():
                statuses.add(client.post("/retrieve", params=CROPPED, files={"image": crop_file}).status_code)
            return statuses

        asking = [threads.submit(ask) for _ in range(4)]
        try:
            for _ in range(3):
                answer = client.post("/admin/reload")
                assert answer.status_code == 200
                assert answer.json() == {"status": "reloaded", "faces": 320}
        finally:
            stop.set()
        assert [each.result() for each in asking] == [{200}] * 4
        found = figures(client)
        assert found["mien_reloads_total", (("result", "done"),)] == 3


def test_reload_of_a_broken_bundle_changes_nothing(small_run: SmallRun, tmp_path: Path, crop_file: bytes) -> None:
    bundle = tmp_path / "bundle"
    copytree(small_run.bundle, bundle)
    settings = Settings(bundle=bundle, provider="cpu")
    with TestClient(create_app(load_engine(settings), settings)) as client:
        (bundle / "gallery.npz").write_bytes(b"half a file")
        answer = client.post("/admin/reload")
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:mien:reload"
        assert client.get("/health/ready").status_code == 200
        assert client.post("/retrieve", params=CROPPED, files={"image": crop_file}).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [("sigma", 1e300), ("sigma", 1e-300), ("weights", 0.0), ("centroids", 1e300), ("background_covariance", 1e-300)],
)
def test_reload_of_a_bundle_with_absurd_numbers_is_refused(
    name: str, value: float, served_engine: Engine, tmp_path: Path, crop_file: bytes
) -> None:
    bundle = tmp_path / "bundle"
    copytree(default_bundle(), bundle)
    with np.load(bundle / MIXTURE) as file:
        arrays = dict(file)
    arrays[name] = np.array(value) if arrays[name].ndim == 0 else arrays[name] * value
    np.savez(bundle / MIXTURE, **arrays)
    manifest = read_manifest(bundle)
    sums = manifest.sha256 | {MIXTURE: sha256_of(bundle / MIXTURE)}
    write_manifest(bundle, manifest.model_copy(update={"sha256": sums}))
    with TestClient(create_app(served_engine, Settings(bundle=bundle, provider="cpu"))) as client:
        answer = client.post("/admin/reload")
        assert problem_kind(answer) == (409, "reload")
        assert name in answer.json()["detail"]
        assert client.post("/classify", params=CROPPED, files={"image": crop_file}).status_code == 200


def test_service_without_its_gallery_is_not_ready(served_engine: Engine, tmp_path: Path, crop_file: bytes) -> None:
    with (
        gallery_engine(served_engine, tmp_path / "g") as engine,
        TestClient(create_app(engine, Settings())) as client,
    ):
        point = {"items": [{"id": "a", "embedding": [0.5] * EMBEDDING_SIZE}]}
        assert client.post("/gallery", json=point).status_code == 201
        assert client.get("/health/ready").status_code == 200
        rmtree(tmp_path / "g")
        assert client.get("/health/ready").status_code == 503
        assert problem_kind(client.post("/gallery", json=point)) == (503, "gallery")
        assert problem_kind(client.post("/retrieve", params=CROPPED, files={"image": crop_file})) == (503, "gallery")
        assert client.post("/classify", params=CROPPED, files={"image": crop_file}).status_code == 200

"""Pages of other origins: refused unless the settings name their origin."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from mien.model.errors import ConfigError
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.middleware.api_keys import create_key
from mien.service.operation.logs import FIELDS
from mien.service.settings import Settings, read_settings

FRIEND = "https://friend.example"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "x-api-key,content-type",
}


@pytest.fixture
def key(tmp_path: Path) -> str:
    return create_key(tmp_path / "keys.json", "page", "read")


@pytest.fixture
def client(served_engine: Engine, tmp_path: Path, key: str) -> Iterator[TestClient]:
    settings = Settings(keys=tmp_path / "keys.json", cors_origins=f"{FRIEND}, http://localhost:3000", rate_per_s=0)
    with TestClient(create_app(served_engine, settings)) as client:
        yield client


def test_preflight_needs_no_key(client: TestClient) -> None:
    """Browsers send none with it."""
    for origin in (FRIEND, "http://localhost:3000"):
        answer = client.options("/classify", headers={"origin": origin, **PREFLIGHT})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "x-api-key" in answer.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in answer.headers
    for origin in ("https://elsewhere.example", "http://friend.example", f"{FRIEND}.elsewhere.example", "null"):
        answer = client.options("/classify", headers={"origin": origin, **PREFLIGHT})
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


def test_page_of_an_allowed_origin_can_read_answers_and_refusals(
    client: TestClient, key: str, crop_file: bytes
) -> None:
    asked = {"params": {"already_cropped": "true"}, "files": {"image": crop_file}}
    for given, status in (({"x-api-key": key}, 200), ({}, 401), ({"authorization": "Bearer x"}, 401)):
        answer = client.post("/classify", headers={"origin": FRIEND, **given}, **asked)  # type: ignore[arg-type]
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert "origin" in answer.headers["vary"].lower()
        assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
    answer = client.post(
        "/classify",
        headers={"origin": "https://elsewhere.example", "x-api-key": key},
        **asked,  # type: ignore[arg-type]
    )
    assert "access-control-allow-origin" not in answer.headers


def test_preflight_is_logged_and_counted(client: TestClient, key: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mien"):
        answer = client.options("/classify", headers={"origin": FRIEND, "x-request-id": "preflight", **PREFLIGHT})
    (record,) = (record for record in caplog.records if record.name == "mien.requests")
    assert getattr(record, FIELDS)["method"] == "OPTIONS"
    assert answer.headers["x-request-id"] == "preflight"
    metrics = client.get("/metrics", headers={"x-api-key": key}).text
    assert 'mien_requests_total{method="OPTIONS",route="none",status="200"}' in metrics


def test_cors_is_off_without_the_setting(served_engine: Engine, crop_file: bytes) -> None:
    with TestClient(create_app(served_engine, Settings())) as client:
        assert client.options("/classify", headers={"origin": FRIEND, **PREFLIGHT}).status_code == 405
        answer = client.get("/health/live", headers={"origin": FRIEND})
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("value", ["*", "friend.example", f"{FRIEND}/", "https://*.example", f"{FRIEND};x", "null"])
def test_inexact_origin_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"--cors-origins must be exact origins.*got "):
        read_settings({}, cors_origins=value)


def test_origins_are_separated_by_commas() -> None:
    assert read_settings({}, cors_origins=f" {FRIEND} ,http://[::1]:80,").origins == (FRIEND, "http://[::1]:80")
    assert read_settings({}).origins == ()

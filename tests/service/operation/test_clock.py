"""A clock that goes back by an hour each time it is read."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.middleware.api_keys import create_key, revoke_key
from mien.service.operation.logs import JsonFormatter
from mien.service.settings import Settings
from tests.support.answers import CROPPED
from tests.support.engines import gallery_engine
from tests.support.waiting import wait_until

HOUR_S = 3600.0


@pytest.fixture
def going_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time of day in this process."""
    seen = [time.time()]

    def now() -> float:
        seen.append(seen[-1] - HOUR_S)
        return seen[-1]

    monkeypatch.setattr(time, "time", now)
    yield seen
    monkeypatch.undo()


@pytest.fixture
def client(served_engine: Engine, tmp_path: Path) -> Iterator[TestClient]:
    key = create_key(tmp_path / "keys.json", "k", "write")
    settings = Settings(keys=tmp_path / "keys.json", timeout_s=20, rate_per_s=1000)
    with (
        gallery_engine(served_engine, tmp_path / "gallery") as engine,
        TestClient(create_app(engine, settings), headers={"x-api-key": key}) as client,
    ):
        yield client


def added(client: TestClient, name: str, place: float) -> None:
    item = {"id": name, "embedding": [place] + [0.0] * 63}
    assert client.post("/gallery", json={"items": [item]}).status_code in (200, 201)


def test_gallery_keeps_its_order_and_its_pages(client: TestClient, going_back: list[float]) -> None:
    """Pages use the number of a write, not the time of day."""
    names = [f"face-{number:02}" for number in range(30)]
    for number, name in enumerate(names):
        added(client, name, number / 10)
    assert len(going_back) > 30, "the gallery did not look at this clock"
    query = {"query": {"embedding": [0.0] * 64}, "k": 7}
    found: list[str] = []
    after: dict[str, str] = {}
    while matches := (answer := client.post("/retrieve", json={**query, **after}).json())["matches"]:
        found += [match["id"] for match in matches]
        after = {"after": answer["next"]}
        added(client, f"later-{len(found)}", 0.05)  # a page begun before sees nothing of it
    assert found == names
    listed: list[str] = []
    answer = client.get("/gallery", params={"limit": 10}).json()
    listed += [face["id"] for face in answer["faces"]]
    while answer.get("next"):
        answer = client.get("/gallery", params={"limit": 10, "after": answer["next"]}).json()
        listed += [face["id"] for face in answer["faces"]]
    assert sorted(listed) == sorted(set(listed))
    assert set(names) <= set(listed)


def test_requests_deadlines_and_keys_are_not_affected(
    client: TestClient, crop_file: bytes, tmp_path: Path, going_back: list[float]
) -> None:
    for _ in range(5):
        assert client.post("/classify", params=CROPPED, files={"image": crop_file}).status_code == 200
        with client.websocket_connect("/stream?already_cropped=true") as stream:
            tracks = []
            for _ in range(3):
                stream.send_bytes(crop_file)
                tracks.append(json.loads(stream.receive_text())["faces"][0]["track"])
            assert tracks == [1, 1, 1]
    revoke_key(tmp_path / "keys.json", client.headers["x-api-key"].split("_")[1])
    wait_until(lambda: client.get("/metrics").status_code == 401)  # a revoked key is found out all the same


def test_log_is_written(client: TestClient, going_back: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mien"):
        for _ in range(3):
            client.get("/health/live")
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == "mien.requests"]
    assert len(lines) == 3
    assert all(line["ms"] >= 0 for line in lines), "how long it took is no difference of times of day"
    assert not np.isnan([line["ms"] for line in lines]).any()

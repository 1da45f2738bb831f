"""JSON that no program should send, in every place that takes JSON: 400 or 422, and nothing is changed."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.answers import problem_kind
from tests.support.engines import gallery_engine

POINT = [0.0] * 64

HOSTILE = {
    "4,300 digits": "9" * 4301,
    "400 digits": "9" * 400,
    "infinite": "1e999",
    "NaN": "NaN",
    "negative infinity": "-Infinity",
    "lone surrogate": r'"\ud800"',
    "equal keys": '{"a": 1, "a": 2}',
    "deep": "[" * 100 + "]" * 100,
}


@pytest.fixture(scope="module")
def client(served_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("json")
    with (
        gallery_engine(served_engine, folder / "gallery") as engine,
        TestClient(create_app(engine, Settings()), raise_server_exceptions=False) as client,
    ):
        assert client.post("/gallery", json={"items": [{"id": "a", "embedding": POINT}]}).status_code == 201
        yield client


def _body(text: str) -> dict[str, Any]:
    return {"content": text.encode(), "headers": {"content-type": "application/json"}}


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_are_answered_with_422_in_all_places(client: TestClient, value: str) -> None:
    point = json.dumps(POINT)
    in_point = f"[{value}, {point[1:]}"
    answers = {
        "filter on time": client.get("/gallery", params={"filter": f'{{"time": {value}}}'}),
        "filter on metadata": client.get("/gallery", params={"filter": f'{{"metadata.a": {{"gte": {value}}}}}'}),
        "filter in": client.get("/gallery", params={"filter": f'{{"metadata.a": {{"in": [1, {value}]}}}}'}),
        "filter of DELETE": client.delete("/gallery", params={"filter": f'{{"time": {value}}}'}),
        "filter of images": client.post("/retrieve", params={"filter": f'{{"time": {value}}}'}, json={"image": ""}),
        "filter of a point": client.post(
            "/retrieve", **_body(f'{{"query": {{"id": "a"}}, "filter": {{"time": {value}}}}}')
        ),
        "metadata on POST": client.post(
            "/gallery", **_body(f'{{"items": [{{"embedding": {point}, "metadata": {{"a": {value}}}}}]}}')
        ),
        "time on POST": client.post("/gallery", **_body(f'{{"items": [{{"embedding": {point}, "time": {value}}}]}}')),
        "embedding on POST": client.post("/gallery", **_body(f'{{"items": [{{"embedding": {in_point}}}]}}')),
        "items of a form": client.post(
            "/gallery", files={"image": b"x"}, data={"items": f'[{{"metadata": {{"a": {value}}}}}]'}
        ),
        "metadata on PATCH": client.patch("/gallery/a", **_body(f'{{"metadata": {{"a": {value}}}}}')),
        "time on PATCH": client.patch("/gallery/a", **_body(f'{{"time": {value}}}')),
        "cursor of a listing": client.get("/gallery", params={"after": _cursor(f'[{value}, "a"]')}),
        "id in the cursor of a listing": client.get("/gallery", params={"after": _cursor(f"[1, {value}]")}),
        "cursor of a search": client.post(
            "/retrieve", json={"query": {"id": "a"}, "after": _cursor(f'[1, {value}, "a"]')}
        ),
        "id in the cursor of a search": client.post(
            "/retrieve", json={"query": {"id": "a"}, "after": _cursor(f"[1, 0.5, {value}]")}
        ),
        "marks in the cursor of a search": client.post(
            "/retrieve", json={"query": {"id": "a"}, "after": _cursor(f'[1, 0.5, "a", {value}, ""]')}
        ),
        "point": client.post("/retrieve", **_body(f'{{"query": {{"embedding": {in_point}}}}}')),
        "k": client.post("/retrieve", **_body(f'{{"query": {{"id": "a"}}, "k": {value}}}')),
        "explanation": client.post(
            "/explain", **_body(f'{{"query": {{"embedding": {in_point}}}, "match": "a"}}')
        ),
        "portraits": client.post("/portraits", **_body(f'{{"queries": [{{"embedding": {in_point}}}]}}')),
        "thumbnails": client.post("/thumbnails", **_body(f'{{"ids": [{value}]}}')),
        "images": client.post("/classify", **_body(f'{{"images": [{value}]}}')),
    }  # fmt: skip
    assert {name: answer.status_code for name, answer in answers.items() if answer.status_code != 422} == {}
    assert all(len(answer.content) < 1000 for answer in answers.values())
    assert client.get("/gallery/a").json()["metadata"] == {}
    assert client.get("/gallery").json()["count"] == 1


def test_first_fault_of_many_is_reported(client: TestClient) -> None:
    answer = client.post("/classify", json={"images": [0] * 9000})
    assert problem_kind(answer) == (422, "missing-field")
    assert "images.0: Input should be a valid string" in answer.json()["detail"]
    answer = client.post("/gallery", json={"items": [{"unknown": 0}] * 9000})
    assert "items.0.unknown" in answer.json()["detail"]


def test_json_over_a_limit_is_named(client: TestClient) -> None:
    answer = client.post("/classify", **_body('{"images": [' + "0," * 1_100_000 + "0]}"))
    assert problem_kind(answer) == (422, "json")
    assert "at most 1000000 values, got 110000" in answer.json()["detail"]
    answer = client.post("/gallery", **_body('{"items": [{"id": "b", "id": "c"}]}'))
    assert problem_kind(answer) == (422, "json")
    assert client.post("/portraits", **_body("{")).status_code == 400


def test_filter_of_too_many_terms_is_refused(client: TestClient) -> None:
    for condition in ({"id": {"in": ["a"] * 300_000}}, {"or": [{"id": "a"}] * 90_000}):
        answer = client.post("/retrieve", json={"query": {"id": "a"}, "filter": condition})
        assert problem_kind(answer) == (422, "filter")
        assert "at most 1000 values" in answer.json()["detail"]


def test_number_of_thousands_of_digits_is_not_repeated(client: TestClient) -> None:
    digits = "9" * 4000
    for path, name in (("/retrieve", "k"), ("/retrieve", "summary"), ("/classify", "faces"), ("/explain", "face")):
        answer = client.post(path, params={name: digits}, files={"image": b"x"})
        assert answer.status_code == 422
        assert len(answer.content) < 1000
    answer = client.get("/gallery", params={"limit": digits})
    assert (answer.status_code, len(answer.content) < 1000) == (422, True)


def test_ids_of_new_faces_are_normal_and_visible(client: TestClient) -> None:
    answer = client.post("/gallery", json={"items": [{"id": "cafe\u0301", "embedding": POINT}]})
    assert answer.json()["ids"] == ["caf\u00e9"]
    assert client.get("/gallery/cafe\u0301").json()["id"] == "caf\u00e9"
    assert client.delete("/gallery/cafe\u0301").status_code == 204
    answer = client.post("/gallery", json={"items": [{"id": "a\u200b", "embedding": POINT}]})
    assert problem_kind(answer) == (422, "face-field")

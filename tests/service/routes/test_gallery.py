"""The gallery over HTTP, in process."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mien.model.faces.thumbnail import crop_of_thumbnail
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.answers import CROPPED, problem
from tests.support.engines import gallery_engine
from tests.support.faces import MakeFaces
from tests.support.images import encode

SIZE = 64


@dataclass
class Served:
    client: TestClient
    engine: Engine


@pytest.fixture
def served(served_engine: Engine, tmp_path: Path) -> Iterator[Served]:
    settings = Settings(provider="cpu", gallery_thumbnails=True, max_images=8)
    with (
        gallery_engine(served_engine, tmp_path / "gallery") as engine,
        TestClient(create_app(engine, settings), raise_server_exceptions=False) as client,
    ):
        yield Served(client, engine)


def point(place: float) -> list[float]:
    return [place] + [0.0] * (SIZE - 1)


def item(face_id: str, place: float, **fields: Any) -> dict[str, Any]:
    return {"id": face_id, "embedding": point(place), **fields}


def add(served: Served, *items: dict[str, Any], **parameters: Any) -> Any:
    return served.client.post("/gallery", json={"items": list(items)}, params=parameters)


def retrieve(served: Served, **fields: Any) -> Any:
    return served.client.post("/retrieve", json={"query": {"embedding": point(0)}, **fields})


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.text
    return [match["id"] for match in response.json()["matches"]]


def test_added_face_is_found_listed_changed_and_deleted(served: Served) -> None:
    answer = add(served, item("a", 1, label="happiness", subject="s1", metadata={"x": 1}), item("b/c", 2))
    assert answer.status_code == 201
    assert answer.json() == {"ids": ["a", "b/c"], "added": 2, "replaced": 0, "unchanged": 0}
    assert ids(retrieve(served)) == ["a", "b/c"]
    (first, second) = retrieve(served).json()["matches"]
    assert (first["label"], first["subject"], first["metadata"]) == ("happiness", "s1", {"x": 1})
    assert second["label"] is None
    assert {first["emotion"], second["emotion"]} <= set(served.engine.bundle.mixture.emotions)
    page = served.client.get("/gallery").json()
    assert (page["count"], page["read_only"], page["next"]) == (2, False, None)
    assert page["statistics"]["labels"] == {"happiness": 1, "": 1}
    face = served.client.get("/gallery/b/c").json()
    assert face["embedding"] == point(2)
    changed = served.client.patch("/gallery/a", json={"label": None, "metadata": {"y": 2}, "time": "2026-07-01"})
    assert changed.status_code == 200
    assert changed.json()["metadata"] == {"x": 1, "y": 2}
    assert changed.json()["time"] == "2026-07-01T00:00:00+00:00"
    assert served.client.delete("/gallery/b/c").status_code == 204
    assert "'b/c'" in problem(served.client.delete("/gallery/b/c"), 404)
    assert ids(retrieve(served)) == ["a"]


def test_same_face_again_succeeds_and_other_content_conflicts(served: Served) -> None:
    assert add(served, item("a", 1)).status_code == 201
    again = add(served, item("a", 1))
    assert again.status_code == 200
    assert again.json()["unchanged"] == 1
    assert "other content" in problem(add(served, item("a", 2), item("new", 3)), 409)
    assert served.client.get("/gallery").json()["count"] == 1
    assert add(served, item("a", 2), replace=True).json()["replaced"] == 1


def test_missing_id_is_made_from_the_content(served: Served) -> None:
    given = {"embedding": point(1), "label": "fear"}
    (first,) = add(served, given).json()["ids"]
    assert add(served, given).json() == {"ids": [first], "added": 0, "replaced": 0, "unchanged": 1}
    assert add(served, {**given, "label": "anger"}).json()["ids"] != [first]


def test_images_are_added_by_form_and_by_json(served: Served, make_faces: MakeFaces) -> None:
    crops = [encode(crop) for crop in make_faces(3).images]
    said = json.dumps([{"id": "one", "label": "fear"}, {"id": "two", "subject": "anna"}])
    form = served.client.post(
        "/gallery", params=CROPPED, files=[("images", crops[0]), ("images", crops[1])], data={"items": said}
    )
    assert form.status_code == 201, form.text
    assert form.json()["ids"] == ["one", "two"]
    third = {"items": [{"id": "three", "image": base64.b64encode(crops[2]).decode()}, item("four", 9)]}
    assert served.client.post("/gallery", params=CROPPED, json=third).status_code == 201
    face = served.client.get("/gallery/one").json()
    embedding = served.engine.pipeline.embed(served.engine.pipeline.read_faces(crops[0], already_cropped=True))[0]
    np.testing.assert_allclose(face["embedding"], embedding, atol=1e-4)
    kept = crop_of_thumbnail(base64.b64decode(face["thumbnail"]))
    np.testing.assert_array_equal(kept, make_faces(3).images[0])
    (answer,) = served.client.post("/retrieve", params=CROPPED, files={"image": crops[0]}).json()["faces"]
    assert answer["matches"][0]["id"] == "one"
    assert answer["matches"][0]["distance"] == pytest.approx(0, abs=1e-3)
    masked = served.client.post("/retrieve", params={**CROPPED, "mask_copies": True}, files={"image": crops[0]})
    assert "one" not in [match["id"] for match in masked.json()["faces"][0]["matches"]]
    (by_id,) = served.client.post("/retrieve", json={"query": {"id": "one"}, "k": 1}).json()["matches"]
    assert by_id["id"] == "one"


def test_all_faces_of_a_photograph_are_added_on_request(served: Served, photograph_file: bytes) -> None:
    def post(**parameters: Any) -> Any:
        said = '[{"id": "group.jpg", "subject": "family"}]'
        return served.client.post(
            "/gallery", params=parameters, files={"images": photograph_file}, data={"items": said}
        )

    assert post().json()["ids"] == ["group.jpg"]
    answer = post(faces="all").json()
    assert answer == {"ids": ["group.jpg", "group.jpg#2"], "added": 1, "replaced": 0, "unchanged": 1}
    assert post(faces=2).json()["unchanged"] == 2
    faces = served.client.get("/gallery").json()["faces"]
    assert [(face["id"], face["subject"], face["has_thumbnail"]) for face in faces] == [
        ("group.jpg", "family", True),
        ("group.jpg#2", "family", True),
    ]
    assert len({face["content_sha256"] for face in faces}) == 1
    first, second = (served.client.get("/thumbnail", params={"id": face["id"]}).content for face in faces)
    assert first != second
    assert "faces must be all, largest, or from 1 to" in problem(post(faces=1000), 422)


def test_thumbnails_are_kept_where_the_request_says_so(served: Served, photograph_file: bytes) -> None:
    def post(**parameters: Any) -> Any:
        return served.client.post("/gallery", params=parameters, files={"image": photograph_file}).json()

    (face_id,) = post(thumbnails="false")["ids"]
    assert served.client.get(f"/gallery/{face_id}").json()["has_thumbnail"] is False
    assert post()["unchanged"] == 1, "the setting keeps them"
    face = served.client.get(f"/gallery/{face_id}").json()
    picture = Image.open(BytesIO(base64.b64decode(face["thumbnail"])))
    assert (picture.format, picture.size) == ("WEBP", (160, 160))
    listed = served.client.get("/gallery", params={"filter": '{"has_thumbnail": true}'}).json()
    assert [each["id"] for each in listed["faces"]] == [face_id]


def test_retrieval_with_filters_and_exclusions(served: Served) -> None:
    faces = [
        item(f"f{n:02d}", n, subject=f"s{n % 3}", label=("fear", "anger")[n % 2], metadata={"n": n}) for n in range(30)
    ]
    add(served, *faces)
    assert ids(retrieve(served, k=3, filter={"label": "anger", "metadata.n": {"gte": 10}})) == ["f11", "f13", "f15"]
    assert ids(retrieve(served, one_per_subject=True)) == ["f00", "f01", "f02"]
    assert ids(retrieve(served, k=2, exclude_subject=["s0", "s1"])) == ["f02", "f05"]
    assert ids(retrieve(served, max_distance=1.5)) == ["f00", "f01"]
    assert ids(retrieve(served, k=2, mask_copies=True)) == ["f01", "f02"]
    assert ids(retrieve(served, k=50, filter={"metadata.n": {"in": [4, 29]}})) == ["f04", "f29"]


def test_pages_do_not_shift_while_the_gallery_grows(served: Served) -> None:
    add(served, *(item(f"f{n:02d}", n) for n in range(10)))
    first = retrieve(served, k=4)
    add(served, item("nearer", 0.5))
    second = retrieve(served, k=4, after=first.json()["next"])
    third = retrieve(served, k=4, after=second.json()["next"])
    assert ids(first) + ids(second) + ids(third) == [f"f{n:02d}" for n in range(10)]
    assert third.json()["next"] is not None
    assert ids(retrieve(served, k=4, after=third.json()["next"])) == []
    page = served.client.get("/gallery", params={"limit": 4, "statistics": False}).json()
    add(served, item("f00b", 5))
    rest = served.client.get("/gallery", params={"limit": 100, "after": page["next"]}).json()
    listed = [face["id"] for face in page["faces"] + rest["faces"]]
    assert listed == sorted([f"f{n:02d}" for n in range(10)] + ["nearer"])
    assert page["statistics"] is None


def test_all_faces_of_a_subject_are_deleted(served: Served) -> None:
    add(served, *(item(f"f{n}", n, subject=f"s{n % 2}") for n in range(6)))
    assert served.client.delete("/gallery", params={"subject": "s1"}).json() == {"deleted": 3}
    assert served.client.delete("/gallery", params={"subject": "s1"}).json() == {"deleted": 0}
    assert served.client.delete("/gallery", params={"filter": '{"id":"f0"}'}).json() == {"deleted": 1}
    assert ids(retrieve(served)) == ["f2", "f4"]
    assert "either" in problem(served.client.delete("/gallery"), 422)


@pytest.mark.parametrize(
    ("written", "where"),
    [
        ({"emotoin": "fear"}, "$.emotoin"),
        ({"and": [{"label": "fear"}, {"time": {"gt": "soon"}}]}, "$.and[1].time.gt"),
        ({"label": {"like": "f"}}, "$.label.like"),
        ({"or": []}, "$.or"),
        ({}, "$"),
    ],
)
def test_bad_filter_is_answered_with_the_place_of_its_fault(
    served: Served, written: dict[str, Any], where: str
) -> None:
    assert problem(retrieve(served, filter=written), 422).startswith(f"{where}: ")
    assert problem(served.client.get("/gallery", params={"filter": json.dumps(written)}), 422).startswith(f"{where}: ")


def test_filter_that_is_no_json_is_answered_with_the_character(served: Served) -> None:
    assert "character 9" in problem(served.client.get("/gallery", params={"filter": '{"label":}'}), 422)
    problem(served.client.get("/gallery", params={"filter": "[" * 5_000}), 422)


@pytest.mark.parametrize(
    "bad",
    [
        [item("a", 1), item("a", 1)],
        [{"id": "a", "embedding": [1.0]}],
        [{"id": "a", "embedding": point(1e39)}],
        [{"id": "a"}],
        [item("a", 1, metadata={"x": "y" * 20_000})],
        [item("a", 1, metadata=json.loads('{"a":' * 12 + "1" + "}" * 12))],
        [item("a\u0000", 1)],
        [item("../a", 1)],
        [item("x" * 300, 1)],
        [item("a", 1, time="soon")],
        [item("a", 1, colour="red")],
        [],
    ],
)
def test_bad_items_are_refused_and_nothing_is_added(served: Served, bad: list[dict[str, Any]]) -> None:
    problem(add(served, *bad), 422)
    assert served.client.get("/gallery").json()["count"] == 0


def test_nan_in_an_embedding_is_refused(served: Served) -> None:
    body = b'{"items": [{"id": "a", "embedding": [NaN' + b", 0" * 63 + b"]}]}"
    response = served.client.post("/gallery", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert served.client.get("/gallery").json()["count"] == 0


def test_image_without_a_face_refuses_the_whole_addition(served: Served, crop_file: bytes) -> None:
    blank = encode(np.full((240, 320, 3), 127, dtype=np.uint8))
    files = [("images", crop_file), ("images", blank)]
    assert "no face" in problem(served.client.post("/gallery", files=files), 422)
    assert served.client.get("/gallery").json()["count"] == 0


@pytest.mark.parametrize("after", ["x", "W10", "WzEsMl0", "ü"])
def test_invalid_cursor_is_refused(served: Served, after: str) -> None:
    assert "next" in problem(retrieve(served, after=after), 422)
    assert "next" in problem(served.client.get("/gallery", params={"after": after}), 422)


def test_next_page_needs_a_single_face(served: Served, photograph_file: bytes) -> None:
    add(served, item("a", 1))
    after = retrieve(served).json()["next"]
    response = served.client.post("/retrieve", params={"after": after}, files={"image": photograph_file})
    assert "one face" in problem(response, 422)


def test_gallery_that_ships_is_read_only(served_engine: Engine) -> None:
    with TestClient(create_app(served_engine, Settings()), raise_server_exceptions=False) as client:
        assert "MIEN_GALLERY" in problem(client.post("/gallery", json={"items": [item("a", 1)]}), 403)
        problem(client.delete("/gallery", params={"subject": "a"}), 403)
        page = client.get("/gallery", params={"limit": 2}).json()
        assert page["read_only"] is True
        assert page["count"] == served_engine.gallery.count()
        first = served_engine.bundle.gallery.entries[0].id
        assert client.get(f"/gallery/{first}").json()["metadata"]["dataset"] == "FER+"
        body = {"query": {"emotion": "fear"}, "k": 5, "filter": {"label": "disgust"}}
        matches = client.post("/retrieve", json=body).json()["matches"]
        assert [match["label"] for match in matches] == ["disgust"] * 5


def test_emotion_means_the_same_in_filter_answer_statistics_and_atlas(served_engine: Engine) -> None:
    with TestClient(create_app(served_engine, Settings()), raise_server_exceptions=False) as client:
        statistics = client.get("/gallery", params={"limit": 1}).json()["statistics"]
        atlas = client.get("/atlas").json()
        assert {each["id"]: each["faces"] for each in atlas["emotions"]} == statistics["emotions"]
        parts = [part for each in atlas["emotions"] for part in each["sub_classes"]]
        assert {part["id"]: part["faces"] for part in parts if part["faces"]} == statistics["sub_classes"]
        assert sum(part["share"] for part in parts) == pytest.approx(1, abs=1e-3)
        for field in ("emotion", "label"):
            body = {"query": {"emotion": "surprise"}, "k": 200, "filter": {field: "fear"}, "summary": 200}
            answer = client.post("/retrieve", json=body).json()
            assert {match[field] for match in answer["matches"]} == {"fear"}
            other = {match["emotion" if field == "label" else "label"] for match in answer["matches"]}
            assert len(other) > 1, "raters and mixture differ on some"
            assert ({each["emotion"] for each in answer["summary"]["sub_classes"]} == {"fear"}) is (field == "emotion")
        condition = json.dumps({"emotion": "fear"})
        page = client.get("/gallery", params={"filter": condition, "limit": 1, "statistics": "false"}).json()
        assert page["count"] == statistics["emotions"]["fear"]


def test_new_gallery_is_seeded_where_the_settings_say_so(served_engine: Engine, tmp_path: Path) -> None:
    from mien.service.inference.served_gallery import open_store

    settings = Settings(gallery=tmp_path / "gallery", gallery_seed=True)
    store = open_store(settings, served_engine.bundle)
    assert store.count() == served_engine.gallery.count()
    face_id = served_engine.bundle.gallery.entries[0].id
    store.delete([face_id])
    store.close()
    store = open_store(settings, served_engine.bundle)
    assert store.count() == served_engine.gallery.count() - 1, "it is seeded once"
    store.close()

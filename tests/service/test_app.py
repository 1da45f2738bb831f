"""The service over HTTP, in process."""

import json
import logging
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mien.model.emotions import EMOTIONS
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.answers import CROPPED, form_head, problem
from tests.support.cartoon import cartoon
from tests.support.faces import MakeFaces
from tests.support.images import encode

PART = form_head("image")


@pytest.fixture(scope="module")
def client(served_engine: Engine) -> Iterator[TestClient]:
    with TestClient(
        create_app(served_engine, Settings(max_body_bytes=3 * 2**20)), raise_server_exceptions=False
    ) as client:
        yield client


def test_classify_answers_as_documented(client: TestClient, served_engine: Engine, crop_file: bytes) -> None:
    response = client.post("/classify", params=CROPPED, files={"image": crop_file})
    assert response.status_code == 200
    (face,) = response.json()["faces"]
    assert set(face) == {
        "box", "detection", "emotion", "posterior", "sub_class", "sub_class_name", "distance", "typicality", "known",
        "intensity", "quality", "reasons",
    }  # fmt: skip
    assert face["box"] == [0, 0, 48, 48]
    assert face["detection"] is None
    assert tuple(face["posterior"]) == EMOTIONS
    assert sum(face["posterior"].values()) == pytest.approx(1, abs=1e-5)
    assert max(face["posterior"], key=face["posterior"].get) == face["emotion"]
    assert 0 <= face["typicality"] <= 1
    assert face["distance"] > 0
    assert face["sub_class"].startswith(f"{face['emotion']}/")
    assert face["sub_class_name"] == served_engine.bundle.sub_class_names[face["sub_class"]]
    assert face["known"] is (face["typicality"] >= served_engine.bundle.mixture.min_typicality)


def test_prior_is_a_parameter_and_a_setting(client: TestClient, served_engine: Engine, crop_file: bytes) -> None:
    def ask(client: TestClient, path: str = "/classify", **parameters: str) -> Any:
        return client.post(path, params=CROPPED | parameters, files={"image": crop_file})

    uniform, data = ask(client).json(), ask(client, prior="data").json()
    assert (uniform["prior"], data["prior"]) == ("uniform", "data")
    assert uniform["faces"][0]["posterior"] != data["faces"][0]["posterior"]
    assert uniform["faces"][0]["typicality"] == data["faces"][0]["typicality"]
    assert ask(client, prior="uniform").json() == uniform
    assert ask(client, "/embed", prior="data").json()["faces"][0]["posterior"] == data["faces"][0]["posterior"]
    assert ask(client, prior="equal").status_code == 422
    retrieved = ask(client, "/retrieve", prior="data").json()
    assert retrieved["prior"] == "data"
    assert retrieved["faces"][0]["posterior"] == data["faces"][0]["posterior"]
    assert retrieved["faces"][0]["matches"] == ask(client, "/retrieve").json()["faces"][0]["matches"]
    query = {"embedding": retrieved["faces"][0]["embedding"]}
    point = client.post("/retrieve", json={"query": query, "prior": "data"}).json()
    assert (point["prior"], point["posterior"]) == ("data", data["faces"][0]["posterior"])
    settings = Settings(prior="data")
    engine = Engine(served_engine.bundle, served_engine.pipeline, settings.max_k, prior=settings.prior)
    with TestClient(create_app(engine, settings)) as other:
        assert ask(other).json() == data
        assert ask(other, prior="uniform").json() == uniform
        heat = ask(other, "/explain").json()
        assert heat["probability"] == pytest.approx(max(data["faces"][0]["posterior"].values()), abs=1e-5)


def test_retrieve_answers_as_documented(client: TestClient, served_engine: Engine, crop_file: bytes) -> None:
    response = client.post(
        "/retrieve", params={**CROPPED, "k": 7, "filter": '{"has_thumbnail": false}'}, files={"image": crop_file}
    )
    assert response.status_code == 200
    (face,) = response.json()["faces"]
    (classified,) = client.post("/embed", params=CROPPED, files={"image": crop_file}).json()["faces"]
    assert face == classified | {name: face[name] for name in ("matches", "next", "photographs", "summary")}
    distances = [match["distance"] for match in face["matches"]]
    assert len(distances) == 7
    assert distances == sorted(distances)
    embedding = served_engine.pipeline.embed(served_engine.pipeline.read_faces(crop_file, already_cropped=True))[
        0
    ].astype(np.float64)
    all_distances = np.linalg.norm(served_engine.bundle.gallery.embeddings - embedding, axis=1)
    np.testing.assert_allclose(distances, np.sort(all_distances)[:7], atol=1e-4)
    for match in face["matches"]:
        entry = served_engine.bundle.gallery.get(match["id"])
        assert match["label"] == entry.emotion
        assert match["metadata"] == entry.metadata
        assert match["metadata"]["votes"]


def test_faces_are_answered_largest_first(client: TestClient) -> None:
    sheet = Image.new("RGB", (1000, 500), (90, 120, 150))
    sheet.paste(Image.fromarray(cartoon(200)), (50, 20))
    sheet.paste(Image.fromarray(cartoon(450)), (500, 20))
    response = client.post("/classify", files={"image": encode(sheet, "JPEG")})
    assert response.status_code == 200
    large, small = response.json()["faces"]
    assert large["box"][2] > 1.8 * small["box"][2]
    assert large["box"][0] > 500 > small["box"][0]
    assert 0.5 < large["detection"] <= 1


def test_photograph_is_rotated_by_its_exif_orientation(client: TestClient) -> None:
    upright = Image.fromarray(cartoon(400)).crop((40, 0, 360, 400))
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: show it turned by a quarter
    buffer = BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    turned = client.post("/classify", files={"image": buffer.getvalue()}).json()
    assert turned == client.post("/classify", files={"image": encode(upright, "PNG")}).json()


def test_retrieve_answers_ten_matches_by_default(client: TestClient, crop_file: bytes) -> None:
    face = client.post("/retrieve", params=CROPPED, files={"image": crop_file}).json()["faces"][0]
    assert len(face["matches"]) == 10


@pytest.mark.parametrize(
    "image",
    [
        encode(Image.new("RGB", (90, 90), "teal"), "JPEG"),
        encode(Image.new("CMYK", (90, 90)), "JPEG"),
        encode(Image.new("P", (90, 90)), "GIF"),
        encode(Image.new("I;16", (90, 90), 40_000), "PNG"),
        encode(Image.new("RGBA", (90, 40), (1, 2, 3, 4)), "WEBP"),
        encode(Image.new("1", (1, 1)), "PNG"),
    ],
)
@pytest.mark.parametrize("path", ["/classify", "/retrieve"])
def test_unusual_image_modes_are_answered(client: TestClient, path: str, image: bytes) -> None:
    assert client.post(path, params=CROPPED, files={"image": image}).status_code == 200


@pytest.mark.parametrize("path", ["/classify", "/retrieve"])
class TestBadInput:
    def test_not_an_image(self, client: TestClient, path: str) -> None:
        assert "image" in problem(client.post(path, files={"image": b"plain text, no picture"}), 415)

    def test_truncated(self, client: TestClient, path: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
        whole = encode(Image.fromarray(noise), "JPEG")
        problem(client.post(path, files={"image": whole[: len(whole) // 2]}), 422)

    def test_empty(self, client: TestClient, path: str) -> None:
        assert "no bytes" in problem(client.post(path, files={"image": b""}), 422)

    def test_bomb(self, client: TestClient, path: str) -> None:
        bomb = encode(Image.new("1", (20_000, 20_000)), "PNG")
        assert len(bomb) < 2**20
        assert "pixels" in problem(client.post(path, files={"image": bomb}), 413)

    def test_no_face(self, client: TestClient, path: str) -> None:
        blank = encode(Image.new("RGB", (320, 240), "teal"), "JPEG")
        assert "no face was found" in problem(client.post(path, files={"image": blank}), 422)

    def test_missing_field(self, client: TestClient, path: str) -> None:
        detail = problem(client.post(path, files={"photo": b"x"}), 422)
        assert "'image'" in detail
        assert "photo" in detail

    def test_text_in_place_of_a_file(self, client: TestClient, path: str) -> None:
        body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nhello\r\n--b--\r\n'
        headers = {"content-type": "multipart/form-data; boundary=b"}
        assert "file, got text" in problem(client.post(path, content=body, headers=headers), 422)

    def test_two_images(self, client: TestClient, path: str, crop_file: bytes) -> None:
        sent = [("image", crop_file), ("image", crop_file)]
        assert "got 2" in problem(client.post(path, params=CROPPED, files=sent), 422)

    def test_no_body(self, client: TestClient, path: str) -> None:
        assert "no content type" in problem(client.post(path), 422)

    def test_a_body_of_another_kind(self, client: TestClient, path: str) -> None:
        headers = {"content-type": "text/plain"}
        assert "text/plain" in problem(client.post(path, content=b"x", headers=headers), 422)

    @pytest.mark.parametrize(
        ("content_type", "body", "status"),
        [
            ("multipart/form-data", b"x", 400),
            ("multipart/form-data; boundary=b", b"no boundary anywhere", 400),
            ("multipart/form-data; boundary=b", b"", 400),
            ("multipart/form-data; boundary=b", b"--b\r\nbroken", 400),
            ("multipart/form-data; boundary=b", PART + b"cut off in the file", 400),
            ("multipart/form-data; boundary=b", PART + b"cut off before the end\r\n", 400),
            ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", 400),
            ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\nx\r\n--b--\r\n", 400),
            ("multipart/form-data; boundary=\xff", b"--", 400),
            ("multipart/form-data; boundary=b", b"--b--\r\n", 422),
        ],
    )
    def test_broken_form(self, client: TestClient, path: str, content_type: str, body: bytes, status: int) -> None:
        headers = [(b"content-type", content_type.encode("latin-1"))]
        problem(client.post(path, content=body, headers=headers), status)

    def test_body_over_the_limit(self, client: TestClient, path: str) -> None:
        assert "3145728 bytes" in problem(client.post(path, files={"image": bytes(4 * 2**20)}), 413)

    def test_body_over_the_limit_without_a_declared_length(self, client: TestClient, path: str) -> None:
        def chunks() -> Iterator[bytes]:
            yield form_head("image")
            for _ in range(50):
                yield bytes(2**17)

        headers = {"content-type": "multipart/form-data; boundary=b"}
        assert "bytes" in problem(client.post(path, content=chunks(), headers=headers), 413)

    def test_misspelt_parameter(self, client: TestClient, path: str, crop_file: bytes) -> None:
        detail = problem(client.post(path, params={"already_croped": 1}, files={"image": crop_file}), 422)
        assert detail == "there is no parameter 'already_croped'; /docs lists those there are"

    def test_parameter_of_another_type(self, client: TestClient, path: str, crop_file: bytes) -> None:
        detail = problem(client.post(path, params={"already_cropped": "maybe"}, files={"image": crop_file}), 422)
        assert "already_cropped" in detail
        assert "maybe" in detail

    def test_another_method(self, client: TestClient, path: str) -> None:
        response = client.get(path)
        assert "POST" in problem(response, 405)
        assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("k", [0, -1, 10**9, 10**30, "many", 1.5, ""])
def test_k_out_of_range(client: TestClient, crop_file: bytes, k: object) -> None:
    detail = problem(client.post("/retrieve", params={**CROPPED, "k": str(k)}, files={"image": crop_file}), 422)
    assert "k" in detail
    assert str(k) in detail


def test_unknown_route(client: TestClient) -> None:
    assert "/nowhere" in problem(client.get("/nowhere"), 404)
    problem(client.post("/classify/"), 404)


def test_problem_does_not_repeat_kilobytes_of_the_request(client: TestClient, crop_file: bytes) -> None:
    for parameters in ({"k": "9" * 5000}, {"x" * 5000: "1"}, {f"x{number}": "1" for number in range(500)}):
        detail = problem(client.post("/retrieve", params={**CROPPED, **parameters}, files={"image": crop_file}), 422)
        assert len(detail) < 400


def test_internal_error_does_not_show_its_message(
    served_engine: Engine, crop_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(served_engine.gallery, "search", fail)
    with TestClient(create_app(served_engine, Settings()), raise_server_exceptions=False) as client:
        response = client.post("/retrieve", params=CROPPED, files={"image": crop_file})
    assert "secret" not in problem(response, 500)


def test_health(served_engine: Engine) -> None:
    client = TestClient(create_app(served_engine, Settings()))
    assert client.get("/health/live").json() == {"status": "live"}
    problem(client.get("/health/ready"), 503)
    with client:
        assert client.get("/health/ready").json() == {"status": "ready"}
    assert problem(client.get("/health/ready"), 503)
    assert client.get("/health/ready").headers["retry-after"]


def test_docs_load_nothing_from_other_hosts(client: TestClient) -> None:
    for path in ("/docs", "/redoc"):
        page = client.get(path)
        assert page.status_code == 200
        assert "http://" not in page.text
        assert "https://" not in page.text
        assert "/docs/files/" in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png"):
        assert client.get(f"/docs/files/{name}").status_code == 200
    assert client.get("/").headers["content-type"].startswith("text/html")


def test_openapi_has_examples_and_problems(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    for path in ("/classify", "/retrieve"):
        operation = description["paths"][path]["post"]
        assert "image" in operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        assert {"200", "400", "413", "415", "422"} <= operation["responses"].keys()
        assert operation["responses"]["422"]["content"].keys() == {"application/problem+json"}
        assert {parameter["name"] for parameter in operation["parameters"]} >= {"already_cropped"}
    schemas = description["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    for name in ("Face", "MatchedFace", "FoundMatch"):
        for field, schema in schemas[name]["properties"].items():
            assert field in ("matches", "photographs", "quality", "summary") or schema.get("examples"), (
                f"{name}.{field} has no example"
            )
    # Every reference leads somewhere.
    for reference in {part.split('"')[0] for part in json.dumps(description).split('"#/components/schemas/')[1:]}:
        assert reference in schemas


def test_uploads_are_not_written_to_disk_or_log(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    large = encode(noise)
    assert len(large) > 2**20, "Starlette keeps smaller files in memory anyway"
    import tempfile

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was opened")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with caplog.at_level(logging.DEBUG):
        response = client.post("/classify", params=CROPPED, files={"image": ("secret-name.png", large)})
    assert response.status_code == 200
    assert "secret-name" not in caplog.text


def test_concurrent_requests_are_answered_as_alone(client: TestClient, make_faces: MakeFaces) -> None:
    from concurrent.futures import ThreadPoolExecutor

    images = [encode(crop) for crop in make_faces(16, seed=9).images]

    def ask(image: bytes) -> object:
        return client.post("/retrieve", params={**CROPPED, "k": 3}, files={"image": image}).json()

    alone = [ask(image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, images)) == alone


def test_every_get_answers_head(served_engine: Engine) -> None:
    """With the same status and headers, and no body."""
    with TestClient(create_app(served_engine, Settings(rate_per_s=0))) as client:
        paths = [path for path, methods in client.get("/openapi.json").json()["paths"].items() if "get" in methods]
        assert len(paths) > 8
        assert not any("head" in methods for methods in client.get("/openapi.json").json()["paths"].values())
        for path in [*paths, "/", "/docs", "/redoc", "/openapi.json", "/page/app.js"]:
            asked = path.replace("{face_id}", "nobody").replace("{", "").replace("}", "")
            got, head = client.get(asked), client.head(asked)
            assert head.status_code == got.status_code, path
            assert head.headers["content-type"] == got.headers["content-type"], path
            assert not head.content, path
        assert client.head("/classify").status_code == 405

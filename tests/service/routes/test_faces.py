"""Several images, JSON bodies, points as queries, and which faces are answered."""

import base64
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mien.index.fitting.drawn_coverings import SEEN, cover_photograph
from mien.model.faces.quality import SMALL_PX
from mien.service.answers.faces import REASONS
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.answers import CROPPED
from tests.support.data import ROOT, london_photographs, needs_london
from tests.support.images import encode


@pytest.fixture(scope="module")
def client(served_engine: Engine) -> Iterator[TestClient]:
    settings = Settings(max_images=4, max_faces=5, rate_per_s=0)
    with TestClient(create_app(served_engine, settings)) as client:
        yield client


def retrieve(client: TestClient, query: object, **rest: object) -> Any:
    response = client.post("/retrieve", json={"query": query, **rest})
    assert response.status_code == 200, response.text
    return response.json()


def refusal(client: TestClient, body: object) -> str:
    response = client.post("/retrieve", json=body)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["detail"])


@pytest.mark.parametrize("path", ["/classify", "/retrieve", "/embed"])
class TestSeveralImages:
    def test_each_image_is_answered_separately(self, client: TestClient, path: str, crop_file: bytes) -> None:
        sent = [("images", crop_file), ("images", b"no picture"), ("images", b""), ("images", crop_file)]
        response = client.post(path, params=CROPPED, files=sent)
        assert response.status_code == 200
        first, second, third, fourth = response.json()["images"]
        assert first == fourth == client.post(path, params=CROPPED, files={"image": crop_file}).json()
        assert second["problem"]["type"] == "urn:mien:unsupported-image"
        assert second["problem"]["status"] == 415
        assert third["problem"]["type"] == "urn:mien:empty-image"

    def test_one_image_sent_as_images_is_answered_as_a_list(
        self, client: TestClient, path: str, crop_file: bytes
    ) -> None:
        (answer,) = client.post(path, params=CROPPED, files=[("images", crop_file)]).json()["images"]
        assert answer["faces"]

    def test_too_many(self, client: TestClient, path: str, crop_file: bytes) -> None:
        response = client.post(path, params=CROPPED, files=[("images", crop_file)] * 5)
        assert response.status_code == 413
        assert response.json()["detail"] == "a request may have 4 images, this one has 5"
        texts = [base64.b64encode(crop_file).decode()] * 5
        assert client.post(path, params=CROPPED, json={"images": texts}).status_code == 413

    def test_both_fields(self, client: TestClient, path: str, crop_file: bytes) -> None:
        response = client.post(path, params=CROPPED, files=[("images", crop_file), ("image", crop_file)])
        assert response.status_code == 422
        assert "got 1 and 1" in response.json()["detail"]

    def test_json(self, client: TestClient, path: str, crop_file: bytes) -> None:
        text = base64.b64encode(crop_file).decode()
        alone = client.post(path, params=CROPPED, files={"image": crop_file}).json()
        assert client.post(path, params=CROPPED, json={"image": text}).json() == alone
        assert client.post(path, params=CROPPED, json={"image": f"data:image/png;base64,{text}"}).json() == alone
        answers = client.post(path, params=CROPPED, json={"images": [text, "not base64!", "AAAA"]}).json()["images"]
        assert answers[0] == alone
        assert [answer["problem"]["type"] for answer in answers[1:]] == [
            "urn:mien:malformed-image",
            "urn:mien:unsupported-image",
        ]

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"{", 400),
            (b"", 400),
            (b"[]", 422),
            (b"{}", 422),
            (b'{"image": 3}', 422),
            (b'{"images": []}', 422),
            (b'{"image": "AAAA", "images": ["AAAA"]}', 422),
            (b'{"image": "AAAA", "other": 1}', 422),
            (b'{"image": ""}', 422),
            (b'{"image": "' + b"[" * 5000 + b'"}', 422),
            (b"[" * 100_000, 400),
            (b"\xff\xfe", 400),
        ],
    )
    def test_invalid_json_is_refused(self, client: TestClient, path: str, body: bytes, status: int) -> None:
        response = client.post(path, content=body, headers={"content-type": "application/json; charset=utf-8"})
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert len(response.json()["detail"]) < 400


class TestFaces:
    @pytest.mark.parametrize(("faces", "count"), [("all", 2), ("largest", 1), ("1", 1), ("2", 2), ("5", 2)])
    def test_largest_faces_can_be_chosen(
        self, client: TestClient, photograph_file: bytes, faces: str, count: int
    ) -> None:
        every = client.post("/classify", files={"image": photograph_file}).json()["faces"]
        some = client.post("/classify", params={"faces": faces}, files={"image": photograph_file}).json()["faces"]
        assert some == every[:count]

    @pytest.mark.parametrize("faces", ["0", "-1", "6", "some", "", "1.5"])
    def test_out_of_range(self, client: TestClient, photograph_file: bytes, faces: str) -> None:
        response = client.post("/classify", params={"faces": faces}, files={"image": photograph_file})
        assert response.status_code == 422
        assert "faces" in response.json()["detail"]


def test_embed_answers_the_embedding(client: TestClient, served_engine: Engine, crop_file: bytes) -> None:
    (face,) = client.post("/embed", params=CROPPED, files={"image": crop_file}).json()["faces"]
    (classified,) = client.post("/classify", params=CROPPED, files={"image": crop_file}).json()["faces"]
    assert {**face, "embedding": None} == {**classified, "embedding": None}, "all that /classify says, and the point"
    pipeline = served_engine.pipeline
    (alone,) = pipeline.embed(pipeline.read_faces(crop_file, already_cropped=True))
    np.testing.assert_allclose(face["embedding"], alone, rtol=1e-5, atol=1e-5)


class TestPoints:
    def test_embedding_has_the_matches_of_its_image(self, client: TestClient, crop_file: bytes) -> None:
        (face,) = client.post("/embed", params=CROPPED, files={"image": crop_file}).json()["faces"]
        (found,) = client.post("/retrieve", params={**CROPPED, "k": 7}, files={"image": crop_file}).json()["faces"]
        answer = retrieve(client, {"embedding": face["embedding"]}, k=7)
        assert set(answer) == {
            "emotion",
            "posterior",
            "prior",
            "embedding",
            "matches",
            "next",
            "photographs",
            "summary",
        }
        assert answer["matches"] == found["matches"]
        assert answer["emotion"] == face["emotion"] == found["emotion"]
        assert answer["posterior"] == face["posterior"]
        assert answer["embedding"] == face["embedding"]

    def test_photographs_and_summary_come_with_the_matches(self, client: TestClient, crop_file: bytes) -> None:
        options: dict[str, Any] = {"k": 40, "photographs": 6, "summary": 30}
        response = client.post("/retrieve", params={**CROPPED, **options}, files={"image": crop_file})
        (face,) = response.json()["faces"]
        answer = retrieve(client, {"embedding": face["embedding"]}, **options)
        assert answer["photographs"] == face["photographs"]
        assert answer["summary"] == face["summary"]
        pictured = retrieve(client, {"embedding": face["embedding"]}, k=6, filter={"has_thumbnail": True})["matches"]
        assert face["photographs"] == pictured
        assert all(match["has_thumbnail"] and match["metadata"]["attribution"] for match in pictured)
        summary, nearest = face["summary"], face["matches"][:30]
        assert (summary["faces"], summary["farthest"]) == (30, nearest[-1]["distance"])
        found = [match["sub_class"] for match in nearest]
        assert {each["sub_class"]: each["faces"] for each in summary["sub_classes"]} == Counter(found)
        assert sum(each["share"] for each in summary["sub_classes"]) == pytest.approx(1)
        assert [each["faces"] for each in summary["sub_classes"]] == sorted(Counter(found).values(), reverse=True)

    def test_photographs_and_summary_keep_to_the_filter(self, client: TestClient) -> None:
        condition = {"metadata.collection": "London faces", "label": "neutral"}
        answer = retrieve(client, {"emotion": "fear"}, k=1, photographs=50, summary=50, filter=condition)
        assert len(answer["photographs"]) == answer["summary"]["faces"] == 20
        assert {match["label"] for match in answer["photographs"]} == {"neutral"}
        assert len(answer["matches"]) == 1
        assert {bool(each["votes"]) for each in answer["summary"]["sub_classes"]} == {False}

    def test_numbers_of_photographs_and_summary_are_checked(self, client: TestClient) -> None:
        query = {"emotion": "fear"}
        assert "photographs must be from 0 to 1000, got 1001" in refusal(client, {"query": query, "photographs": 1001})
        assert "summary must be from 0 to 1000, got 5000" in refusal(client, {"query": query, "summary": 5000})
        after = retrieve(client, query)["next"]
        assert "of the first page" in refusal(client, {"query": query, "after": after, "summary": 5})

    def test_first_match_of_a_gallery_face_is_itself(self, client: TestClient, served_engine: Engine) -> None:
        entry = served_engine.bundle.gallery.entries[17]
        answer = retrieve(client, {"id": entry.id})
        assert len(answer["matches"]) == 10
        assert answer["matches"][0]["distance"] == 0
        assert entry.id in {match["id"] for match in answer["matches"] if match["distance"] == 0}

    def test_emotion_query_is_its_centroid(self, client: TestClient, served_engine: Engine) -> None:
        mixture = served_engine.bundle.mixture
        for row, emotion in enumerate(mixture.emotions):
            answer = retrieve(client, {"emotion": emotion}, k=1)
            assert answer["emotion"] == emotion
            np.testing.assert_allclose(answer["embedding"], mixture.centroids[row], rtol=1e-5, atol=1e-5)

    def test_mix_is_the_weighted_mean(self, client: TestClient, served_engine: Engine) -> None:
        mixture = served_engine.bundle.mixture
        surprise, happiness = (mixture.centroids[mixture.emotions.index(name)] for name in ("surprise", "happiness"))
        query = [{"weight": 0.5, "query": {"emotion": name}} for name in ("surprise", "happiness")]
        answer = retrieve(client, {"mix": query})
        np.testing.assert_allclose(answer["embedding"], (surprise + happiness) / 2, rtol=1e-5, atol=1e-5)
        nested = [{"weight": 3, "query": {"mix": query}}, {"weight": 1, "query": {"emotion": "surprise"}}]
        answer = retrieve(client, {"mix": nested})
        np.testing.assert_allclose(answer["embedding"], 0.625 * surprise + 0.375 * happiness, rtol=1e-5, atol=1e-5)

    def test_sub_classes(self, client: TestClient, served_engine: Engine) -> None:
        sub_classes = served_engine.bundle.sub_classes
        if sub_classes is None:
            assert "has no sub-classes" in refusal(client, {"query": {"sub_class": "happiness/2"}})
            return
        for each in sub_classes.each:
            answer = retrieve(client, {"sub_class": each.id}, k=1)
            np.testing.assert_allclose(answer["embedding"], each.centroid, rtol=1e-5, atol=1e-5)
        assert "no sub-class 'happiness/99'" in refusal(client, {"query": {"sub_class": "happiness/99"}})

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ({"embedding": [1.0] * 63}, "64 numbers, got 63"),
            ({"embedding": [1.0] * 5000}, ""),
            ({"embedding": [1e30] * 64}, ""),
            ({"embedding": []}, "got 0"),
            ({"id": "nobody"}, "no face with the id 'nobody'"),
            ({"emotion": "joy"}, "got 'joy'"),
            ({"mix": []}, ""),
            ({"mix": [{"weight": 0, "query": {"emotion": "fear"}}]}, "weight"),
            ({"mix": [{"weight": -1, "query": {"emotion": "fear"}}]}, "weight"),
            ({"mix": [{"weight": 1, "query": {"emotion": "fear"}}] * 17}, ""),
            ({"emotion": "fear", "id": "x"}, ""),
            ({}, "expected one of 'embedding', 'id'"),
            (None, "expected one of"),
            ("happiness", ""),
        ],
    )
    def test_invalid_queries_are_refused(self, client: TestClient, query: object, says: str) -> None:
        assert says in refusal(client, {"query": query})

    @pytest.mark.parametrize("parameter", ["k", "already_cropped", "faces", "filter", "one_per_subject"])
    def test_query_parameters_of_images_are_refused_by_name(self, client: TestClient, parameter: str) -> None:
        value = {"k": "3", "faces": "all", "filter": '{"emotion":"fear"}'}.get(parameter, "true")
        response = client.post("/retrieve", params={parameter: value}, json={"query": {"emotion": "fear"}})
        assert response.status_code == 422
        assert response.json()["detail"].endswith(f"got the parameters {parameter}")

    def test_body_with_a_query_and_images_is_refused(self, client: TestClient) -> None:
        for body in ({"query": {"emotion": "fear"}, "image": "AAAA"}, {"images": ["AAAA"], "query": {"id": "x"}}):
            assert "not as /docs says" in refusal(client, body)

    def test_kind_of_a_body_does_not_depend_on_its_length(self, client: TestClient, crop_file: bytes) -> None:
        """Nor on text inside an image."""
        body = '{"filter": {"emotion": "fear"}, "k": 2' + " " * 5000 + ', "query": {"emotion": "fear"}}'
        response = client.post("/retrieve", content=body, headers={"content-type": "application/json"})
        assert len(response.json()["matches"]) == 2
        assert "base64" in client.post("/retrieve", json={"image": '"query"'}).json()["detail"]

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
    def test_numbers_that_are_not_finite_are_refused(self, client: TestClient, number: str) -> None:
        body = '{"query": {"embedding": [' + ", ".join([number] * 64) + "]}}"
        response = client.post("/retrieve", content=body, headers={"content-type": "application/json"})
        assert response.status_code in (400, 422)

    def test_mix_of_too_many_points_is_refused(self, client: TestClient) -> None:
        query: object = {"emotion": "fear"}
        for _ in range(3):
            query = {"mix": [{"weight": 1, "query": query}] * 5}
        assert "may come down to 64 points" in refusal(client, {"query": query})
        for _ in range(2000):
            query = {"mix": [{"weight": 1, "query": {"emotion": "fear"}}]}
        deep = '{"query": ' + '{"mix": [{"weight": 1, "query": ' * 3000 + '{"id": "x"}' + "}]}" * 3000 + "}"
        response = client.post("/retrieve", content=deep, headers={"content-type": "application/json"})
        assert response.status_code in (400, 422)

    @pytest.mark.parametrize("k", [0, -1, 1001, 10**30, "many", 1.5, None])
    def test_k_out_of_range(self, client: TestClient, k: object) -> None:
        assert "k" in refusal(client, {"query": {"emotion": "fear"}, "k": k})

    def test_concurrent_point_queries_are_answered_as_alone(self, client: TestClient, served_engine: Engine) -> None:
        from concurrent.futures import ThreadPoolExecutor

        queries = [
            ({"id": entry.id}, 1 + number % 3) for number, entry in enumerate(served_engine.bundle.gallery.entries[:24])
        ]
        alone = [retrieve(client, query, k=k) for query, k in queries]
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(lambda each: retrieve(client, each[0], k=each[1]), queries)) == alone


def test_many_faces_are_embedded_in_several_batches(served_engine: Engine, photograph_file: bytes) -> None:
    with TestClient(create_app(served_engine, Settings(batch_faces=1))) as client:
        parts = client.post("/retrieve", params={"k": 3}, files={"image": photograph_file}).json()["faces"]
    with TestClient(create_app(served_engine, Settings(batch_faces=50))) as client:
        whole = client.post("/retrieve", params={"k": 3}, files={"image": photograph_file}).json()["faces"]
    assert [face["box"] for face in parts] == [face["box"] for face in whole]
    for one, other in zip(parts, whole, strict=True):
        assert [match["id"] for match in one["matches"]] == [match["id"] for match in other["matches"]]


class TestQuality:
    def test_photograph_has_size_pose_and_what_is_wrong(self, client: TestClient, photograph_file: bytes) -> None:
        for path in ("/classify", "/embed"):
            for face in client.post(path, files={"image": photograph_file}).json()["faces"]:
                quality = face["quality"]
                assert quality["face_px"] == pytest.approx(face["box"][3], rel=0.6)
                assert all(-90 <= quality[angle] <= 90 for angle in ("yaw", "pitch"))
                assert (face["intensity"] is None) is (face["emotion"] == "neutral")
                assert set(face["reasons"]) <= set(REASONS)
                assert ("untypical" in face["reasons"]) is not face["known"]
                assert ("small" in face["reasons"]) is (quality["face_px"] < SMALL_PX)

    def test_small_and_blurred_crop_says_so(self, client: TestClient, crop_file: bytes) -> None:
        with Image.open(BytesIO(crop_file)) as crop:
            small = encode(np.asarray(crop.resize((20, 20))))
        (face,) = client.post("/classify", params=CROPPED, files={"image": small}).json()["faces"]
        assert face["quality"]["face_px"] == 20
        assert face["quality"]["yaw"] is None
        assert {"small", "blurred"} <= set(face["reasons"])

    @needs_london
    @pytest.mark.parametrize(("part", "kind"), [("mouth", 0), ("eyes", 6)])
    def test_covered_photograph_says_what_is_covered(
        self, client: TestClient, served_engine: Engine, part: str, kind: int
    ) -> None:
        photographs = [
            np.array(Image.open(path).convert("RGB").resize((600, 600))) for path in london_photographs()[:3]
        ]
        noticed = 0
        for photograph in photographs:
            clear = client.post("/classify", files={"image": encode(photograph)}).json()["faces"][0]
            assert f"{part}_covered" not in clear["reasons"]
            (face, *_) = served_engine.pipeline.crop_faces(photograph)
            assert face.landmarks is not None
            drawn = cover_photograph(photograph, SEEN[kind], face.landmarks, seed=1)
            faces = client.post("/classify", files={"image": encode(drawn)}).json()["faces"]
            noticed += f"{part}_covered" in faces[0]["reasons"]
        assert noticed >= 2

    def test_each_reason_is_documented(self) -> None:
        text = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")
        assert [code for code in REASONS if f"| `{code}` |" not in text] == []

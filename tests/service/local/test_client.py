"""Answers in this process: those of the service, for every form of an image, alone and in lists."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mien
from mien.index.errors import BundleError, QueryError
from mien.model.errors import ConfigError, ImageTooLargeError, NoFaceError, UnsupportedImageError
from mien.model.faces.decoding import DecodingLimits
from mien.service.answers.faces import Classification, Embedding, Retrieval
from mien.service.answers.options import BatchOptions, ClassificationOptions, FaceOptions, RetrievalOptions
from mien.service.app import create_app
from mien.service.client import Client, operations
from mien.service.inference.engine import Engine
from mien.service.inference.prediction import Prediction
from mien.service.local.client import LocalClient
from mien.service.settings import Settings
from tests.support.cartoon import cartoon
from tests.support.data import ROOT
from tests.support.engines import gallery_engine
from tests.support.faces import MakeFaces
from tests.support.images import encode
from tests.support.serving import served_app


@pytest.fixture(scope="module")
def local(served_engine: Engine) -> LocalClient:
    return LocalClient(served_engine)


@pytest.fixture(scope="module")
def client(served_engine: Engine) -> Iterator[Client]:
    with served_app(create_app(served_engine, Settings(rate_per_s=0))) as url, Client(url) as client:
        yield client


def test_answers_are_those_of_the_service(local: LocalClient, client: Client, photograph_file: bytes) -> None:
    assert local.classify(photograph_file) == client.classify(photograph_file)
    assert local.embed(photograph_file, faces="largest") == client.embed(photograph_file, faces="largest")
    by_shares = local.classify(photograph_file, prior="data")
    assert by_shares == client.classify(photograph_file, prior="data") != local.classify(photograph_file)
    assert local.embed([photograph_file], prior="data") == [client.embed(photograph_file, prior="data")]
    options: dict[str, Any] = {
        "k": 4,
        "mask_copies": True,
        "filter": {"label": "fear"},
        "max_distance": 9.0,
        "photographs": 2,
        "summary": 20,
    }
    assert local.retrieve(photograph_file, **options) == client.retrieve(photograph_file, **options)
    query = {"emotion": "surprise"}
    assert local.nearest(query, k=3) == client.nearest(query, k=3)
    after = local.nearest(query, k=2).next
    assert local.nearest(query, k=2, after=after).matches == client.nearest(query, k=4).matches[2:]


def test_embedding_of_pixels_is_that_of_the_same_picture_as_a_file(local: LocalClient, tmp_path: Path) -> None:
    pixels = cartoon(300)
    path = tmp_path / "face.png"
    path.write_bytes(encode(pixels))
    with path.open("rb") as opened:
        for already_cropped in (False, True):
            expected = local.embed(path, already_cropped=already_cropped)
            images: list[Any] = [str(path), path.read_bytes(), opened, BytesIO(path.read_bytes())]
            images += [pixels, pixels / 255, Image.fromarray(pixels), Image.open(path)]
            for image in images:
                assert local.embed(image, already_cropped=already_cropped) == expected
            assert local.embed(pixels[:, :, ::-1], colour="bgr", already_cropped=already_cropped) == expected
            assert local.embed(pixels[:, :, ::-1], already_cropped=already_cropped) != expected
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    expected = local.embed(encode(grey))
    for image in (grey, grey[:, :, None], grey / np.float32(255)):
        assert local.embed(image) == expected


def test_list_is_answered_in_its_order_with_errors_in_place(
    local: LocalClient, make_faces: MakeFaces, tmp_path: Path
) -> None:
    crops = list(make_faces(5).images)
    calls: list[tuple[int, int | None]] = []
    answers = local.classify(
        [*crops[:2], tmp_path / "gone.png", b"no image", crops[2].astype(np.int64), *crops[3:]],
        already_cropped=True,
        batch=3,
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert [type(answer) for answer in answers] == [
        *[Classification] * 2,
        FileNotFoundError,
        *[UnsupportedImageError] * 2,
        *[Classification] * 2,
    ]
    assert calls == [(3, 7), (6, 7), (7, 7)]
    for crop, answer in zip(crops[3:], answers[5:], strict=True):
        assert isinstance(answer, Classification)
        (face,) = answer.faces
        (alone,) = local.classify(crop, already_cropped=True).faces
        assert face.posterior == pytest.approx(alone.posterior, abs=1e-5)
    assert local.classify([]) == []
    assert local.embed(()) == []


def test_one_bad_image_raises_its_error(local: LocalClient) -> None:
    with pytest.raises(NoFaceError, match="no face was found in the image of 300x200 pixels"):
        local.classify(Image.new("RGB", (300, 200)))
    with pytest.raises(UnsupportedImageError, match="fetches nothing from the network"):
        local.retrieve("https://example.org/face.jpg")
    with pytest.raises(TypeError, match="got NoneType"):
        local.classify([None])
    with pytest.raises(FileNotFoundError):
        local.embed("gone.png")


def test_options_out_of_range_are_refused_by_a_sentence(local: LocalClient, crop_file: bytes) -> None:
    for faces in ("biggest", 0, True):
        with pytest.raises(QueryError, match="faces must be 'all', 'largest' or a number from 1, got"):
            local.classify(crop_file, faces=faces)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="prior must be one of uniform, data, got 'mine'"):
        local.classify(crop_file, prior="mine")  # type: ignore[call-overload]
    for k in (0, "5", 2.5):
        with pytest.raises(QueryError, match="k must be a whole number from 1, got"):
            local.retrieve(crop_file, k=k)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="k must be from 1 to"):
        local.retrieve(crop_file, k=10**6)
    for batch in (0, "3"):
        with pytest.raises(QueryError, match="batch must be a whole number from 1, got"):
            local.classify([crop_file], batch=batch)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="exclude_subject must be a subject or several, got 3"):
        local.nearest({"emotion": "fear"}, exclude_subject=3)  # type: ignore[arg-type]
    wrong: list[dict[str, Any]] = [{"provider": "gpu"}, {"threads": -1}]
    for options in wrong:
        with pytest.raises(ConfigError, match="must be"):
            mien.load(**options)
    with pytest.raises(QueryError, match="max_distance"):
        local.retrieve(crop_file, max_distance=-1)
    with pytest.raises(QueryError, match=r"expected one of neutral, .*, got 'joy'"):
        local.nearest({"emotion": "joy"})
    with pytest.raises(QueryError, match="expected one of 'embedding', 'id'"):
        local.nearest({"face": 1})
    with pytest.raises(TypeError, match="size"):
        local.classify(crop_file, size=3)  # type: ignore[call-overload]


def test_iterators_are_read_as_answers_are_taken(local: LocalClient, crop_file: bytes) -> None:
    taken: list[int] = []

    def images() -> Iterator[bytes]:
        for number in range(10):
            taken.append(number)
            yield crop_file

    answers = local.embed_all(images(), batch=2, already_cropped=True)
    assert isinstance(next(answers), Embedding)
    assert taken == [0, 1]
    (retrieved,) = local.retrieve_all([crop_file], k=2, already_cropped=True)
    assert isinstance(retrieved, Retrieval)
    assert len(retrieved.faces[0].matches) == 2


def test_predictions_are_arrays(local: LocalClient, photograph_file: bytes) -> None:
    (prediction,) = local.predict_all([photograph_file])
    assert isinstance(prediction, Prediction)
    assert prediction.embeddings.shape == (2, 64)
    assert prediction.found == []


def test_faces_are_crops_and_landmarks(local: LocalClient, photograph_file: bytes) -> None:
    first, second = local.faces(photograph_file)
    assert first.crop.shape == (48, 48)
    assert first.landmarks is not None
    assert first.landmarks.shape == (5, 2)
    assert first.box[2] * first.box[3] >= second.box[2] * second.box[3]
    (of_list, missing) = local.faces([photograph_file, "gone.png"], faces=1)
    assert isinstance(of_list, list)
    assert len(of_list) == 1
    assert isinstance(missing, FileNotFoundError)


def test_parameters_are_those_of_the_client() -> None:
    for name in ("classify", "embed", "retrieve", "nearest", "classify_video"):
        of_client = set(inspect.signature(getattr(operations, name)).parameters) - {"options"}
        own = set(inspect.signature(getattr(LocalClient, name)).parameters)
        named = own | set(ClassificationOptions.__annotations__)
        assert of_client <= named, name
    assert set(FaceOptions.__annotations__) <= set(BatchOptions.__annotations__)
    assert not set(RetrievalOptions.__annotations__) & set(BatchOptions.__annotations__)


def test_load_takes_a_bundle_a_gallery_and_limits(served_engine: Engine, tmp_path: Path, crop_file: bytes) -> None:
    with gallery_engine(served_engine, tmp_path / "gallery") as engine:
        point = engine.bundle.gallery.embeddings[0]
        engine.gallery.add([mien_face("only", point)])
    with mien.load(ROOT / "index" / "default_bundle", gallery=tmp_path / "gallery", provider="cpu", threads=1) as own:
        (face,) = own.retrieve(crop_file, already_cropped=True).faces
        assert [match.id for match in face.matches] == ["only"]
    small = mien.load(limits=DecodingLimits(max_bytes=100, max_pixels=50))
    for image in (crop_file, cartoon(10), BytesIO(crop_file)):
        with pytest.raises(ImageTooLargeError):
            small.classify(image, already_cropped=True)
    with pytest.raises(BundleError):
        mien.load(tmp_path)
    with pytest.raises(ConfigError, match=r"expected the folder of a gallery, got .*gone, which is not there"):
        mien.load(gallery=tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def mien_face(face_id: str, point: Any) -> Any:
    from mien.index.gallery.face import GalleryFace

    return GalleryFace(face_id, point, emotion="fear")


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


def test_load_needs_neither_a_web_framework_nor_an_http_client() -> None:
    heavy = (
        "fastapi",
        "starlette",
        "uvicorn",
        "httpx",
        "torch",
        "pymilvus",
        "pydantic_settings",
        "rich",
        "pandas",
        "scipy",
        "sklearn",
    )
    program = f"""
import sys, mien
mien.load()
print([name for name in {heavy} if name in sys.modules])
"""
    assert run(program) == "[]"


def test_missing_engine_is_said_in_a_sentence() -> None:
    program = """
import sys
sys.modules["onnxruntime"] = None
import mien
try:
    mien.load()
except mien.MienError as error:
    print(error)
"""
    assert "pip install 'mien[cpu]'" in run(program)

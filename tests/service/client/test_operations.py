"""The client has every operation and every option of HTTP, and does each against the service."""

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.model.errors import UnsupportedImageError
from mien.service.answers.options import RetrievalOptions
from mien.service.app import create_app
from mien.service.client import AsyncClient, Client, ClientError, NewFace, ServiceError
from mien.service.client import gallery_operations as gallery
from mien.service.client import operations as images
from mien.service.client import space_operations as space
from mien.service.client.batches import Batches
from mien.service.client.operations import VideoLines
from mien.service.client.requests import Request, address
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.cartoon import cartoon
from tests.support.engines import gallery_engine
from tests.support.faces import MakeFaces
from tests.support.images import encode
from tests.support.serving import served_app

OPERATIONS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (images.classify, (b"x",)),
    (images.retrieve, (b"x",)),
    (images.embed, (b"x",)),
    (images.classify_video, (b"x",)),
    (images.nearest, ({"id": "a"},)),
    (space.explain, (b"x",)),
    (space.portrait, ({"id": "a"},)),
    (space.portraits, ([{"id": "a"}],)),
    (space.space_map, ()),
    (space.atlas, ()),
    (space.info, ()),
    (space.is_ready, ()),
    (space.reload, ()),
    (gallery.gallery, ()),
    (gallery.get_face, ("a",)),
    (gallery.thumbnails, (["a"],)),
    (gallery.update_face, ("a",)),
    (gallery.delete_face, ("a",)),
    (gallery.delete_faces, ()),
    (gallery.add, ([NewFace(b"x")],)),
]
"""Each operation of the client, with arguments."""

NO_OPERATIONS = {("GET", "/health/live"), ("GET", "/metrics"), ("GET", "/thumbnail")}
"""Endpoints for machines that are no clients, and for browsers, which keep what they answer."""

OTHER_NAMES = {
    ("GET", "/gallery"): {"limit", "after", "statistics"},  # `page`; the client follows pages; `statistics()`
    ("GET", "/portrait"): {"id", "emotion", "sub_class", "embedding"},  # `query`
}
"""Parameters of HTTP that the client has in another form."""


def first_request(operation: Callable[..., Any], arguments: tuple[Any, ...]) -> Request:
    found = operation(*arguments)
    if isinstance(found, VideoLines):
        return found.request()
    if isinstance(found, Batches):
        found = found.steps(next(found.batches))
    request = next(found)
    assert isinstance(request, Request)
    return request


def parameters(operation: Callable[..., Any]) -> set[str]:
    names = set(inspect.signature(operation).parameters)
    names |= set(RetrievalOptions.__annotations__) if operation in (images.retrieve, images.nearest) else set()
    return names | ({"already_cropped", "thumbnails"} if operation is gallery.add else set())


def test_every_endpoint_and_parameter_of_http_is_in_the_client(served_engine: Engine) -> None:
    schema = create_app(served_engine, Settings()).openapi()
    endpoints = {
        (method.upper(), path.removesuffix("/{face_id}").removesuffix("/{face_id:path}"), path): described
        for path, each in schema["paths"].items()
        for method, described in each.items()
    }
    done: dict[tuple[str, str], Callable[..., Any]] = {}
    for operation, arguments in OPERATIONS:
        request = first_request(operation, arguments)
        done.setdefault((request.method, re.sub(r"^/gallery/.*", "/gallery/{face_id}", request.path)), operation)
    missing = {(method, path) for method, _, path in endpoints} - NO_OPERATIONS - done.keys()
    assert not missing
    for (method, _, path), described in endpoints.items():
        if (method, path) in NO_OPERATIONS:
            continue
        sent = {each["name"] for each in described.get("parameters", []) if each["in"] == "query"}
        assert not sent - OTHER_NAMES.get((method, path), set()) - parameters(done[method, path]), path


def test_both_clients_have_every_operation() -> None:
    for operation, _ in OPERATIONS:
        for client in (Client, AsyncClient):
            assert hasattr(client, operation.__name__), operation.__name__
    names = {name for name in vars(Client) if not name.startswith("_")}
    assert names == {name for name in vars(AsyncClient) if not name.startswith("_")}


@pytest.fixture
def url(served_engine: Engine, tmp_path: Path) -> Iterator[str]:
    """A service on a gallery that takes writes."""
    with (
        gallery_engine(served_engine, tmp_path / "gallery") as engine,
        served_app(create_app(engine, Settings(rate_per_s=0, gallery_thumbnails=True))) as address,
    ):
        yield address


@pytest.fixture
def crops(make_faces: MakeFaces) -> list[bytes]:
    return [encode(crop) for crop in make_faces(4).images]


def test_faces_are_added_shown_changed_and_deleted(url: str, crops: list[bytes]) -> None:
    with Client(url) as client:
        (point,) = client.embed(crops[3], already_cropped=True).faces
        faces = [
            NewFace(crops[0], id="one/1 ä?#.", subject="anna", metadata={"a": 1, "b": 2}, time="2026-07-01"),
            NewFace(crops[1], id="two", subject="anna"),
            NewFace(crops[2], id="three", subject="eve"),
            NewFace(embedding=point.embedding, id="four", label="fear"),
        ]
        (added,) = client.add(faces, already_cropped=True)
        assert client.thumbnails(["two"])["two"][:4] == b"RIFF"
        assert (added.added, added.ids) == (4, ["one/1 ä?#.", "two", "three", "four"])
        face = client.get_face("one/1 ä?#.")
        assert (face.subject, face.time, len(face.embedding)) == ("anna", "2026-07-01T00:00:00+00:00", 64)
        changed = client.update_face("one/1 ä?#.", label="fear", subject=None, metadata={"a": None, "c": 3})
        assert (changed.label, changed.subject, changed.metadata) == ("fear", None, {"b": 2, "c": 3})
        assert client.statistics().labels == {"fear": 2, "": 2}
        client.delete_face("two")
        with pytest.raises(ServiceError) as refused:
            client.delete_face("two")
        assert refused.value.kind == "unknown-face"
        assert client.delete_faces(subject="eve").deleted == 1
        assert client.delete_faces(filter={"label": "fear"}).deleted == 2
        with pytest.raises(ServiceError, match="either 'subject' or 'filter'"):
            client.delete_faces()
        with pytest.raises(TypeError, match="a change must be of label, subject, metadata, time, got name"):
            client.update_face("two", name="x")  # type: ignore[call-arg]


def test_every_option_of_retrieval_counts(url: str, crops: list[bytes]) -> None:
    with Client(url) as client:
        faces = [NewFace(crop, id=str(row), subject="ab"[row % 2]) for row, crop in enumerate(crops)]
        list(client.add(faces, already_cropped=True))

        def found(**options: Any) -> list[str]:
            by_image = client.retrieve(crops[0], already_cropped=True, **options).faces[0]
            point = client.embed(crops[0], already_cropped=True).faces[0].embedding
            by_point = client.nearest({"embedding": point}, **options)
            (of_many,) = client.retrieve_all([crops[0]], already_cropped=True, **options)
            assert not isinstance(of_many, ServiceError)
            assert by_image.matches == of_many.faces[0].matches
            assert [each.id for each in by_image.matches] == [each.id for each in by_point.matches]
            return [each.id for each in by_image.matches]

        everything = found()
        assert len(everything) == 4
        assert found(k=2) == everything[:2]
        assert len(found(one_per_subject=True)) == 2
        assert set(found(exclude_subject="a")) == set(found(exclude_subject=["a"])) == {"1", "3"}
        assert found(filter={"subject": "b"}) == found(exclude_subject=["a", "nobody"])
        assert found(max_distance=1e-3) == ["0"]
        assert found(mask_copies=True) == everything[1:]
        first = client.retrieve(crops[0], already_cropped=True, k=1).faces[0]
        assert found(k=1, after=first.next) == everything[1:2]
        assert found(photographs=3, summary=2) == everything
        face = client.retrieve(crops[0], already_cropped=True, photographs=3, summary=2).faces[0]
        assert [each.id for each in face.photographs or ()] == everything[:3]
        assert face.summary is not None
        assert face.summary.faces == 2
        paged = client.matches({"id": "0"}, page=1, exclude_subject="b")
        assert [each.id for each in paged] == [each for each in everything if each in "02"]
        with pytest.raises(TypeError, match="nearest_first"):
            client.nearest({"id": "0"}, nearest_first=True)  # type: ignore[call-arg]


def test_faces_option_chooses_the_largest(url: str, photograph_file: bytes) -> None:
    with Client(url) as client:
        both = client.classify(photograph_file).faces
        assert len(both) == 2
        assert client.classify(photograph_file, faces="largest").faces == both[:1]
        (added,) = client.add([NewFace(photograph_file, id="group")], which="all", thumbnails=False)
        assert added.ids == ["group", "group#2"]
        assert client.thumbnails(added.ids) == {}
        (answer,) = client.embed_all([photograph_file], faces=1)
        assert not isinstance(answer, ServiceError)
        assert len(answer.faces) == 1


def test_explanations_portraits_map_and_atlas(served_engine: Engine, crop_file: bytes) -> None:
    with served_app(create_app(served_engine, Settings(rate_per_s=0))) as url, Client(url) as client:
        match = client.retrieve(crop_file, k=1, already_cropped=True).faces[0].matches[0].id
        explained = client.explain(crop_file, already_cropped=True, emotion="fear", match=match)
        assert (explained.emotion, explained.match and explained.match.id) == ("fear", match)
        assert explained.heat
        pair = client.explain_point({"emotion": "fear"}, match)
        assert pair.match is not None
        assert sum(each.share for each in pair.match.directions) + pair.match.unexplained == pytest.approx(1, abs=1e-4)
        embedding = client.embed(crop_file, already_cropped=True).faces[0].embedding
        for query in ({"emotion": "fear"}, {"embedding": embedding}, {"id": match}):
            assert Image.open(BytesIO(client.portrait(query, side_px=96))).size == (96, 96)
        assert Image.open(BytesIO(client.portraits([{"emotion": "fear"}, {"emotion": "anger"}]))).size == (48, 96)
        emotions = served_engine.bundle.mixture.emotions
        assert client.info().emotions == list(emotions)
        assert len(client.space_map().rows()) == client.statistics().faces
        assert [each.id for each in client.atlas().emotions] == list(emotions)


def test_async_client_does_the_same(url: str, crops: list[bytes]) -> None:
    async def work() -> list[Any]:
        async with AsyncClient(url) as client:
            added = [each async for each in client.add([NewFace(crops[0], id="a")], already_cropped=True)]
            shown = (await client.get_face("a"), await client.update_face("a", label="fear"))
            atlas = await client.atlas()
            portrait = await client.portrait({"emotion": "fear"})
            await client.delete_face("a")
            assert await client.is_ready()
            return [added[0].ids, [each.label for each in shown], len(atlas.emotions), portrait[:4]]

    assert asyncio.run(work()) == [["a"], [None, "fear"], 8, b"\x89PNG"]


def test_readiness_is_asked_once(url: str, served_engine: Engine) -> None:
    with Client(url) as client:
        assert client.is_ready()
        client.reload()

    async def stopping(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            body = b'{"type":"urn:mien:not-ready","title":"","status":503,"detail":"stopping"}'
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": body})

    with served_app(stopping) as other, Client(other) as client:
        assert not client.is_ready()


def test_arrays_and_pictures_are_sent_without_loss(url: str) -> None:
    pixels = cartoon(300)
    with Client(url) as client:
        expected = client.embed(encode(pixels))
        for image, colour in ((pixels, "rgb"), (pixels[:, :, ::-1], "bgr"), (Image.fromarray(pixels), "rgb")):
            assert client.embed(image, colour=colour) == expected  # type: ignore[arg-type]
        assert client.embed(BytesIO(encode(pixels))) == expected
        (of_many,) = client.embed_all([pixels[:, :, ::-1]], colour="bgr")
        assert of_many == expected
        with pytest.raises(UnsupportedImageError, match="got int64"):
            client.classify(np.zeros((4, 4), np.int64))
        with pytest.raises(UnsupportedImageError, match="fetches nothing from the network"):
            client.classify("http://example.org/a.jpg")


def test_new_face_is_an_image_or_an_embedding() -> None:
    with pytest.raises(ValueError, match="either an image or an embedding, got neither"):
        NewFace(id="a")
    with pytest.raises(ValueError, match="got both"):
        NewFace(b"x", embedding=[1.0])


def test_address_without_a_scheme_is_understood(url: str) -> None:
    assert address("localhost:8000") == "http://localhost:8000"
    assert address("https://faces.example/api") == "https://faces.example/api"
    with Client(url.removeprefix("http://")) as client:
        assert client.is_ready()
    for wrong in ("ftp://host", "http://", "", "http://[::1"):
        with pytest.raises(ClientError, match="address of the service"):
            Client(wrong)

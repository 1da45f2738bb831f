"""The clients against the service, and against servers that are busy, unreachable or something else."""

import asyncio
import inspect
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from mien.model.emotions import EMOTIONS
from mien.service.app import create_app
from mien.service.client import (
    AsyncClient,
    Client,
    ClientError,
    NewFace,
    Retries,
    ServiceError,
    gallery_operations,
    operations,
    space_operations,
)
from mien.service.client.batches import MAX_BATCH_BYTES, make_batches
from mien.service.inference.engine import Engine
from mien.service.middleware.api_keys import create_key
from mien.service.settings import Settings
from tests.support.answers import FAST_RETRIES
from tests.support.engines import gallery_engine
from tests.support.faces import MakeFaces
from tests.support.images import encode
from tests.support.serving import served_app


class Busy:
    """A server that answers with these statuses, in turn, then with a point."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        self.requests += 1
        status = self.statuses.pop(0) if self.statuses else 200
        body = b'{"emotion":"fear","posterior":{},"embedding":[],"matches":[],"later":1}'
        if status != 200:
            body = b'{"type":"urn:mien:busy","title":"","status":%d,"detail":"too busy"}' % status
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def busy() -> Iterator[Callable[..., tuple[Busy, str]]]:
    with ExitStack() as running:

        def start(*statuses: int) -> tuple[Busy, str]:
            app = Busy(*statuses)
            return app, running.enter_context(served_app(app))

        yield start


@pytest.fixture(scope="module")
def keyed(served_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The service, and a key for it."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    key = create_key(keys, "someone", "read")
    with served_app(create_app(served_engine, Settings(keys=keys, rate_per_s=0))) as url:
        yield url, key


def test_each_method_returns_its_answer(keyed: tuple[str, str], crop_file: bytes, tmp_path: Path) -> None:
    url, key = keyed
    path = tmp_path / "face.png"
    path.write_bytes(crop_file)
    with Client(url, key=key) as client:
        (face,) = client.classify(crop_file, already_cropped=True).faces
        assert set(face.posterior) == set(EMOTIONS)
        assert client.classify(path, already_cropped=True).faces == [face]
        under_data = client.classify(path, already_cropped=True, prior="data")
        assert under_data.prior == "data"
        assert under_data.faces[0].posterior != face.posterior
        assert list(client.classify_all([path], already_cropped=True, prior="data")) == [under_data]
        (matched,) = client.retrieve(str(path), k=3, already_cropped=True).faces
        assert len(matched.matches) == 3
        (embedded,) = client.embed(path, already_cropped=True).faces
        assert len(embedded.embedding) == 64
        found = client.nearest({"embedding": embedded.embedding}, k=3)
        assert [match.id for match in found.matches] == [match.id for match in matched.matches]
        assert client.nearest({"emotion": "surprise"}).emotion == "surprise"


def test_async_client_returns_the_same(keyed: tuple[str, str], crop_file: bytes) -> None:
    url, key = keyed

    async def ask() -> list[Any]:
        async with AsyncClient(url, key=key) as client:
            return [
                await client.classify(crop_file, already_cropped=True),
                await client.retrieve(crop_file, already_cropped=True),
                await client.embed(crop_file, already_cropped=True),
                await client.nearest({"emotion": "fear"}),
            ]

    with Client(url, key=key) as client:
        expected = [
            client.classify(crop_file, already_cropped=True),
            client.retrieve(crop_file, already_cropped=True),
            client.embed(crop_file, already_cropped=True),
            client.nearest({"emotion": "fear"}),
        ]
    assert asyncio.run(ask()) == expected


def test_each_of_many_images_is_answered_in_its_place(keyed: tuple[str, str], crop_file: bytes) -> None:
    url, key = keyed
    images = [crop_file, b"no picture", crop_file]

    async def ask() -> list[Any]:
        async with AsyncClient(url, key=key) as client:
            return [answer async for answer in client.classify_all(images, already_cropped=True, at_once=2)]

    with Client(url, key=key) as client:
        answers = list(client.classify_all(images, already_cropped=True))
    for first, second, third in (answers, asyncio.run(ask())):
        assert first == third
        assert isinstance(second, ServiceError)
        assert (second.status, second.kind) == (415, "unsupported-image")


def test_refusal_has_status_kind_and_detail_of_the_service(keyed: tuple[str, str]) -> None:
    url, key = keyed
    with Client(url, key=key) as client, pytest.raises(ServiceError, match="got 'joy'") as refused:
        client.nearest({"emotion": "joy"})
    assert (refused.value.status, refused.value.kind) == (422, "query")
    with Client(url) as client, pytest.raises(ServiceError) as refused:
        client.nearest({"emotion": "fear"})
    assert refused.value.status == 401


@pytest.mark.parametrize("statuses", [(503,), (429, 503, 429)])
def test_request_to_a_busy_service_is_sent_again(
    busy: Callable[..., tuple[Busy, str]], statuses: tuple[int, ...]
) -> None:
    app, url = busy(*statuses)
    with Client(url, retries=FAST_RETRIES) as client:
        assert client.nearest({"emotion": "fear"}).emotion == "fear"
    assert app.requests == len(statuses) + 1

    async def ask(url: str) -> str:
        async with AsyncClient(url, retries=FAST_RETRIES) as client:
            return (await client.nearest({"emotion": "fear"})).emotion

    app, url = busy(*statuses)
    assert asyncio.run(ask(url)) == "fear"
    assert app.requests == len(statuses) + 1


def test_retries_end(busy: Callable[..., tuple[Busy, str]]) -> None:
    app, url = busy(*[503] * 9)
    with Client(url, retries=FAST_RETRIES) as client, pytest.raises(ServiceError, match="too busy"):
        client.nearest({"emotion": "fear"})
    assert app.requests == 4


def test_refused_request_is_not_sent_again(busy: Callable[..., tuple[Busy, str]]) -> None:
    app, url = busy(422)
    with Client(url, retries=FAST_RETRIES) as client, pytest.raises(ServiceError):
        client.nearest({"emotion": "fear"})
    assert app.requests == 1


def test_unreachable_service_is_a_client_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(url, retries=FAST_RETRIES) as client, pytest.raises(ClientError, match="cannot be reached"):
        client.nearest({"emotion": "fear"})


def test_answer_of_another_server_is_a_client_error(keyed: tuple[str, str]) -> None:
    async def teapot(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"tea"})

    with (
        served_app(teapot) as url,
        Client(url, retries=FAST_RETRIES) as client,
        pytest.raises(ClientError, match="got something else"),
    ):
        client.nearest({"emotion": "fear"})


def test_pauses_grow_to_a_limit_and_follow_retry_after() -> None:
    import httpx

    retries = Retries(most=5, first_pause_s=1, longest_pause_s=3)
    pauses = [retries.pause_s(attempt, None) for attempt in range(1, 7)]
    for pause, most in zip(pauses[:5], (1, 2, 3, 3, 3), strict=True):
        assert pause is not None
        assert most / 2 <= pause <= most
    assert pauses[5] is None
    pause_s = retries.pause_s(1, httpx.Response(429, headers={"Retry-After": "7"}))
    assert pause_s == 7


@pytest.fixture(scope="module")
def small(served_engine: Engine) -> Iterator[str]:
    """A service that takes three images at a time."""
    with served_app(create_app(served_engine, Settings(max_images=3, rate_per_s=0))) as url:
        yield url


def test_batches_shrink_to_what_the_service_takes(small: str, crop_file: bytes) -> None:
    calls: list[tuple[int, int | None]] = []
    with Client(small) as client:
        images = [crop_file] * 7
        answers = list(
            client.embed_all(
                images, already_cropped=True, batch=5, on_progress=lambda done, total: calls.append((done, total))
            )
        )
        (one,) = client.embed(crop_file, already_cropped=True).faces
    assert calls == [(done, 7) for done in range(1, 8)]
    assert len(answers) == 7
    for answer in answers:
        assert not isinstance(answer, ServiceError)
        assert answer.faces[0].embedding == pytest.approx(one.embedding, abs=1e-4)


def test_too_large_image_has_its_error_in_its_place(served_engine: Engine, crop_file: bytes) -> None:
    settings = Settings(max_body_bytes=20_000, max_image_bytes=20_000, rate_per_s=0)
    images = [crop_file, bytes(30_000), crop_file]

    async def ask(url: str) -> list[Any]:
        async with AsyncClient(url) as client:
            return [answer async for answer in client.retrieve_all(images, k=2, already_cropped=True)]

    with served_app(create_app(served_engine, settings)) as url:
        with Client(url) as client:
            answers = list(client.retrieve_all(images, k=2, already_cropped=True))
        for first, second, third in (answers, asyncio.run(ask(url))):
            assert first == third
            assert not isinstance(first, ServiceError)
            assert len(first.faces[0].matches) == 2
            assert isinstance(second, ServiceError)
            assert second.status == 413


def test_refusal_of_a_whole_request_is_raised(keyed: tuple[str, str], crop_file: bytes) -> None:
    url, _ = keyed
    with Client(url) as client, pytest.raises(ServiceError) as refused:
        list(client.classify_all([crop_file, crop_file], already_cropped=True))
    assert refused.value.status == 401


def test_progress_bar_is_drawn_only_on_request(
    small: str, crop_file: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from mien.service.commands import terminal

    with Client(small) as client:
        list(client.classify_all([crop_file] * 2, already_cropped=True))
        assert "images" not in capsys.readouterr().err
        monkeypatch.setattr(terminal, "console", Console(stderr=True, force_terminal=True, width=100))
        list(client.classify_all(iter([crop_file] * 2), already_cropped=True, progress=True))
    assert "images" in capsys.readouterr().err


def test_batches_are_bounded_in_number_and_bytes() -> None:
    sizes = [MAX_BATCH_BYTES // 2 - 1, MAX_BATCH_BYTES // 2 - 1, 10, MAX_BATCH_BYTES + 5, 1, 1, 1, 1]
    found = list(make_batches(sizes, bytes, 3))
    assert [part.items for part in found] == [
        (sizes[0], sizes[1]),
        (10,),
        (MAX_BATCH_BYTES + 5,),
        (1, 1, 1),
        (1,),
    ]
    assert all(len(file) == size for part in found for file, size in zip(part.files, part.items, strict=True))
    with pytest.raises(ValueError, match="batch must be at least 1 image, got 0"):
        next(make_batches(sizes, bytes, 0))


def test_files_are_read_when_they_are_needed(tmp_path: Path, crop_file: bytes, small: str) -> None:
    (tmp_path / "a.png").write_bytes(crop_file)
    with Client(small) as client:
        answers = client.classify_all([tmp_path / "a.png", tmp_path / "gone.png"], already_cropped=True, batch=1)
        assert not isinstance(next(answers), ServiceError)
        with pytest.raises(FileNotFoundError):
            next(answers)


def test_gallery_is_fetched_page_by_page(keyed: tuple[str, str], served_engine: Engine) -> None:
    url, key = keyed
    entries = served_engine.bundle.gallery.entries
    shown = [face.id for face in served_engine.bundle.demonstration if face.label == "fear"]
    fear = sorted(shown + [entry.id for entry in entries if entry.emotion == "fear"])

    async def listed() -> list[str]:
        async with AsyncClient(url, key=key) as client:
            return [face.id async for face in client.gallery(filter={"label": "fear"}, page=300)]

    with Client(url, key=key) as client:
        faces = list(client.gallery(filter={"label": "fear"}, page=300))
    assert [face.id for face in faces] == asyncio.run(listed()) == fear
    assert {face.label for face in faces} == {"fear"}


def test_pages_of_matches_are_those_of_one_long_search(keyed: tuple[str, str]) -> None:
    url, key = keyed
    query = {"emotion": "contempt"}

    async def found() -> list[str]:
        async with AsyncClient(url, key=key) as client:
            return [match.id async for match in client.matches(query, filter={"label": "contempt"}, page=40)]

    with Client(url, key=key) as client:
        matches = list(client.matches(query, filter={"label": "contempt"}, page=40))
        whole = client.nearest(query, k=1000, filter={"label": "contempt"})
    assert len(matches) > 80
    assert matches == whole.matches
    assert asyncio.run(found()) == [match.id for match in matches]


def test_faces_are_added_to_the_gallery_in_batches(
    served_engine: Engine, tmp_path: Path, make_faces: MakeFaces
) -> None:
    crops = [encode(crop) for crop in make_faces(7).images]
    (tmp_path / "first.png").write_bytes(crops[0])
    first = NewFace(tmp_path / "first.png", id="first", label="fear", subject="anna", metadata={"n": 1})
    calls: list[tuple[int, int | None]] = []

    async def again(url: str) -> list[int]:
        async with AsyncClient(url) as client:
            faces = [first, *(NewFace(crop) for crop in crops[1:])]
            return [added.unchanged async for added in client.add(faces, already_cropped=True, batch=4)]

    with (
        gallery_engine(served_engine, tmp_path / "gallery") as engine,
        served_app(create_app(engine, Settings(max_images=2, rate_per_s=0))) as url,
        Client(url) as client,
    ):
        faces = [first, *(NewFace(crop) for crop in crops[1:])]
        added = list(
            client.add(faces, already_cropped=True, on_progress=lambda done, total: calls.append((done, total)))
        )
        assert sum(each.added for each in added) == 7
        assert calls[-1] == (7, 7)
        assert added[0].ids[0] == "first"
        (kept,) = client.gallery(filter={"subject": "anna"})
        assert (kept.id, kept.label, kept.metadata) == ("first", "fear", {"n": 1})
        assert sum(asyncio.run(again(url))) == 7
        changed = [NewFace(crops[1], id="first")]
        with pytest.raises(ServiceError, match="other content"):
            list(client.add(changed, already_cropped=True))
        (answer,) = client.add(changed, already_cropped=True, replace=True)
        assert answer.replaced == 1


def test_methods_have_the_parameters_and_docs_of_their_operations() -> None:
    of_images = [getattr(operations, name) for name in ("classify", "retrieve", "embed", "nearest", "matches")]
    of_gallery = [gallery_operations.gallery, gallery_operations.update_face, gallery_operations.delete_faces]
    for operation in (*of_images, *of_gallery, operations.classify_video, space_operations.explain):
        name = operation.__name__
        for client in (Client("http://127.0.0.1:1"), AsyncClient("http://127.0.0.1:1")):
            method = getattr(client, name)
            assert list(inspect.signature(method).parameters) == list(inspect.signature(operation).parameters)
            assert method.__doc__ == operation.__doc__
            assert method.__name__ == name


def test_unknown_option_is_a_type_error() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(TypeError, match="size"):
        list(client.classify_all([b""], size=1))  # type: ignore[call-arg]

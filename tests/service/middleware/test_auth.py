"""Authentication, for every route."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute

from mien.model.errors import ConfigError
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.middleware.api_keys import Scope, create_key
from mien.service.middleware.auth import is_loopback, needed_scope
from mien.service.server import serve
from mien.service.settings import Settings

SCOPES = {None: "nobody", Scope.READ: "read", Scope.WRITE: "write", Scope.ADMIN: "admin"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("access") / "keys.json"
    made = {"read": create_key(path, "r", "read"), "write": create_key(path, "w", "write")}
    return made | {"admin": create_key(path, "a", "admin"), "path": str(path)}


@pytest.fixture(scope="module")
def app(served_engine: Engine, keys: dict[str, str]) -> FastAPI:
    return create_app(served_engine, Settings(keys=Path(keys["path"]), rate_per_s=0))


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def every_route(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Method and path of each route, including those of routers and mounted folders."""
    for route in routes:
        inside = getattr(route, "original_router", None)
        if inside is not None:
            yield from every_route(inside.routes)
            continue
        path = getattr(route, "path")  # noqa: B009  of every kind of route
        for method in getattr(route, "methods", None) or {"GET"}:
            yield method, path


def test_only_health_and_the_page_need_no_key(client: TestClient, app: FastAPI) -> None:
    open_to_all = set()
    routes = set(every_route(app.routes))
    assert {("POST", "/classify/video"), ("GET", "/stream")} <= routes
    assert {("POST", "/classify"), ("POST", "/admin/reload"), ("GET", "/metrics"), ("GET", "/docs")} <= routes
    for method, path in routes:
        answer = client.request(method, path, follow_redirects=False)
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json" or method == "HEAD"
        else:
            open_to_all.add((method, path))
    assert {(method, path) for method, path in open_to_all if method == "GET"} <= {
        ("GET", "/"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
    }
    assert {method for method, _ in open_to_all} <= {"GET", "HEAD"}


@pytest.mark.parametrize("scope", list(Scope))
def test_each_route_needs_its_scope(client: TestClient, app: FastAPI, keys: dict[str, str], scope: Scope) -> None:
    headers = {"authorization": f"Bearer {keys[SCOPES[scope]]}"}
    for method, path in set(every_route(app.routes)):
        needed = needed_scope(method, path)
        answer = client.request(method, path, headers=headers, follow_redirects=False)
        assert answer.status_code != 401, (method, path)
        refused = (
            answer.status_code == 403 and "urn:mien:scope" in answer.text
        )  # a gallery may refuse for its own reasons
        assert refused is (needed is not None and scope < needed), (method, path, answer.status_code)


def test_unknown_paths_need_a_scope() -> None:
    assert needed_scope("GET", "/gallery/x") is Scope.READ
    assert needed_scope("POST", "/classify/video") is Scope.READ
    assert needed_scope("GET", "/stream") is Scope.READ  # a WebSocket is opened with GET
    assert needed_scope("POST", "/gallery") is Scope.WRITE
    assert needed_scope("DELETE", "/gallery/x") is Scope.WRITE
    assert needed_scope("GET", "/admin/anything") is Scope.ADMIN
    assert needed_scope("POST", "/health/live") is Scope.WRITE


def test_key_is_accepted_in_either_header(client: TestClient, keys: dict[str, str]) -> None:
    assert client.get("/metrics", headers={"x-api-key": keys["read"]}).status_code == 200
    assert client.get("/metrics", headers={"authorization": f"bearer {keys['read']}"}).status_code == 200
    refused = client.get("/metrics", headers={"x-api-key": keys["read"] + "x"})
    assert "one that is not known" in refused.json()["detail"]
    assert client.get("/metrics", headers={"authorization": "Basic abc"}).status_code == 401
    answer = client.post("/admin/reload", headers={"x-api-key": keys["write"]})
    assert "needs a key with the scope admin, got one with write" in answer.json()["detail"]


def test_too_many_requests_of_one_key_are_answered_with_429(served_engine: Engine, keys: dict[str, str]) -> None:
    with TestClient(create_app(served_engine, Settings(keys=Path(keys["path"]), rate_per_s=1))) as client:
        statuses = [client.get("/metrics", headers={"x-api-key": keys["read"]}).status_code for _ in range(4)]
        assert statuses[:2] == [200, 200]
        assert statuses[3] == 429
        refused = client.get("/metrics", headers={"x-api-key": keys["read"]})
        assert refused.json()["type"] == "urn:mien:rate"
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/metrics", headers={"x-api-key": keys["write"]}).status_code == 200, "another key"
        assert client.get("/health/live").status_code == 200, "health has no limit"


def test_requests_with_wrong_keys_are_limited(served_engine: Engine, keys: dict[str, str]) -> None:
    with TestClient(create_app(served_engine, Settings(keys=Path(keys["path"]), rate_per_s=1))) as client:
        statuses = [client.get("/metrics", headers={"x-api-key": f"mien_{n}_x"}).status_code for n in range(4)]
        assert statuses[3] == 429


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")],
        *[(host, False) for host in ("0.0.0.0", "::", "example.org", "192.168.1.1")],  # noqa: S104
    ],
)
def test_loopback_addresses_are_recognised(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_public_address_without_keys_needs_allow_public() -> None:
    with pytest.raises(ConfigError, match="--allow-public"):
        serve(Settings(host="0.0.0.0"))  # noqa: S104

"""Requests for other hosts, and from pages of other origins."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from mien.model.errors import ConfigError
from mien.service.app import create_app, create_app_on
from mien.service.inference.engine import Engine
from mien.service.inference.runtime import Runtime
from mien.service.middleware.api_keys import create_key
from mien.service.middleware.origins import Hosts
from mien.service.middleware.rate_limit import address_of
from mien.service.server import allowed_hosts, reachable_host, serve
from mien.service.settings import Settings, read_settings

EVERYWHERE = "0.0.0.0"  # noqa: S104  nothing listens there
FRIEND = "https://friend.example"
LOOPBACK = ("localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1", "127.0.0.1:8000", "127.8.8.8:1", "[::1]:8000")
FOREIGN = (
    "elsewhere.example",
    "localhost.elsewhere.example",
    "127.0.0.1.elsewhere.example:8000",
    "127.0.0.1@elsewhere.example",
    "192.0.2.1:8000",
    "[2001:db8::1]",
    "",
    "localhost:x",
    "localhost:8000, elsewhere.example",
    "x" * 300,
)


@pytest.fixture
def client(served_engine: Engine) -> Iterator[TestClient]:
    runtime = Runtime(served_engine, Settings(rate_per_s=0, cors_origins=FRIEND))
    with TestClient(create_app_on(runtime, Hosts(["faces.example"])), base_url="http://localhost") as client:
        yield client


def problem(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:mien:")


@pytest.mark.parametrize("host", [*LOOPBACK, "faces.example", "Faces.Example:8443"])
def test_own_hosts_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/health/live", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    """After DNS rebinding the browser sends the name of the stranger."""
    answer = client.get("/gallery", headers={"host": host})
    assert problem(answer) == (421, "host")
    assert len(answer.json()["detail"]) < 200
    for path in ("/health/live", "/", "/page/app.js", "/metrics"):
        assert client.get(path, headers={"host": host}).status_code == 421


def test_addresses_are_allowed_where_other_machines_may_call() -> None:
    hosts = Hosts(addresses=True)
    assert hosts.allow(b"192.0.2.1:8000")
    assert hosts.allow(b"[2001:db8::1]")
    assert not hosts.allow(b"elsewhere.example")
    assert Hosts(["*"]).allow(b"elsewhere.example")
    assert Hosts(["faces.example:8443"]).allow(b"faces.example:8443")
    assert not Hosts(["faces.example:8443"]).allow(b"faces.example")


def test_settings_decide_which_hosts_are_allowed(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    assert allowed_hosts(Settings(keys=keys)) is None
    named = allowed_hosts(Settings(keys=keys, hosts="faces.example"))
    assert named is not None
    assert not named.allow(b"elsewhere.example")
    alone = allowed_hosts(Settings())
    assert alone is not None
    assert not alone.allow(b"192.0.2.1")
    public = allowed_hosts(Settings(host=EVERYWHERE, allow_public=True, hosts="mien, replica"))
    assert public is not None
    assert [public.allow(host) for host in (b"192.0.2.1:8000", b"mien:8000", b"replica", b"0.0.0.0x")] == [
        True,
        True,
        True,
        False,
    ]


OWN: tuple[dict[str, str], ...] = (
    {},
    {"origin": "http://localhost"},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "same-origin"},
)
ALSO_OWN = ({"origin": FRIEND}, {"origin": "https://faces.example"}, {"origin": "http://localhost:80"})
OTHERS = (
    {"origin": "http://elsewhere.example"},
    {"origin": "http://localhost:3000"},
    {"origin": "http://faces.example:81"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://["},
    {"origin": "http://localhost.elsewhere.example", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "strange"},
)


@pytest.mark.parametrize("headers", [*OWN, *ALSO_OWN])
def test_own_pages_and_programs_may_change_something(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/gallery", json={}, headers=headers)
    assert "urn:mien:origin" not in answer.text
    assert answer.status_code in (403, 422), "the shipped gallery is read-only"


@pytest.mark.parametrize("headers", OTHERS)
def test_other_pages_may_change_nothing(client: TestClient, crop_file: bytes, headers: dict[str, str]) -> None:
    for method, path in (
        ("POST", "/gallery"),
        ("PUT", "/gallery/a"),
        ("PATCH", "/gallery/a"),
        ("DELETE", "/gallery/a"),
        ("DELETE", "/gallery"),
        ("POST", "/admin/reload"),
        ("POST", "/a-later-route"),
    ):
        assert problem(client.request(method, path, headers=headers)) == (403, "origin"), (method, path)
    answer = client.post("/classify?already_cropped=true", files={"image": crop_file}, headers=headers)
    assert answer.status_code == 200, "it changes nothing, and browsers let only the pages of CORS read it"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_key_replaces_the_origin(served_engine: Engine, tmp_path: Path) -> None:
    """A page of another origin does not have it; a proxy may have replaced the host."""
    key = create_key(tmp_path / "keys.json", "k", "write")
    with TestClient(create_app(served_engine, Settings(keys=tmp_path / "keys.json"))) as client:
        headers = {"origin": "https://faces.example"}
        assert client.delete("/gallery/a", headers=headers).status_code == 401
        answer = client.delete("/gallery/a", headers={**headers, "x-api-key": key})
        assert "origin" not in answer.json()["type"]


@pytest.mark.parametrize("name", ["host", "authorization", "origin", "x-api-key", "content-type"])
def test_two_headers_that_may_be_there_once_are_refused(client: TestClient, name: str) -> None:
    same = "localhost" if name == "host" else "http://localhost"
    answer = client.get("/health/live", headers=[(name, same), (name, same)])
    assert problem(answer) == (400, "malformed-head")
    assert name in answer.json()["detail"]


def test_refusals_and_preflights_count_against_the_rate(served_engine: Engine) -> None:
    runtime = Runtime(served_engine, Settings(rate_per_s=1, cors_origins=FRIEND))
    with TestClient(create_app_on(runtime, Hosts()), base_url="http://localhost") as client:
        headers = {"origin": FRIEND, "access-control-request-method": "POST"}
        assert [client.options("/gallery", headers=headers).status_code for _ in range(3)] == [200, 200, 429]
    runtime = Runtime(served_engine, Settings(rate_per_s=1))
    with TestClient(create_app_on(runtime, Hosts()), base_url="http://localhost") as client:
        assert [client.get("/", headers={"host": "x"}).status_code for _ in range(3)] == [421, 421, 429]


def test_callers_have_bounded_names() -> None:
    def caller(host: str) -> str:
        return address_of({"client": (host, 1)})

    assert caller("192.0.2.1") == "192.0.2.1"
    assert caller("2001:db8::1") == caller("2001:db8::ffff") != caller("2001:db8:0:1::1")
    assert caller("::ffff:192.0.2.1") == "192.0.2.1"
    assert caller("x" * 60_000) == caller("z:" * 99) == "unknown"
    assert caller("nobody") == address_of({"client": None}) == "unknown"


def test_published_port_beyond_this_machine_needs_keys() -> None:
    for published in ("0.0.0.0:8000", "8000", "192.0.2.1:8000", "[::]:8000"):
        with pytest.raises(ConfigError, match=r"is open to other machines, and no keys are set"):
            serve(Settings(host=EVERYWHERE, published=published))
    assert reachable_host(Settings(host=EVERYWHERE, published="127.0.0.1:8000")) == "127.0.0.1"
    assert reachable_host(Settings(host=EVERYWHERE, published="[::1]:8000")) == "::1"


@pytest.mark.parametrize("value", ["https://faces.example", "a b", "faces.example/", "*.example", "a:b"])
def test_host_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"--hosts must be hosts.*got "):
        read_settings({}, hosts=value)


def test_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--proxies must be addresses.*got 'proxy'"):
        read_settings({}, proxies="10.0.0.0/8,proxy")
    assert read_settings({}, proxies="*").trusted_proxies == ("*",)

"""The files of the page: headers, references and texts."""

import html
import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from mien.model.emotions import EMOTIONS
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.middleware.api_keys import create_key
from mien.service.routes.page import FOLDER
from mien.service.settings import Settings
from tests.support.data import ROOT

FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())


@pytest.fixture(scope="module")
def client(served_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service that needs a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    create_key(keys, "someone", "read")
    with TestClient(create_app(served_engine, Settings(keys=keys))) as client:
        yield client


@pytest.mark.parametrize("path", ["/", *(f"/page/{path.name}" for path in FILES)])
def test_page_needs_no_key_and_may_load_nothing_from_other_origins(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert len(response.headers.get_list("cache-control")) == 1


def test_scripts_have_their_media_type(client: TestClient) -> None:
    assert "javascript" in client.get("/page/app.js").headers["content-type"]
    assert "css" in client.get("/page/style.css").headers["content-type"]


def test_files_outside_the_folder_are_not_served(client: TestClient) -> None:
    for path in ("/page/../page_routes.py", "/page/%2e%2e/page_routes.py", "/page/missing.js", "/page/"):
        assert client.get(path).status_code in (401, 404)


def test_data_of_the_page_needs_a_key(client: TestClient) -> None:
    for path in ("/map", "/atlas", "/portrait?emotion=fear"):
        assert client.get(path).status_code == 401
    assert client.post("/portraits", json={"queries": [{"emotion": "fear"}]}).status_code == 401
    assert client.post("/explain", files={"image": b"x"}).status_code == 401


def test_page_files_reference_existing_files_and_no_other_hosts() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        hosts = set(re.findall(r"https?://[^\s\"'<>)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not hosts, f"{path.name} names {hosts}"
        for name in re.findall(r"[\"'](?:\./|/page/)([\w.]+)[\"']", text):
            assert (FOLDER / name).is_file(), f"{path.name} loads {name}, which is not there"
        # No style and no script stands in the markup: the policy would not let them run.
        if path.suffix == ".html":
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)", text)


def test_page_is_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < 300_000


def test_page_has_a_name_and_a_colour_for_each_emotion() -> None:
    script, style = ((FOLDER / name).read_text(encoding="utf-8") for name in ("emotions.js", "style.css"))
    assert str(list(EMOTIONS)).replace("'", '"') in script
    for emotion in EMOTIONS:
        assert style.count(f"--{emotion}:") == 3  # light, dark, and dark by the system's setting


def test_text_on_ethics_is_that_of_the_document() -> None:
    document = (ROOT / "docs" / "ethics.md").read_text(encoding="utf-8")
    shown = re.findall(r"<(?:h1|h2|p)>(.*?)</", (FOLDER / "ethics.html").read_text(encoding="utf-8"))
    wanted = [re.sub("^#+ ", "", block) for block in document.strip().split("\n\n")]
    assert [html.unescape(words) for words in shown] == wanted

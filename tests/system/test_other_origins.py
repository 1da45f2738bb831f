"""A page of another origin in a real browser cannot read the service or change what it stores."""

import contextlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.support.serving import ServedProcess, served_process

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Chromium and its driver")

ASK = """
const [url, options, done] = arguments;
fetch(url, options).then(async a => done([a.type, a.status, await a.text()])).catch(e => done(['error', 0, String(e)]));
"""
STREAM = """
const [url, done] = arguments;
const stream = new WebSocket(url);
stream.onopen = () => done('open');
stream.onerror = () => done('refused');
"""
PICTURE = """
const [url, done] = arguments;
const picture = new Image();
picture.onload = () => done('loaded');
picture.onerror = () => done('refused');
picture.src = url;
"""


@contextlib.contextmanager
def page_elsewhere() -> Iterator[int]:
    """The port of another server on this machine, with an empty page."""

    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>elsewhere</title>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    gallery = tmp_path_factory.mktemp("origins") / "gallery"
    with served_process("--gallery", gallery, "--drain-s", "0") as served:
        yield served


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser for which rebound.example is this machine, as after DNS rebinding."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP rebound.example 127.0.0.1")
    driver = webdriver.Chrome(options, Service(DRIVER))
    driver.set_script_timeout(20)
    try:
        yield driver
    finally:
        driver.quit()


def face(name: str) -> dict[str, Any]:
    body = json.dumps({"items": [{"id": name, "embedding": [0.5] * 64}]})
    return {"method": "POST", "mode": "no-cors", "headers": {"Content-Type": "text/plain"}, "body": body}


def test_page_elsewhere_changes_and_reads_nothing(served: ServedProcess, driver: webdriver.Chrome) -> None:
    with page_elsewhere() as port:
        for host in ("localhost", "127.0.0.1"):  # cross-site, and same-site
            driver.get(f"http://{host}:{port}/")
            ask = driver.execute_async_script
            ask(ASK, f"{served.url}/gallery", face("stranger"))
            ask(ASK, f"{served.url}/admin/reload", {"method": "POST", "mode": "no-cors"})
            assert ask(ASK, f"{served.url}/gallery", {})[0] == "error", "no CORS header lets it read"
            assert ask(ASK, f"{served.url}/gallery/stranger", {"method": "DELETE"})[0] == "error"
            assert ask(STREAM, f"ws://127.0.0.1:{served.port}/stream") == "refused"
            assert ask(PICTURE, f"{served.url}/page/icon.svg") == "refused"
    log = [json.loads(line) for line in served.log().splitlines()]
    refused = [(line["method"], line["route"]) for line in log if line.get("problem") == "origin"]
    assert refused.count(("POST", "none")) == 4, "two for each page"
    assert refused.count(("GET", "none")) == 2, "the streams"
    assert not [line for line in log if line["message"] == "reloaded"]


def test_rebound_name_reads_nothing(served: ServedProcess, driver: webdriver.Chrome) -> None:
    driver.get(f"http://rebound.example:{served.port}/")
    assert "misdirected" in driver.page_source.lower()
    status = driver.execute_async_script(ASK, "/gallery", {})[1]
    assert status == 421
    assert driver.execute_async_script(ASK, "/gallery/a", {"method": "DELETE"})[1] == 421


def test_own_page_changes_and_reads(served: ServedProcess, driver: webdriver.Chrome) -> None:
    driver.get(f"{served.url}/")
    ask = driver.execute_async_script
    options = {**face("own"), "mode": "cors", "headers": {"Content-Type": "application/json"}}
    assert ask(ASK, "/gallery", options)[1] == 201
    assert ask(ASK, "/gallery/own", {})[1] == 200
    assert ask(STREAM, f"ws://127.0.0.1:{served.port}/stream") == "open"
    assert ask(ASK, "/gallery/stranger", {})[1] == 404
    assert ask(ASK, "/gallery/own", {"method": "DELETE"})[1] in (200, 204)

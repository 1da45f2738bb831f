"""The page in a real browser: Chromium, where it is installed."""

import base64
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from mien.index.fitting.adapt import EmbeddedFaces, adapt_bundle, write_adaptation
from mien.index.fitting.adaptation import AdaptationFaces
from mien.index.gallery.face import GalleryFace
from mien.index.mixture.labelling import label_points
from mien.model.emotions import EMOTIONS
from mien.service.app import create_app
from mien.service.commands.main import main
from mien.service.inference.engine import Engine, load_engine
from mien.service.middleware.api_keys import create_key
from mien.service.settings import Settings
from tests.support.cartoon import cartoon
from tests.support.data import london_photographs, needs_london
from tests.support.engines import EMBEDDING_SIZE, gallery_engine, loaded_engine
from tests.support.images import encode
from tests.support.serving import served_app

PATIENCE_S = 90
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and its driver (Debian: apt install chromium chromium-driver)"
)


def axe_source() -> str | None:
    """axe-core, where AXE_CORE names its file or the package's archive."""
    named = os.environ.get("AXE_CORE")
    if not named:
        return None
    path = Path(named)
    if path.suffix == ".tgz":
        with tarfile.open(path) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            return member.read().decode()
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def url(served_engine: Engine) -> Iterator[str]:
    with served_app(create_app(served_engine, Settings(rate_per_s=0)), ws="auto") as url:
        yield url


def named(engine: Engine, point: NDArray[np.float32]) -> dict[str, Any]:
    """Emotion and sub-class of a point, as an import writes them."""
    ((emotion, sub_class),) = label_points(engine.bundle.mixture, engine.bundle.sub_classes, point[None])
    return {"emotion": emotion, "sub_class": sub_class}


@pytest.fixture(scope="module")
def photographs_url(served_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose gallery has 12 photographs of happy faces, drawn for the test."""
    bundle = served_engine.bundle
    labels = [entry.emotion for entry in bundle.gallery.entries]
    rows = [row for row, emotion in enumerate(labels) if emotion == "happiness"][:12]
    with (
        gallery_engine(served_engine, tmp_path_factory.mktemp("photographs")) as engine,
        served_app(create_app(engine, Settings(rate_per_s=0)), ws="auto") as url,
    ):
        engine.gallery.add(
            [
                GalleryFace(
                    f"photo/{row}",
                    bundle.gallery.embeddings[row],
                    metadata={"source": "made for tests", "caption": f"Face {row}"},
                    thumbnail=encode(Image.fromarray(cartoon(48)).convert("L")),
                    **named(engine, bundle.gallery.embeddings[row]),
                )
                for row in rows
            ]
        )
        yield url


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory, photograph_file: bytes) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "two.jpg"
    path.write_bytes(photograph_file)
    return path


class Page:
    """What a user does in the browser and sees there."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._errors: list[str] = []

    @contextmanager
    def served(self, engine: Engine, settings: Settings | None = None) -> Iterator[str]:
        """The address of a service, which ends after the browser has left it: its pages go on asking."""
        with served_app(create_app(engine, settings or Settings(rate_per_s=0)), ws="auto") as url:
            try:
                yield url
            finally:
                self.leave()

    def leave(self) -> None:
        """Go to an empty page; what the last one logged until then counts, not what its leaving causes."""
        self.errors()
        self.driver.get("about:blank")
        self.driver.get_log("browser")  # type: ignore[no-untyped-call]

    def open(self, url: str, hash_: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(f"{url}/{hash_}")

    def all(self, selector: str) -> list[WebElement]:
        """The elements that are visible; those removed from the page meanwhile are left out."""
        seen = []
        for each in self.driver.find_elements(By.CSS_SELECTOR, selector):
            with suppress(StaleElementReferenceException):
                if each.is_displayed():
                    seen.append(each)
        return seen

    def wait(self, selector: str) -> WebElement:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if found := self.all(selector):
                return found[0]
            time.sleep(0.05)
        raise AssertionError(f"{selector} did not come; the page says: {self.text('main')[:600]}")

    def text(self, selector: str) -> str:
        return str(self.driver.find_element(By.CSS_SELECTOR, selector).text)

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.run(f"return {condition}"):
            assert time.monotonic() < deadline, f"{condition} did not come true"
            time.sleep(0.05)

    def choose(self, path: Path) -> None:
        self.driver.find_element(By.ID, "file").send_keys(str(path))

    def errors(self) -> list[str]:
        """Errors of the pages so far; requests that the service refuses are none."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        lines = [line["message"] for line in log if line["level"] == "SEVERE"]
        self._errors += [line for line in lines if "the server responded with a status of 4" not in line]
        return self._errors


def violations(page: Page) -> list[Any]:
    """What axe-core finds against WCAG 2.2, levels A and AA, in the page as it is shown; skips without axe-core."""
    source = axe_source()
    if source is None:
        pytest.skip("needs axe-core: AXE_CORE names axe.min.js, or the archive that npm pack axe-core writes")
    page.run(source)
    found = page.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
        ".then(r => done(JSON.stringify(r.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 160))]))))"
    )
    return list(json.loads(found))


def narrow(page: Page) -> None:
    """Show the page as a phone does."""
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def label(element: WebElement) -> str:
    """What a screen reader reads out for an element."""
    return str(element.accessible_name)


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1400,1000",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Page]:
    page = Page(driver)
    yield page
    page.leave()
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert page.errors() == []


def test_start_page_offers_the_emotions(page: Page, url: str) -> None:
    page.open(url)
    page.until("document.querySelectorAll('#starters .chip').length === 8")
    assert [chip.text for chip in page.all("#starters .chip")] == list(EMOTIONS)
    page.all("#starters .chip")[1].click()
    page.wait("#found .found-title")
    assert page.driver.current_url.endswith("#/search/emotion/happiness")


def test_emotion_of_ones_own_has_a_name_and_a_colour(page: Page, served_engine: Engine, tmp_path: Path) -> None:
    bundle = served_engine.bundle
    points = bundle.gallery.embeddings[:1] + np.random.default_rng(0).normal(3, 0.1, (10, EMBEDDING_SIZE))
    faces = AdaptationFaces(points, np.full(10, len(EMOTIONS)), np.arange(10), (*EMOTIONS, "wink"))
    adaptation, report = adapt_bundle(bundle, EmbeddedFaces(faces, "photograph", {}), "points")
    write_adaptation(bundle, adaptation, report, tmp_path / "bundle")
    with page.served(load_engine(Settings(provider="cpu", bundle=tmp_path / "bundle"))) as url:
        page.open(url)
        page.until("document.querySelectorAll('#starters .chip').length === 9")
        page.all("#starters .chip")[-1].click()
        page.until("mien.state.title.includes('wink')")
        dot, root = "[...document.querySelectorAll('#starters .dot')].at(-1)", "document.documentElement"
        colours = page.run(
            f"return [getComputedStyle({dot}).getPropertyValue('--colour'), "
            f"getComputedStyle({root}).getPropertyValue('--own-1')]"
        )
        assert colours[0] == colours[1] != ""


def test_photograph_of_the_gallery_is_tried_with_one_click(page: Page, photographs_url: str) -> None:
    page.open(photographs_url)
    page.wait(".try img")
    tries = page.all(".try")
    assert len(tries) == 8
    assert "made for tests" in page.text("#try-sources")
    tries[0].click()
    page.wait(".match img")
    assert page.all(".query-face .photograph img"), "the face that was searched for is shown beside its matches"


def test_matches_of_each_face_of_a_picture_are_shown(page: Page, photographs_url: str, picture: Path) -> None:
    page.open(photographs_url)
    page.choose(picture)
    page.wait(".face-card")
    assert len(page.all(".box")) == 2
    assert label(page.wait(".face-strip a[aria-current]")).startswith("Face 1: ")
    assert len(page.all(".face-card .bars > div")) == 3
    page.wait(".match img")
    assert len(page.all(".match")) == 12
    assert [row.text for row in page.all(".match .number")] == sorted(row.text for row in page.all(".match .number"))
    first = page.text("#found .matches")
    page.all(".box")[1].click()
    page.until("document.querySelector('.face-strip a[aria-current]').ariaLabel.startsWith('Face 2')")
    page.until("!document.querySelector('#found .ghost') && document.querySelector('.match')")
    assert page.text("#found .matches") != first
    page.driver.back()
    page.until("document.querySelector('.face-strip a[aria-current]').ariaLabel.startsWith('Face 1')")
    page.until("!document.querySelector('#found .ghost') && document.querySelector('.match')")
    assert page.text("#found .matches") == first


def test_picture_is_sent_once_and_thumbnails_come_with_one_request(
    page: Page, photographs_url: str, tmp_path: Path, photograph_file: bytes
) -> None:
    """A large picture is scaled down before it is sent."""
    pixels = np.asarray(Image.open(io.BytesIO(photograph_file)).convert("RGB").resize((3000, 1500)))
    noise = np.random.default_rng(0).integers(0, 8, pixels.shape, dtype=np.uint8)
    Image.fromarray(pixels // 8 * 8 + noise).save(tmp_path / "large.png")
    page.open(photographs_url)
    page.wait(".try img")
    page.run(
        "window.sent = []; const real = window.fetch; window.fetch = (path, options = {}) => {"
        "const image = options.body instanceof FormData ? options.body.get('image').size : 0;"
        "window.sent.push([String(path).split('?')[0], image]); return real(path, options); }; performance.clearMarks()"
    )
    page.choose(tmp_path / "large.png")
    page.wait(".match img")
    sent = page.run("return window.sent")
    assert [path for path, _ in sent if path != "/portraits"] == ["/embed", "/retrieve", "/retrieve", "/thumbnails"]
    assert 0 < sent[0][1] < 400_000 < (tmp_path / "large.png").stat().st_size


def test_first_result_comes_soon(page: Page, photographs_url: str, picture: Path) -> None:
    """The aim is 0.5 s after the drop; the limit leaves room for a busy machine."""
    page.open(photographs_url)
    page.wait(".try img")
    page.run(
        "document.getElementById('file').addEventListener('change', () => (window.dropped = performance.now()), true);"
        "new MutationObserver(() => document.querySelector('.match') && (window.first ??= performance.now()))"
        ".observe(document.body, { subtree: true, childList: true })"
    )
    page.choose(picture)
    page.until("window.first > 0")
    assert page.run("return window.first - window.dropped") < 5000


def test_page_is_small(page: Page, url: str) -> None:
    """Less than 300 kB without pictures; the files are counted as they lie on disk, before any compression."""
    page.open(url, "#/map")
    page.wait("#map-legend .chip")
    sizes = page.run(
        "return performance.getEntriesByType('resource').filter(e => e.name.includes('/page/'))"
        ".map(e => e.decodedBodySize)"
    )
    assert 20_000 < sum(sizes) < 300_000


def test_many_faces_are_shown_as_a_strip(page: Page, url: str, tmp_path: Path, photograph_file: bytes) -> None:
    """64 faces, of which the service answers 50: the page says so, and names only the chosen one."""
    one = Image.open(io.BytesIO(photograph_file)).convert("RGB")
    two = one.resize((320, 160))
    sheet = Image.new("RGB", (1280, 1280))
    for place in range(32):
        sheet.paste(two, (place % 4 * 320, place // 4 * 160))
    sheet.save(tmp_path / "many.jpg")
    page.open(url)
    page.choose(tmp_path / "many.jpg")
    page.wait(".face-strip")
    assert len(page.all(".box")) == 50
    assert "50 largest faces" in page.text("#query")
    page.until("document.querySelectorAll('.box-name').length === 50")
    assert len(page.all(".box-name")) == 1


def test_start_over_leaves_nothing_behind(page: Page, url: str, picture: Path) -> None:
    page.open(url)
    page.choose(picture)
    page.wait(".face-card")
    next(button for button in page.all("#query button") if button.text == "Start over").click()
    page.wait("#start .drop")
    assert not page.all("#answer")
    page.driver.back()
    page.wait(".face-card")


def test_picture_of_another_tab_leads_to_the_start(page: Page, url: str) -> None:
    page.open(url, "#/search/picture/7.0")
    page.wait("#start .drop")
    assert page.driver.current_url.endswith("#/search")


@pytest.mark.parametrize("broken", ["id/%E0%A4%A", "mix/%", "picture/%80", "mix/a", "unknown/1", "emotion/%F0"])
def test_broken_address_leads_to_the_start(page: Page, url: str, broken: str) -> None:
    page.open(url, f"#/search/{broken}")
    page.wait("#start .drop")
    assert page.errors() == []
    assert page.driver.current_url.endswith("#/search")


def test_far_match_is_said_to_be_far(page: Page, photographs_url: str, served_engine: Engine) -> None:
    """All photographs of this gallery are happy: none is near to sadness."""
    page.open(photographs_url, "#/search/emotion/sadness")
    page.wait(".match img")
    assert "No close match" in page.text("#found .notice")
    page.open(photographs_url, "#/search/emotion/happiness")
    page.wait(".match img")
    assert not page.all("#found .notice")


def test_rated_faces_are_summarised_and_opened(page: Page, url: str) -> None:
    page.open(url, "#/search/emotion/happiness")
    page.wait(".group")
    counts = [int(count.text.split(" of ")[0]) for count in page.all(".group-count")]
    assert sum(counts) == 100
    assert "People voted happiness" in page.text(".group")
    assert page.all(".match img"), "photographs that are free to show come first"
    page.wait(".group summary").send_keys(Keys.ENTER)
    page.wait(".rated li")
    assert len(page.all(".group[open] .rated li")) == counts[0]
    page.run("document.querySelector('.rated a').click()")
    page.wait(".face-card .votes")
    assert "#/search/id/" in page.driver.current_url


@needs_london
def test_photograph_is_classified(page: Page, url: str) -> None:
    photographs = london_photographs("happiness")
    page.open(url)
    page.choose(photographs[-2])
    page.wait(".face-card")
    assert page.text(".face-emotion") in EMOTIONS
    box, stage = page.wait(".box").rect, page.wait(".stage-frame img").rect
    assert stage["x"] < box["x"] < box["x"] + box["width"] < stage["x"] + stage["width"]
    page.wait(".group .portrait.painted")


def test_matches_are_filtered_paged_and_followed(page: Page, served_engine: Engine, tmp_path: Path) -> None:
    points = served_engine.bundle.gallery.embeddings[:60]
    with gallery_engine(served_engine, tmp_path) as engine, page.served(engine) as url:
        engine.gallery.add([GalleryFace(f"{row}", point, **named(engine, point)) for row, point in enumerate(points)])
        page.open(url, "#/search/emotion/surprise")
        page.until("document.querySelectorAll('.match').length === 13")
        page.wait("#found .more button").click()
        page.until("document.querySelectorAll('.match').length === 26")
        page.wait('#found .chip[data-key="happiness"]').click()
        page.until("!document.querySelector('#found .ghost') && document.querySelector('.match')")
        assert page.text('#found .chip[aria-pressed="true"]') == "happiness"
        assert all(name.text.startswith("happiness") for name in page.all(".match-name"))
        links = page.all(".match-picture")
        assert len(links) == min(13, engine.gallery.statistics().emotions["happiness"])
        more_like = links[1].get_attribute("href")
        links[1].click()
        page.wait(".query-face")
        assert page.driver.current_url == more_like
        page.driver.back()
        page.until("document.querySelector('.query-face h2')?.textContent === 'The centre of surprise'")
        page.until("document.querySelectorAll('.match').length === 13")


def test_sub_class_is_chosen_with_the_keyboard(page: Page, url: str, served_engine: Engine) -> None:
    page.open(url, "#/search/emotion/surprise")
    page.wait(".group")
    page.wait('#found .chip[data-key="happiness"]').send_keys(Keys.ENTER)
    page.wait('#found .chip[data-key="happiness/2"]')
    page.wait(".group")
    assert page.run("return document.activeElement.dataset.key") == "happiness"
    page.wait('#found .chip[data-key="happiness/2"]').send_keys(Keys.ENTER)
    page.wait('#found .chip[data-key="happiness/2"][aria-pressed="true"]')
    page.wait(".group")
    name = served_engine.bundle.sub_class_names["happiness/2"]
    assert page.text(".group strong") == name.replace("/", ", ")
    assert page.text('#found .chip[data-key="happiness/2"]') == name.removeprefix("happiness/")
    assert int(page.text(".group-count").split()[0]) > 90
    assert page.run("return document.activeElement.dataset.key") == "happiness/2"


def test_one_face_of_each_person_is_shown(page: Page, tmp_path: Path, served_engine: Engine) -> None:
    settings = Settings(gallery=str(tmp_path / "gallery"), rate_per_s=0, provider="cpu")
    points = served_engine.bundle.mixture.centroids[:3].tolist()
    items = [
        {"id": str(row), "subject": "ben" if row == 2 else "anna", "embedding": point}
        for row, point in enumerate(points)
    ]
    with loaded_engine(settings) as engine, page.served(engine, settings) as url:
        assert httpx.post(f"{url}/gallery", json={"items": items}).status_code == 201
        page.open(url, "#/search/emotion/neutral")
        page.until("document.querySelectorAll('.match').length === 3")
        page.wait('#found .switch input[role="switch"]').click()
        page.until("document.querySelectorAll('.match').length === 2")
        assert page.run("return document.activeElement.checked")
        page.wait("#found .switch input").click()
        page.until("document.querySelectorAll('.match').length === 3")


def test_explanation_is_drawn_over_the_face(page: Page, url: str, picture: Path) -> None:
    page.open(url)
    page.choose(picture)
    page.wait(".face-card button").click()
    heat = page.wait(".heat")
    assert "rests on" in (heat.get_attribute("aria-label") or "")
    drawn = page.run("return new Set(arguments[0].getContext('2d').getImageData(0,0,192,192).data).size", heat)
    assert drawn > 20
    assert page.run("return arguments[0].getBoundingClientRect().bottom <= innerHeight", heat), "it is in view"


def test_picture_without_a_face_can_be_taken_as_one(page: Page, url: str, tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "gray").save(tmp_path / "grey.png")
    page.open(url)
    page.choose(tmp_path / "grey.png")
    assert page.wait("#problem").text.startswith("No face was found")
    page.wait("#problem button").click()
    page.wait(".face-card")
    assert not page.all("#problem")


def test_camera_without_a_face_says_so(page: Page, url: str) -> None:
    """Chromium's test picture has no face."""
    page.open(url, "#/camera")
    page.wait("#camera-start").click()
    page.until("document.getElementById('video').videoWidth > 0")
    page.until("document.getElementById('camera-words').textContent.startsWith('No face yet')")
    page.wait("#camera-stop").click()
    assert page.run("return document.getElementById('video').srcObject") is None


def test_camera_follows_a_face_and_freezes(page: Page, photographs_url: str, picture: Path) -> None:
    """A moving picture takes the place of the camera, because Chromium's test picture has no face."""
    page.open(photographs_url, "#/camera")
    page.run(
        "const image = new Image(); image.src = arguments[0];"
        "const canvas = document.createElement('canvas'); canvas.width = 1000; canvas.height = 500;"
        "let step = 0; setInterval(() => canvas.getContext('2d').drawImage(image, step++ % 9, 0), 50);"
        "navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(20)",
        "data:image/jpeg;base64," + base64.b64encode(picture.read_bytes()).decode(),
    )
    page.wait("#camera-start").click()
    page.until("document.querySelectorAll('#camera-boxes .box').length === 2")
    left = page.run(
        "return [...document.querySelectorAll('#camera-boxes .box')].map(b => +b.style.getPropertyValue('--x'))"
    )
    assert left[0] < 0.5 < left[1], "as in a mirror: the larger face, on the right of the picture, is on the left"
    page.wait("#camera-found img")
    assert len(page.all("#camera-found li")) == 6
    assert page.text("#camera-sources") == "Photographs: made for tests."
    page.until("window.mien.camera.map.trail.length > 1")
    page.wait("#freeze").click()
    frozen = page.run("return window.mien.camera.map.trail.length")
    time.sleep(0.5)
    assert page.run("return window.mien.camera.map.trail.length") == frozen
    page.wait("#frozen-search").click()
    page.wait(".match img")
    assert len(page.all(".box")) == 2
    assert page.run("return document.getElementById('video').srcObject") is None, "the camera is off"


@pytest.fixture
def folder(tmp_path: Path, photograph_file: bytes) -> Path:
    """Ten pictures with two faces each, one of a wall, and one that is no picture."""
    two = Image.open(io.BytesIO(photograph_file)).convert("RGB")
    for number in range(10):
        two.resize((1000 - 20 * number, 500 - 10 * number)).save(tmp_path / f"{number}.jpg")
    Image.new("RGB", (300, 300), "gray").save(tmp_path / "wall.png")
    (tmp_path / "notes.jpg").write_text("no picture")
    return tmp_path


def choose_folder(page: Page, folder: Path) -> None:
    files = sorted(each for each in folder.iterdir() if each.suffix in {".jpg", ".png"})
    page.driver.find_element(By.ID, "file").send_keys("\n".join(map(str, files)))
    page.until("document.getElementById('own-words').textContent === '20 faces of 12 pictures'")


def test_own_pictures_are_laid_out_by_expression_and_likeness(page: Page, url: str, folder: Path) -> None:
    page.open(url)
    page.run(  # redraws, which are put off by 0.4 s, wait for longer than the pictures take on a busy machine
        "const later = setTimeout, never = clearTimeout; window.waiting = new Set();"
        "window.setTimeout = (work, ms) => {"
        "  if (ms !== 400) return later(work, ms);"
        "  const id = later(() => { waiting.delete(id); work(); }, 100 * ms); waiting.add(id); return id; };"
        "window.clearTimeout = (id) => { waiting.delete(id); never(id); }"
    )
    choose_folder(page, folder)
    assert page.driver.current_url.endswith("#/pictures")
    page.until("document.querySelectorAll('.own-face img').length === 20")
    page.until("document.getElementById('own-progress').hidden")
    assert page.run("return window.waiting.size") == 0, "a redraw would replace the face that is chosen next"
    page.wait("#own-skipped summary").click()
    counts = "[...document.querySelectorAll('.own-group .group-count')].map((count) => Number(count.textContent))"
    assert sum(page.run(f"return {counts}")) == 20
    skipped = page.text("#own-skipped")
    assert "2 pictures left out" in skipped
    assert "No face was found in “wall.png”" in skipped
    assert "“notes.jpg” is no picture" in skipped

    page.all(".own-face")[0].send_keys(Keys.ENTER)
    page.wait(".own-chosen")
    words = page.run("return [...document.querySelectorAll('.own-face')].map((face) => face.innerText.trim())")
    assert words[0] == "chosen"
    distances = [float(word.split()[-1]) for word in words[1:]]
    assert distances == sorted(distances)
    assert page.run("return document.activeElement.getAttribute('aria-pressed')") == "true"

    page.wait("#own-on-map").click()
    page.wait("#map-own input")
    page.until("window.mien.map.own.faces.size === 20")
    page.driver.back()
    page.wait(".own-chosen a").click()
    page.wait(".group")
    assert "#/search/picture/" in page.driver.current_url

    page.run("location.hash = '#/pictures'")
    page.wait("#own-keep").click()
    page.until("document.getElementById('own-kept').textContent.includes('MIEN_GALLERY')")
    page.wait("#own-forget").click()
    page.wait("#own-empty")
    assert not page.all(".own-face")


def test_own_pictures_are_kept_as_a_gallery_on_request(
    page: Page, served_engine: Engine, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with gallery_engine(served_engine, tmp_path_factory.mktemp("own")) as engine, page.served(engine) as url:
        page.open(url)
        choose_folder(page, folder)
        assert engine.gallery.count() == 0, "nothing is written unless it is asked for"
        page.wait("#own-keep").click()
        page.until("document.getElementById('own-kept').textContent.startsWith('20 faces added')")
        assert engine.gallery.count() == 20
        face = engine.gallery.get("3.jpg#2")
        assert face.metadata == {"path": "3.jpg"}
        assert face.thumbnail is not None


def test_gallery_is_filtered_and_a_face_is_relabelled_and_deleted(
    page: Page, served_engine: Engine, tmp_path: Path, picture: Path
) -> None:
    points = served_engine.bundle.gallery.embeddings[:70]
    people = ["anna", "ben", None]
    with gallery_engine(served_engine, tmp_path / "gallery") as engine, page.served(engine) as url:
        engine.gallery.add(
            [
                GalleryFace(f"{row:02}", point, subject=people[row % 3], time=86_400.0 * row, **named(engine, point))
                for row, point in enumerate(points)
            ]
        )
        page.open(url, "#/gallery")
        page.until("document.querySelectorAll('#gallery-faces li').length === 60")
        page.wait("#gallery-more").click()
        page.until("document.querySelectorAll('#gallery-faces li').length === 70")
        page.wait('[name="subject"]').send_keys("anna", Keys.TAB)
        page.until("document.getElementById('gallery-words').textContent === '24 faces'")
        page.run(
            "const to = document.querySelector('[name=to]'); to.value = '1970-01-10';"
            "to.dispatchEvent(new Event('change', { bubbles: true }))"
        )
        page.until("document.getElementById('gallery-words').textContent === '4 faces'")
        emotion = named(engine, points[0])["emotion"]
        page.wait(f'[name="emotion"] option[value="{emotion}"]').click()
        page.until("/^[1-4] faces?$/.test(document.getElementById('gallery-words').textContent)")

        page.wait("#gallery-faces a").click()
        page.wait(".face-form")
        assert "00" in page.text(".fields")
        page.wait('.face-form [name="label"] option[value="fear"]').click()
        page.wait('.face-form button[type="submit"]').click()
        page.until("document.querySelector('.fields')?.textContent.includes('fear')")
        assert engine.gallery.get("00").label == "fear"
        page.wait(".neighbours .match")

        buttons = {button.text: button for button in page.all(".face-actions button")}
        buttons["Delete"].click()
        page.wait("#confirm-dialog[open]")
        page.driver.switch_to.active_element.send_keys(Keys.ENTER)
        time.sleep(0.3)
        assert engine.gallery.count() == 70, "the button that has the focus keeps the face"
        buttons["Delete everything of anna"].click()
        page.wait("#confirm-dialog .danger").click()
        page.wait("#gallery-words")
        assert page.driver.current_url.endswith("#/gallery")
        assert engine.gallery.count() == 46

        page.choose(picture)
        page.until("document.getElementById('gallery-added').textContent.startsWith('1 face added')")
        assert engine.gallery.get("two.jpg").metadata == {"path": "two.jpg"}


def test_large_pictures_are_scaled_down_and_too_large_ones_left_out(
    page: Page, served_engine: Engine, tmp_path: Path, photograph_file: bytes
) -> None:
    """What a browser cannot read cannot be scaled down; it does not keep the others from being added."""
    pixels = np.asarray(Image.open(io.BytesIO(photograph_file)).convert("RGB").resize((3000, 1500)))
    noise = np.random.default_rng(0).integers(0, 8, pixels.shape, dtype=np.uint8)
    Image.fromarray(pixels // 8 * 8 + noise).save(tmp_path / "large.png")
    (tmp_path / "odd.heic").write_bytes(bytes(1_500_000))
    assert (tmp_path / "large.png").stat().st_size > 1_000_000
    settings = Settings(rate_per_s=0, max_body_bytes=1_000_000)
    with gallery_engine(served_engine, tmp_path / "gallery") as engine, page.served(engine, settings) as url:
        page.open(url, "#/gallery")
        page.wait("#gallery-add")
        page.driver.find_element(By.ID, "file").send_keys(f"{tmp_path / 'odd.heic'}\n{tmp_path / 'large.png'}")
        page.until("document.getElementById('gallery-added').textContent.startsWith('1 face added')")
        assert "“odd.heic” is too large for this service." in page.text("#gallery-added")
        assert engine.gallery.get("large.png").metadata == {"path": "large.png"}


def test_gallery_that_ships_is_read_only(page: Page, url: str, picture: Path) -> None:
    page.open(url, "#/gallery/id/fer0000002")
    page.wait(".fields, #gallery-face .problem")
    assert not page.all(".face-form")
    page.run("location.hash = '#/gallery'")
    page.until("document.getElementById('gallery-words').textContent !== ''")
    assert not page.all("#gallery-add")
    page.choose(picture)
    page.until("document.getElementById('gallery-added').textContent.includes('writes nothing')")


def test_search_starts_from_the_map(page: Page, url: str) -> None:
    page.open(url, "#/map")
    page.wait("#map-legend .chip")
    page.until("window.mien.map.drawn > 0")
    drawn = page.run(
        "const c = document.getElementById('map-canvas');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 3; i < d.length; i += 4) if (d[i]) n += 1; return n"
    )
    assert drawn > 20_000
    canvas = page.wait("#map-canvas")
    where = (
        "const m = window.mien.map; const r = m.data.emotions.find(e => e.id === arguments[0]);"
        "return m.toScreen(r.x, r.y).map(v => v / m.ratio)"
    )
    size = canvas.size
    (ax, ay), (bx, by) = page.run(where, "happiness"), page.run(where, "surprise")
    offset = (-size["width"] / 2, -size["height"] / 2)

    ActionChains(page.driver).move_to_element_with_offset(canvas, ax + offset[0], ay + offset[1]).click().perform()
    page.wait("#map-found .group")
    assert page.driver.current_url.endswith("#/map/emotion/happiness")

    drag = ActionChains(page.driver, duration=50).move_to_element_with_offset(canvas, ax + offset[0], ay + offset[1])
    drag.click_and_hold().move_by_offset(10, 10).move_to_element_with_offset(canvas, bx + offset[0], by + offset[1])
    drag.release().perform()
    page.wait("#map-found .found-title")
    assert "/map/mix/" in page.driver.current_url
    assert "50 % happiness, 50 % surprise" in page.text("#map-found")
    page.wait("#map-found .group")
    assert {row.text.split(",")[0] for row in page.all("#map-found .group strong")} >= {"happiness", "surprise"}


def test_names_on_the_map_do_not_cover_one_another(page: Page, url: str) -> None:
    narrow(page)
    page.open(url, "#/map")
    page.wait("#map-legend .chip")
    page.until("window.mien.map.drawn > 0")
    places = page.run("const m = mien.map; return m.labels().map(l => [l.region.id, l.x, l.y, l.width, 26 * m.ratio])")
    assert {name for name, *_ in places} == set(EMOTIONS)
    for row, (one, ax, ay, a_width, height) in enumerate(places):
        for other, bx, by, b_width, _ in places[row + 1 :]:
            apart = abs(ax - bx) >= (a_width + b_width) / 2 or abs(ay - by) >= height
            assert apart, f"{one} covers {other}"


def test_map_is_moved_with_the_keyboard(page: Page, url: str) -> None:
    page.open(url, "#/map")
    page.wait("#map-legend .chip")
    before = page.run("return {...window.mien.map.view}")
    page.wait("#map-canvas").send_keys("+", Keys.ARROW_RIGHT)
    after = page.run("return {...window.mien.map.view}")
    assert after["scale"] > before["scale"]
    assert after["x"] > before["x"]
    page.wait("#map-canvas").send_keys("0")
    assert page.run("return window.mien.map.view.scale") == pytest.approx(before["scale"])


def test_map_pans_smoothly(page: Page, url: str) -> None:
    """The time of a frame; the aim is 30 frames a second, the limit leaves room for a busy machine."""
    page.open(url, "#/map")
    page.wait("#map-legend .chip")
    frame_ms = page.run(
        "const m = window.mien.map; const times = [];"
        "for (let i = 0; i < 40; i += 1)"
        "{ m.view.x += 0.01; const t = performance.now(); m.draw(); times.push(performance.now() - t); }"
        "return times.sort((a, b) => a - b)[10]"
    )
    assert frame_ms < 100


def test_atlas_shows_every_emotion(page: Page, url: str) -> None:
    page.open(url, "#/atlas")
    page.wait(".region .portrait.painted")
    assert [each.text for each in page.all(".region h2")] == list(EMOTIONS)
    shares = page.run(
        "return [...document.querySelectorAll('.region')].map(region => [...region.querySelectorAll('.subs .hint')]"
        ".map(hint => parseInt(hint.textContent.replace('<', ''))).reduce((a, b) => a + b, 0))"
    )
    assert all(97 <= sum_ <= 103 for sum_ in shares if sum_), "the shares of an emotion's classes add to all of it"
    page.run("document.querySelector('.region .subs a').click()")
    page.wait(".group")
    assert "#/search/sub_class/" in page.driver.current_url


def test_imported_photographs_are_shown(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photographs").mkdir()
    Image.fromarray(cartoon(300)).save(tmp_path / "photographs" / "anna.png")
    monkeypatch.setenv("MIEN_GALLERY_THUMBNAILS", "true")
    assert main(["gallery", "import", str(tmp_path / "photographs"), "--gallery", str(tmp_path / "gallery")]) == 0
    settings = Settings(gallery=str(tmp_path / "gallery"), rate_per_s=0, provider="cpu")
    with loaded_engine(settings) as engine, page.served(engine, settings) as url:
        page.open(url, "#/search/emotion/neutral")
        assert str(page.wait(".match img").get_attribute("src")).startswith("blob:")
        assert len(page.all(".match")) == 1


def test_match_says_what_it_shares_with_the_query(page: Page, url: str) -> None:
    page.open(url, "#/search/emotion/happiness")
    page.wait(".group summary").click()
    button = page.wait(".rated button")
    assert str(button.get_attribute("aria-label")).startswith("Why is ")
    page.run("arguments[0].click()", button)
    page.wait("#why-dialog[open] .agreement")
    words = page.text("#why-content")
    assert "Both lie nearest to happiness" in words
    assert "Neither has a picture here" in words
    assert "of their probability is shared" in words
    assert words.count("no photograph: the average face of its point") == 2
    page.until("document.querySelectorAll('#why-dialog .pair .portrait.painted').length === 2")
    page.run("arguments[0].click()", page.wait("#why-close"))
    assert not page.all("#why-dialog")


def test_match_of_a_picture_shows_where_both_are_alike(page: Page, photographs_url: str, picture: Path) -> None:
    page.open(photographs_url)
    page.choose(picture)
    button = page.wait(".match-near button")
    page.run("arguments[0].click()", button)
    heat = page.wait("#why-dialog .pair .heat")
    assert "alike by the" in str(heat.get_attribute("aria-label"))
    assert "covered, the two move apart" in page.text("#why-content")
    assert "its picture: made for tests" in page.text("#why-dialog .pair figure:last-child")
    drawn = page.run("return new Set(arguments[0].getContext('2d').getImageData(0,0,192,192).data).size", heat)
    assert drawn > 20


def test_photographs_say_where_they_come_from(page: Page, photographs_url: str) -> None:
    page.open(photographs_url, "#/gallery")
    link = page.wait("#gallery-faces a")
    assert "made for tests" in str(link.get_attribute("title"))
    assert page.text("#gallery-sources") == "Photographs: made for tests."
    link.click()
    assert "made for tests" in str(page.wait(".neighbours .match a").get_attribute("title"))
    assert "Photographs: made for tests." in page.text(".neighbours")
    page.run("location.hash = '#/atlas'")
    assert "made for tests" in str(page.wait(".strip a").get_attribute("title"))
    page.until("document.getElementById('atlas-sources').textContent === 'Photographs: made for tests.'")
    page.run("location.hash = '#/map'")
    page.until("window.mien.map.drawn > 0")
    page.run(
        "const { map } = window.mien, box = map.canvas.getBoundingClientRect();"
        "const places = map.data.ids.map((id, row) => map.toScreen(map.data.x[row], map.data.y[row]));"
        "const [x, y] = places.find((place) => map.under(...place)?.face !== undefined);"
        "const place = { clientX: box.left + x / map.ratio, clientY: box.top + y / map.ratio };"
        "map.canvas.dispatchEvent(new PointerEvent('pointermove', { pointerId: 9, ...place }))"
    )
    page.until("document.querySelector('#map-tip .source')?.textContent === 'made for tests'")


def test_map_and_atlas_show_your_gallery(page: Page, tmp_path: Path, served_engine: Engine) -> None:
    thumbnail = encode(Image.fromarray(cartoon(48)).convert("L"))
    points = served_engine.bundle.gallery.embeddings[:40]
    faces = [
        GalleryFace(f"own{row}", point, thumbnail=thumbnail, **named(served_engine, point))
        for row, point in enumerate(points)
    ]
    with gallery_engine(served_engine, tmp_path / "gallery") as engine, page.served(engine) as url:
        engine.gallery.add(faces[:39])
        page.open(url, "#/map")
        page.wait("#map-legend .chip")
        page.until("window.mien.map.drawn > 0")
        assert "39 faces of your gallery" in page.text("#map-words")
        assert page.run("return window.mien.map.data.ids.length") == 39
        page.run("location.hash = '#/atlas'")
        page.wait(".region .strip .photograph img")
        assert "your gallery, 39 faces" in page.text("#atlas-words")
        engine.gallery.add(faces[39:])
        page.run("location.hash = '#/map'")
        page.until("(window.mien.map.start(), window.mien.map.data.ids.length === 40)")
        assert "40 faces of your gallery" in page.text("#map-words")


def test_file_that_is_no_picture_is_refused_with_a_reason(page: Page, url: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    page.open(url)
    page.choose(tmp_path / "notes.txt")
    problem = page.wait("#problem").text
    assert "That picture did not work" in problem
    assert "“notes.txt” is no picture that mien can read" in problem
    assert "JPEG" in problem
    assert page.all(".drop"), "another can be chosen"
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    page.choose(tmp_path / "photo.heic")
    page.until("document.getElementById('problem').textContent.includes('HEIC photograph')")


def test_page_asks_for_a_key(page: Page, served_engine: Engine, tmp_path: Path) -> None:
    key = create_key(tmp_path / "keys.json", "someone", "read")
    with page.served(served_engine, Settings(keys=tmp_path / "keys.json", rate_per_s=0)) as url:
        page.open(url, "#/search/emotion/fear")
        page.wait("#key-dialog[open]")
        page.wait("#key").send_keys("wrong", Keys.ENTER)
        time.sleep(0.5)
        page.wait("#key-dialog[open]")
        page.wait("#key").send_keys(key, Keys.ENTER)
        page.wait("#found .group .portrait.painted")


@pytest.mark.parametrize("view", ["search", "pictures", "camera", "map", "gallery", "atlas", "about"])
def test_page_fits_a_narrow_screen(page: Page, url: str, view: str) -> None:
    narrow(page)
    page.open(url, f"#/{view}")
    page.wait(f"#{view}")
    time.sleep(0.5)
    assert page.run("return document.documentElement.scrollWidth") <= 360


def test_views_are_in_sight_on_a_phone(page: Page, url: str) -> None:
    narrow(page)
    page.open(url, "#/atlas")
    page.wait("nav a[aria-current]")
    box = page.run("return document.querySelector('nav a[aria-current]').getBoundingClientRect().toJSON()")
    assert 0 <= box["left"] < box["right"] <= 360


def test_matches_are_explained_on_a_phone(page: Page, photographs_url: str, picture: Path) -> None:
    narrow(page)
    page.open(photographs_url)
    page.choose(picture)
    page.wait(".match img")
    assert len(page.all(".match-near button")) == len(page.all(".match"))
    stage, screen = page.wait(".stage-frame").rect, 360
    assert stage["width"] > 0.8 * screen, "a wide picture takes the whole width"
    name, frame = page.wait(".box.chosen .box-name").rect, page.wait(".boxes").rect
    assert name["y"] >= frame["y"], "the name is not cut off"


def test_problem_is_in_sight(page: Page, url: str, tmp_path: Path) -> None:
    narrow(page)
    Image.new("RGB", (300, 300), "gray").save(tmp_path / "grey.png")
    page.open(url)
    page.choose(tmp_path / "grey.png")
    page.wait("#problem")
    assert page.run("return document.getElementById('problem').getBoundingClientRect().bottom") < 740


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "address",
    ["#/search", "#/search/emotion/anger", "#/pictures", "#/camera", "#/map", "#/gallery", "#/atlas", "#/about"],
)
def test_page_is_accessible(page: Page, url: str, address: str, theme: str) -> None:
    """axe-core finds no violation of WCAG 2.2, levels A and AA."""
    page.open(url)
    page.run("localStorage.setItem('mien-theme', arguments[0])", theme)
    page.open(url, address)
    shown = {"#/map": "#map-legend .chip", "#/atlas": ".region", "#/about": ".prose", "#/camera": "#camera-start"}
    shown |= {"#/pictures": "#own-add", "#/gallery": "#gallery-words"}
    page.wait(shown.get(address, "#starters .chip, .group"))
    time.sleep(0.6)
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_answer_about_a_picture_is_accessible(page: Page, url: str, picture: Path, folder: Path, theme: str) -> None:
    page.open(url)
    page.run("localStorage.setItem('mien-theme', arguments[0])", theme)
    page.open(url)
    page.choose(picture)
    page.wait(".match img")
    page.wait(".group summary").click()
    time.sleep(0.6)
    assert violations(page) == []
    choose_folder(page, folder)
    page.wait(".own-face").click()
    page.wait(".own-chosen")
    time.sleep(0.6)
    assert violations(page) == []


def test_page_asks_no_other_host(page: Page, url: str) -> None:
    page.open(url, "#/atlas")
    page.wait(".region .portrait.painted")
    asked = page.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert asked
    assert all(name.startswith((url, "blob:")) for name in asked)
    assert len(page.driver.get_screenshot_as_png()) > 10_000
    assert Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).width == 1400

"""The Python blocks of the README and the guides run, those that need one against a service."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from mien.index.gallery.face import GalleryFace
from mien.service.app import create_app
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.cartoon import cartoon
from tests.support.data import ROOT
from tests.support.engines import gallery_engine
from tests.support.serving import served_app
from tests.support.videos import encode_video, scene

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
ADDRESS = "http://localhost:8000"


def blocks() -> list[tuple[str, str]]:
    return [(page.name, block) for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def folder(served_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the guides use: photo.jpg, photos/, clip.mp4, and my_gallery/."""
    folder = tmp_path_factory.mktemp("guides")
    (folder / "photos").mkdir()
    for path in (folder / "photo.jpg", folder / "photos" / "a.jpg", folder / "photos" / "b.jpg"):
        Image.fromarray(cartoon(300)).save(path)
    (folder / "clip.mp4").write_bytes(encode_video([scene([(200 + 5 * number, 120)]) for number in range(10)]))
    with gallery_engine(served_engine, folder / "my_gallery") as engine:
        engine.gallery.add([GalleryFace("one", engine.bundle.gallery.embeddings[0], subject="anna")])
    return folder


@pytest.fixture(scope="module")
def address(served_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service on a writable gallery with some faces."""
    points = served_engine.bundle.gallery.embeddings[:40]
    with (
        gallery_engine(served_engine, tmp_path_factory.mktemp("gallery") / "gallery") as engine,
        served_app(create_app(engine, Settings(rate_per_s=0))) as url,
    ):
        engine.gallery.add([GalleryFace(f"f{row}", point, emotion="fear") for row, point in enumerate(points)])
        yield url


def test_guides_have_python_blocks() -> None:
    for page, count in (("README.md", 1), ("client.md", 5), ("python.md", 6)):
        assert sum(name == page for name, _ in blocks()) >= count, page


@pytest.mark.parametrize(("page", "block"), blocks(), ids=lambda value: value[:60])
def test_python_block_runs_and_prints(page: str, block: str, folder: Path, address: str) -> None:
    program = block.replace(ADDRESS, address)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{page}: {done.stderr}"
    assert done.stdout.strip(), page

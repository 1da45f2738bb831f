"""Fixtures: data sets, and what is expensive to make, once for all tests. Nothing may change or write into them."""

import gc
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import data, faces, images
from tests.support.faces import MakeFaces, WriteSplit
from tests.support.small_run import SmallRun, make_small_run

if TYPE_CHECKING:
    from mien.index.bundle.bundle import Bundle
    from mien.service.inference.engine import Engine
    from tests.support.engines import SlowEngine
    from tests.support.scheduling import FileScheduling

SYSTEM = data.ROOT / "tests" / "system"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark system tests: those of tests/system, and all that need Milvus."""
    for item in items:
        if SYSTEM in item.path.parents or item.get_closest_marker("milvus") is not None:
            item.add_marker("system")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> "FileScheduling":
    """Keep the tests of a file together where several processes run tests."""
    from tests.support.scheduling import FileScheduling

    return FileScheduling(config, log)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking at the imported libraries again and again: a quarter of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Undo what a test that starts the service in this process does to the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def ferplus_root() -> Path:
    """The folder of FER+."""
    if data.FERPLUS_PROBLEM:
        pytest.skip(data.FERPLUS_PROBLEM)
    return data.FERPLUS


@pytest.fixture(scope="session")
def london_root() -> Path:
    """The folder of the London photographs."""
    if data.LONDON_PROBLEM:
        pytest.skip(data.LONDON_PROBLEM)
    return data.LONDON


@pytest.fixture(scope="session")
def make_faces() -> MakeFaces:
    """The function of that name."""
    return faces.make_faces


@pytest.fixture(scope="session")
def write_split() -> WriteSplit:
    """The function of that name."""
    return faces.write_split


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """A small run of training, export and build."""
    return make_small_run(tmp_path_factory.mktemp("small_run"))


@pytest.fixture(scope="session")
def shipped_bundle(served_engine: "Engine") -> "Bundle":
    """The bundle that the package ships."""
    return served_engine.bundle


@pytest.fixture(scope="session")
def served_engine() -> "Engine":
    """The shipped bundle, loaded."""
    from mien.service.inference.engine import load_engine
    from mien.service.settings import Settings

    return load_engine(Settings(provider="cpu"))


@pytest.fixture
def slow(served_engine: "Engine") -> Iterator["SlowEngine"]:
    """The shipped bundle, loaded, with a network that waits for a test to let it go on."""
    from tests.support.engines import SlowEngine

    engine = SlowEngine(served_engine)
    yield engine
    engine.go.set()


@pytest.fixture(scope="session")
def crop_file() -> bytes:
    """A face crop, as a PNG file."""
    return images.encode(faces.make_faces(1).images[0])


@pytest.fixture(scope="session")
def photograph_file() -> bytes:
    """A photograph with two faces, the larger on the right, as a JPEG file."""
    return images.encode(images.two_faces(), "JPEG")

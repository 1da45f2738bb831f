"""The lock files of the images are current, complete and say nothing of where they were made."""

import re
from importlib.metadata import PackageNotFoundError, requires

import pytest
from lock import LOCKS, PLATFORM, PYTHON, Lock, read_pyproject
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PIN = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M
)
TARGET = {
    "extra": "",
    "python_version": PYTHON,
    "python_full_version": f"{PYTHON}.9",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": PLATFORM.removesuffix("_manylinux_2_28"),
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}

every_lock = pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)


def pins(lock: Lock) -> dict[str, Version]:
    return {pin["name"]: Version(pin["version"]) for pin in PIN.finditer(lock.path.read_text(encoding="utf-8"))}


@every_lock
def test_it_is_current(lock: Lock) -> None:
    assert lock.fingerprint(read_pyproject()) in lock.path.read_text(encoding="utf-8"), "run `make lock`"


@every_lock
def test_it_holds_hashed_pins_and_nothing_else(lock: Lock) -> None:
    text = lock.path.read_text(encoding="utf-8")
    assert not re.sub(r"^#.*\n", "", PIN.sub("", text), flags=re.M).strip()
    assert "://" not in text


@every_lock
def test_it_satisfies_what_the_project_asks_for(lock: Lock) -> None:
    pinned = pins(lock)
    for requirement in map(Requirement, lock.requirements(read_pyproject())):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


@every_lock
def test_what_a_distribution_asks_for_is_there(lock: Lock) -> None:
    """As far as it is installed here: images are installed without looking at dependencies again."""
    pinned = pins(lock)
    for name in pinned:
        try:
            asked = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, asked):
            if requirement.marker is None or requirement.marker.evaluate(TARGET):
                wanted = canonicalize_name(requirement.name)
                assert wanted in pinned, f"{name} asks for {requirement}"


def test_an_image_has_one_onnx_runtime_and_one_faiss() -> None:
    for lock in LOCKS:
        names = set(pins(lock))
        assert not {"onnxruntime", "onnxruntime-gpu"} <= names
        assert not {"faiss-cpu", "faiss-gpu"} <= names


def test_the_images_that_serve_hold_no_torch() -> None:
    for lock in LOCKS:
        assert ("torch" in pins(lock)) == (lock.name == "train")

"""The lock files of the images are current and complete, and hold no path of the machine that made them."""

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
def test_lock_is_current(lock: Lock) -> None:
    assert lock.fingerprint(read_pyproject()) in lock.path.read_text(encoding="utf-8"), "run `make lock`"


@every_lock
def test_lock_holds_hashed_pins_alone(lock: Lock) -> None:
    text = lock.path.read_text(encoding="utf-8")
    assert not re.sub(r"^#.*\n", "", PIN.sub("", text), flags=re.M).strip()
    assert "://" not in text


@every_lock
def test_lock_satisfies_the_requirements_of_the_project(lock: Lock) -> None:
    pinned = pins(lock)
    for requirement in map(Requirement, lock.requirements(read_pyproject())):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


@every_lock
def test_lock_has_what_its_distributions_require(lock: Lock) -> None:
    """Checked for what is installed here: images are installed without resolving dependencies again."""
    pinned = pins(lock)
    for name in pinned:
        try:
            asked = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, asked):
            if requirement.marker is None or requirement.marker.evaluate(TARGET):
                wanted = canonicalize_name(requirement.name)
                assert wanted in pinned, f"{name} requires {requirement}"


def test_image_has_one_onnx_runtime_and_one_faiss() -> None:
    for lock in LOCKS:
        names = set(pins(lock))
        assert not {"onnxruntime", "onnxruntime-gpu"} <= names
        assert not {"faiss-cpu", "faiss-gpu"} <= names


def test_serving_images_have_no_torch() -> None:
    for lock in LOCKS:
        assert ("torch" in pins(lock)) == (lock.name == "train")

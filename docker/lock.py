"""Pin the distributions of the images: one lock file for each image, with the hash of every distribution.

``python docker/lock.py`` (``make lock``) resolves the dependencies of pyproject.toml and writes the lock files next
to this one; it needs ``uv``. Each file begins with a fingerprint of its requirements, by which a test checks, without
a registry, that it is up to date.
"""

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent
PYPROJECT: Final = FOLDER.parent / "pyproject.toml"

PYTHON: Final = "3.11"
PLATFORM: Final = "x86_64-manylinux_2_28"

FINGERPRINT: Final = "# resolved from: sha256:"


@dataclass(frozen=True)
class Lock:
    """One lock file.

    Attributes:
        name: the file is ``requirements-<name>.txt``.
        extras: extras of the project to include; None locks the build requirements of the project's wheel.
    """

    name: str
    extras: tuple[str, ...] | None

    @property
    def path(self) -> Path:
        """Path of the file."""
        return FOLDER / f"requirements-{self.name}.txt"

    def requirements(self, pyproject: dict[str, Any]) -> list[str]:
        """The requirements, as pyproject.toml has them."""
        if self.extras is None:
            return sorted(pyproject["build-system"]["requires"])
        project = pyproject["project"]
        asked = list(project["dependencies"])
        for extra in self.extras:
            asked += project["optional-dependencies"][extra]
        return sorted(asked)

    def fingerprint(self, pyproject: dict[str, Any]) -> str:
        """A digest of everything that determines the file, except its date."""
        asked = [self.requirements(pyproject), PYTHON, PLATFORM]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


LOCKS: Final = (
    Lock("build", None),
    Lock("cpu", ("cpu",)),
    Lock("distributed", ("cpu", "distributed")),
    Lock("gpu", ("gpu",)),
    Lock("train", ("cpu", "train")),
)


def read_pyproject() -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))


def resolve(lock: Lock, pyproject: dict[str, Any]) -> str:
    """The text of a lock file, resolved now.

    Raises:
        subprocess.CalledProcessError: nothing satisfies the requirements, or the registry did not answer.
    """
    pinned = subprocess.run(  # noqa: S603 the program and its options are written here
        [
            *(os.environ.get("UV", "uv"), "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header"),
            *("--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
            *("--python-version", PYTHON, "--python-platform", PLATFORM),
        ],
        input="\n".join(lock.requirements(pyproject)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return f"# Written by docker/lock.py; do not edit.\n{FINGERPRINT}{lock.fingerprint(pyproject)}\n{pinned}"


def main() -> int:
    """Write every lock file."""
    pyproject = read_pyproject()
    for lock in LOCKS:
        text = resolve(lock, pyproject)
        lock.path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{lock.path.name}: {text.count('==')} distributions\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

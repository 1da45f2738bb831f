"""The files of the project, and the data sets, which are not part of it.

``FERPLUS`` names the folder of FER+, as it does for ``docker-compose.yml``; the other data sets lie next to it. Without
it, all of them are looked for in ``../shared/data``. Tests whose data are not there are skipped.
"""

import os
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
"""The folder of the checkout."""

SHARED_DATA: Final = ROOT.parent / "shared" / "data"


def _ferplus() -> Path:
    folder = os.environ.get("FERPLUS")
    return ROOT / folder if folder else SHARED_DATA / "ferplus"


FERPLUS: Final = _ferplus()
LONDON: Final = next(
    (path for path in (FERPLUS.parent / "london-faces", SHARED_DATA / "london-faces") if path.is_dir()),
    SHARED_DATA / "london-faces",
)

FERPLUS_PROBLEM: Final = (
    ""
    if (FERPLUS / "FER2013Valid" / "label.csv").is_file()
    else f"needs FER+: FERPLUS must name a folder with FER2013Train and FER2013Valid, got {FERPLUS}"
)
"""Why tests on FER+ are skipped; empty where they run."""

LONDON_PROBLEM: Final = (
    "" if (LONDON / "labels.csv").is_file() else f"needs the London photographs, which are not in {LONDON}"
)

DARWIN: Final = LONDON.parent / "darwin"

needs_ferplus: Final = pytest.mark.skipif(bool(FERPLUS_PROBLEM), reason=FERPLUS_PROBLEM)
needs_darwin: Final = pytest.mark.skipif(
    not DARWIN.is_dir(), reason=f"needs Darwin's plates, which are not in {DARWIN}"
)
needs_london: Final = pytest.mark.skipif(bool(LONDON_PROBLEM), reason=LONDON_PROBLEM)


def london_photographs(emotion: str = "*") -> list[Path]:
    """The London photographs, or those of one emotion (``neutral`` or ``happiness``), in order of their names."""
    return sorted(LONDON.glob(f"{emotion}/*.jpg"))


def shown_faces(folder: Path, london: int) -> Path:
    """A folder with links to Darwin's plates and to some of the London photographs."""
    (folder / "darwin").mkdir()
    for plate in DARWIN.iterdir():
        (folder / "darwin" / plate.name).symlink_to(plate)
    rows = (LONDON / "labels.csv").read_text().splitlines()[: 1 + london]
    (folder / "london-faces").mkdir()
    (folder / "london-faces" / "labels.csv").write_text("\n".join(rows))
    for name in ("neutral", "happiness"):
        (folder / "london-faces" / name).symlink_to(LONDON / name)
    return folder

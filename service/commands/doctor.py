"""``mien doctor``: looks at an installation, and says what to do about what it finds."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import numpy as np
from rich.table import Table

from mien.index.bundle.bundle import Bundle, check_fits, load_bundle
from mien.index.fitting.portraits import load_painter
from mien.index.gallery.vectors.gpu import device_problem, has_gpu_build
from mien.model.embedder.embedder import Embedder
from mien.model.errors import MienError
from mien.model.faces.detection import Detector
from mien.service.commands.terminal import output
from mien.service.operation.installation import ALTERNATIVES, installation_problem

State = Literal["good", "note", "bad"]

SLOW_MS: Final = 60.0
"""An embedding that takes longer is worth a note: two cores of 2020 need about 10 ms."""

_MARKS: Final = {"good": "[green]good[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: ``bad`` keeps mien from working, a ``note`` does not.
        found: what there is.
        advice: what to do about it, if anything.
    """

    what: str
    state: State
    found: str
    advice: str = ""


def doctor(bundle_folder: Path) -> int:
    """``mien doctor``: 0 where nothing keeps mien from working, else 1."""
    table = Table("", "what", "found", "advice")
    bad = False
    for finding in look(bundle_folder):
        bad = bad or finding.state == "bad"
        table.add_row(_MARKS[finding.state], finding.what, finding.found, finding.advice)
    output.print(table)
    return 1 if bad else 0


def look(bundle_folder: Path) -> Iterator[Finding]:
    """Look at one part after the other."""
    yield _python()
    yield from _runtimes()
    yield _cores()
    yield _guarded("detector", _detector)
    bundle: Bundle | None = None
    try:
        bundle = load_bundle(bundle_folder)
        embedder = Embedder(bundle.embedder_path)
        check_fits(bundle, embedder)
    except MienError as error:
        yield Finding("bundle", "bad", str(error), "install mien again, or name another bundle with --bundle")
        return
    yield from _bundle(bundle)
    yield _provider(embedder)
    yield _search()
    yield _speed(embedder)
    yield _training()


def _python() -> Finding:
    found = f"Python {platform.python_version()}, mien {version('mien')}, {platform.machine()}"
    return Finding("versions", "good", found)


def _runtimes() -> Iterator[Finding]:
    """ONNX Runtime and FAISS, each there once."""
    for what, folder in (("ONNX Runtime", "onnxruntime"), ("FAISS", "faiss")):
        there = ", ".join(f"{name} {found}" for name in ALTERNATIVES[folder] if (found := _version(name)))
        problem = installation_problem(folder)
        yield Finding(what, "good" if problem is None else "bad", there or "not installed", problem or "")


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{usable} of {os.cpu_count()} cores may be used"
    asked = os.environ.get("OMP_NUM_THREADS")
    if asked:
        return Finding("cores", "note", f"{found}; OMP_NUM_THREADS={asked}", "it bounds FAISS, too: unset it")
    return Finding("cores", "good", found)


def _bundle(bundle: Bundle) -> Iterator[Finding]:
    classes = f", {len(bundle.subclasses)} sub-classes" if bundle.subclasses is not None else ""
    yield Finding("bundle", "good", f"{bundle.folder}: {len(bundle.gallery)} faces{classes}")
    if bundle.mixture.calibration is None:
        yield Finding("calibration", "note", "none", "mien calibrate fits posteriors and typicality")
    yield _guarded("portraits", lambda: _portraits(bundle))


def _detector() -> Finding:
    Detector()
    return Finding("detector", "good", "the one that mien carries")


def _portraits(bundle: Bundle) -> Finding:
    if load_painter(bundle) is None:
        return Finding("portraits", "note", "none", "mien portraits makes them; without them the page shows no faces")
    return Finding("portraits", "good", "there")


def _provider(embedder: Embedder) -> Finding:
    first = embedder.providers[0]
    if first == "CPUExecutionProvider" and Path("/dev/nvidia0").exists():
        return Finding("provider", "note", first, "there is a GPU: install the extra 'gpu' in place of 'cpu' to use it")
    return Finding("provider", "good", first)


def _search() -> Finding:
    """Where the owner's gallery is searched exactly."""
    problem = device_problem()
    if problem is not None and has_gpu_build():
        return Finding("search", "note", "on the CPU", f"FAISS for GPUs is installed, but {problem}")
    return Finding("search", "good", "on the GPU" if problem is None else "on the CPU")


def _speed(embedder: Embedder) -> Finding:
    crop = np.full((1, embedder.side_px, embedder.side_px), 127, dtype=np.uint8)
    embedder.embed(crop)
    times = []
    for _ in range(9):
        began = time.perf_counter()
        embedder.embed(crop)
        times.append((time.perf_counter() - began) * 1000)
    median_ms = sorted(times)[len(times) // 2]
    found = f"{median_ms:.1f} ms, median of {len(times)}"
    if median_ms > SLOW_MS:
        return Finding("one embedding", "note", found, "the machine is slow or busy: try again when it is idle")
    return Finding("one embedding", "good", found)


def _training() -> Finding:
    missing = [name for name in ("torch", "onnx", "onnxscript", "sklearn", "matplotlib") if find_spec(name) is None]
    if missing:
        return Finding("training", "note", f"without {', '.join(missing)}", "only to train: install the extra 'train'")
    return Finding("training", "good", f"torch {_version('torch')}")


def _guarded(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except MienError as error:
        return Finding(what, "bad", str(error), "install mien again")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

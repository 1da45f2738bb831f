"""``mien doctor``: checks an installation and says how to repair what is wrong."""

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from rich.markup import escape
from rich.table import Table

from mien.model.container import usable_cores
from mien.model.errors import MienError
from mien.service.commands.arguments import add_bundle_option
from mien.service.commands.terminal import output
from mien.service.operation.installation import ALTERNATIVES, engine_problem, missing_training_modules

if TYPE_CHECKING:
    from mien.index.bundle.bundle import Bundle
    from mien.model.embedder.embedder import Embedder

State = Literal["good", "note", "bad"]

SLOW_MS: Final = 60.0
"""A slower embedding is worth a note: two cores of 2020 need about 10 ms."""

_MARKS: Final = {"good": "[green]good[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: what was checked.
        state: ``bad`` keeps mien from working, a ``note`` does not.
        found: what there is.
        advice: what to do about it, if anything.
    """

    subject: str
    state: State
    found: str
    advice: str = ""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_bundle_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; 0 if nothing keeps mien from working, else 1."""
    table = Table("", "part", "found", "advice")
    bad = False
    for finding in examine(arguments.bundle):
        bad = bad or finding.state == "bad"
        table.add_row(_MARKS[finding.state], finding.subject, escape(finding.found), escape(finding.advice))
    output.print(table)
    return 1 if bad else 0


def examine(bundle_folder: Path) -> Iterator[Finding]:
    """Check one part after the other; what cannot be imported without ONNX Runtime or FAISS is left out."""
    yield _versions()
    engines = list(_engines())
    yield from engines
    yield _cores()
    try:
        yield from _examine_bundle(bundle_folder)
    except ImportError:
        if all(finding.state == "good" for finding in engines):
            raise
    yield _training()


def _examine_bundle(bundle_folder: Path) -> Iterator[Finding]:
    from mien.index.bundle.bundle import check_fits, load_bundle
    from mien.model.embedder.embedder import Embedder

    yield _guarded("detector", _detector)
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


def _versions() -> Finding:
    found = f"Python {platform.python_version()}, mien {version('mien')}, {platform.machine()}"
    return Finding("versions", "good", found)


def _engines() -> Iterator[Finding]:
    for subject, folder in (("ONNX Runtime", "onnxruntime"), ("FAISS", "faiss")):
        installed = ", ".join(f"{name} {found}" for name in ALTERNATIVES[folder] if (found := _version(name)))
        problem = engine_problem(folder)
        yield Finding(subject, "good" if problem is None else "bad", installed or "not installed", problem or "")


def _cores() -> Finding:
    found = f"{usable_cores()} of {os.cpu_count()} cores may be used"
    limit = os.environ.get("OMP_NUM_THREADS")
    if limit:
        return Finding("cores", "note", f"{found}; OMP_NUM_THREADS={limit}", "it limits FAISS, too: unset it")
    return Finding("cores", "good", found)


def _bundle(bundle: "Bundle") -> Iterator[Finding]:
    classes = f", {len(bundle.sub_classes)} sub-classes" if bundle.sub_classes is not None else ""
    yield Finding("bundle", "good", f"{bundle.folder}: {len(bundle.gallery)} faces{classes}")
    if bundle.mixture.calibration is None:
        yield Finding("calibration", "note", "none", "mien calibrate fits posteriors and typicality")
    yield _guarded("portraits", lambda: _portraits(bundle))


def _detector() -> Finding:
    from mien.model.faces.detection import Detector

    Detector()
    return Finding("detector", "good", "the one that mien carries")


def _portraits(bundle: "Bundle") -> Finding:
    from mien.index.views.portraits import load_painter

    if load_painter(bundle) is None:
        return Finding("portraits", "note", "none", "mien portraits makes them; without them the page shows no faces")
    return Finding("portraits", "good", "in the bundle")


def _provider(embedder: "Embedder") -> Finding:
    first = embedder.providers[0]
    if first == "CPUExecutionProvider" and Path("/dev/nvidia0").exists():
        return Finding("provider", "note", first, "there is a GPU: install the extra 'gpu' in place of 'cpu' to use it")
    return Finding("provider", "good", first)


def _search() -> Finding:
    """Where your own gallery is searched exactly."""
    from mien.index.gallery.vectors.gpu import device_problem, has_gpu_build

    problem = device_problem()
    if problem is not None and has_gpu_build():
        return Finding("search", "note", "on the CPU", f"FAISS for GPUs is installed, but {problem}")
    return Finding("search", "good", "on the GPU" if problem is None else "on the CPU")


def _speed(embedder: "Embedder") -> Finding:
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
    missing = missing_training_modules()
    if missing:
        return Finding("training", "note", f"without {', '.join(missing)}", "only to train: install the extra 'train'")
    return Finding("training", "good", f"torch {_version('torch')}")


def _guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except MienError as error:
        return Finding(subject, "bad", str(error), "install mien again")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

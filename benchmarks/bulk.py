"""Import of photographs by a Ray cluster of one and of two nodes on this machine, and without Ray.

    python benchmarks/bulk.py FOLDER

Each line has the time of the whole command on all photographs of a folder, and on one of them, which is the time to
start; the rate comes from their difference. The nodes have one core each; without Ray the command has as many cores.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.model.files import files_below

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@contextmanager
def nodes(count: int) -> Iterator[list[str]]:
    """A cluster of ``count`` nodes; yields the options of the command for it, none without nodes."""
    if count == 0:
        yield []
        return
    program = [sys.executable, str(ROOT / "tests" / "support" / "ray_nodes.py"), *["1"] * count]
    with subprocess.Popen(  # noqa: S603
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101
        yield ["--cluster", process.stdout.readline().strip()]
        process.communicate()


def import_s(folder: Path, options: list[str], cores: str) -> float:
    """Seconds of one import into a new gallery."""
    mien = str(Path(sys.executable).parent / "mien")
    with tempfile.TemporaryDirectory() as gallery:
        command = [mien, "gallery", "import", str(folder), "--gallery", gallery, *options]
        program = ["taskset", "--cpu-list", cores, *command]
        began = time.perf_counter()
        done = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, check=False)  # noqa: S603
        took = time.perf_counter() - began
    if "0 skipped" not in done.stderr:
        raise SystemExit(done.stderr)
    return took


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photographs with a face each")
    folder: Path = parser.parse_args().folder
    count = sum(1 for _ in files_below(folder))
    with tempfile.TemporaryDirectory() as alone:
        first = next(files_below(folder)).resolve()
        (Path(alone) / first.name).symlink_to(first)
        for name, number, cores in (
            ("without Ray, one core", 0, "0"),
            ("without Ray, two cores", 0, "0,1"),
            ("one node", 1, "0,1"),
            ("two nodes", 2, "0,1"),
        ):
            with nodes(number) as options:
                starting = import_s(Path(alone), options, cores)
                whole = import_s(folder, options, cores)
            rate = (count - 1) / (whole - starting)
            sys.stdout.write(f"{name:22} {starting:6.1f} s to start, {whole:6.1f} s in all, {rate:6.1f} faces/s\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

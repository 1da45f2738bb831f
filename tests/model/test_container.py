"""The limits of a container, as both versions of cgroups show them."""

import os
from pathlib import Path

import pytest

from mien.model.container import memory_limit_bytes, usable_cores

CORES = len(os.sched_getaffinity(0))


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("100000", 1), ("100001", 2), ("6400000", 64), ("max", 64)])
def test_cpu_time_of_a_container_is_rounded_up_to_cores(tmp_path: Path, quota: str, cores: int) -> None:
    assert usable_cores(write(tmp_path, cpu_dot_max=f"{quota} 100000")) == min(cores, CORES)


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("150000", 2), ("-1", 64)])
def test_first_version_of_cgroups(tmp_path: Path, quota: str, cores: int) -> None:
    write(tmp_path, cpu__cpu_dot_cfs_quota_us=quota, cpu__cpu_dot_cfs_period_us="100000")
    assert usable_cores(tmp_path) == min(cores, CORES)


def test_machine_without_a_container(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == CORES
    assert memory_limit_bytes(tmp_path) is None


@pytest.mark.parametrize(("written", "limit"), [("4294967296", 4 << 30), ("max", None)])
def test_memory(tmp_path: Path, written: str, limit: int | None) -> None:
    assert memory_limit_bytes(write(tmp_path, memory_dot_max=written)) == limit


@pytest.mark.parametrize(("written", "limit"), [("4294967296", 4 << 30), ("9223372036854771712", None)])
def test_memory_in_the_first_version_of_cgroups(tmp_path: Path, written: str, limit: int | None) -> None:
    assert memory_limit_bytes(write(tmp_path, memory__memory_dot_limit_in_bytes=written)) == limit

"""What the container of this process, or the system, lets it have of the machine."""

import os
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of a container."""


def usable_cores(cgroups: Path = CGROUPS) -> int:
    """The cores that this process may use; where the CPU time of its container is limited, that in cores, rounded up.

    Args:
        cgroups: where the limits are read.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = [*_words(cgroups / "cpu.max"), "", ""][:2]
    if not quota:  # the first version of cgroups
        quota = "".join(_words(cgroups / "cpu" / "cpu.cfs_quota_us"))
        period = "".join(_words(cgroups / "cpu" / "cpu.cfs_period_us"))
    if quota.isdigit() and period.isdigit():  # without a limit: max, or -1
        cores = min(cores, -(-int(quota) // int(period)))
    return max(cores, 1)


def memory_limit_bytes(cgroups: Path = CGROUPS) -> int | None:
    """The memory that the container of this process may use; None if it has no limit, or is none.

    Args:
        cgroups: where the limits are read.
    """
    found = "".join(_words(cgroups / "memory.max") or _words(cgroups / "memory" / "memory.limit_in_bytes"))
    if not found.isdigit() or int(found) >= 1 << 60:  # what stands for no limit
        return None
    return int(found)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []

"""The processes that read pictures: what they answer, what ends them, and that they are replaced."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.model.errors import BrokenImageError, ImageTooLargeError, NoFaceError
from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader
from mien.service.errors import NotReadyError
from mien.service.inference.reader_pool import FAILED_STARTS, ReaderPool
from mien.service.operation.metrics import Metrics
from mien.service.settings import Settings
from tests.support import hostile_pictures as hostile
from tests.support.data import ROOT
from tests.support.waiting import wait_until


@asynccontextmanager
async def pool_of(size: int = 1, **settings: Any) -> AsyncIterator[ReaderPool]:
    pool = ReaderPool(size, Settings(**settings), Metrics())
    try:
        yield pool
    finally:
        await pool.stop()
    assert not pool.pids()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


def faces_of(pool: ReaderPool, data: bytes) -> "asyncio.Task[Any]":
    return asyncio.create_task(pool.read_faces(data, already_cropped=False, thumbnails=0))


async def working(pool: ReaderPool) -> int:
    """The id of the process once it works on a picture."""
    while not (pids := pool.pids()) or not pool.is_busy:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    return pids[0]


def test_faces_are_those_of_the_reader(photograph_file: bytes, crop_file: bytes) -> None:
    reader = FaceReader(Detector())

    async def scenario() -> None:
        async with pool_of() as pool:
            found, other = await pool.read_faces(photograph_file, already_cropped=False, thumbnails=1)
            here, _ = reader.read_faces(photograph_file, thumbnails=1)
            assert other.thumbnail is None
            assert (found.box, found.detection, found.outside) == (here.box, here.detection, here.outside)
            assert found.thumbnail == here.thumbnail
            np.testing.assert_array_equal(found.crop, here.crop)
            np.testing.assert_array_equal(found.landmarks, here.landmarks)
            (crop,) = await pool.read_faces(crop_file, already_cropped=True, thumbnails=0)
            assert crop.landmarks is None
            with pytest.raises(NoFaceError, match="no face was found"):
                await pool.read_faces(crop_file, already_cropped=False, thumbnails=0)
            assert len(pool.pids()) == 1

    run(scenario())


def test_second_process_starts_when_the_first_works(photograph_file: bytes) -> None:
    async def scenario() -> None:
        async with pool_of(2) as pool:
            await pool.start()
            assert len(pool.pids()) == 1
            await faces_of(pool, photograph_file)
            assert len(pool.pids()) == 1, "one caller needs one process"
            await asyncio.gather(*(faces_of(pool, photograph_file) for _ in range(3)))
            while len(pool.pids()) < 2:
                await asyncio.sleep(0.01)

    run(scenario())


def test_picture_over_its_cpu_time_ends_its_process_alone(photograph_file: bytes) -> None:
    async def scenario() -> None:
        async with pool_of(2, max_image_cpu_s=0.5) as pool:
            slow = faces_of(pool, hostile.run_length_bmp())
            good = faces_of(pool, photograph_file)
            with pytest.raises(ImageTooLargeError, match=r"at most 0\.5 s of a core"):
                await slow
            assert len(await good) == 2
            assert len(await faces_of(pool, photograph_file)) == 2

    run(scenario())


def test_picture_over_its_memory_is_refused(photograph_file: bytes) -> None:
    async def scenario() -> None:
        async with pool_of(max_image_memory_bytes=60 * 2**20) as pool:
            with pytest.raises(NoFaceError, match="64x64 pixels"):
                await faces_of(pool, hostile.lying_avif(4000))
            with pytest.raises(ImageTooLargeError, match="at most 60 MiB to decode"):
                await faces_of(pool, hostile.grey_16_bit())
            assert len(await faces_of(pool, photograph_file)) == 2

    run(scenario())


def test_crashed_process_fails_its_picture_and_is_replaced(
    photograph_file: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with pool_of(max_image_cpu_s=30) as pool:
            reading = faces_of(pool, hostile.run_length_bmp())
            os.kill(await working(pool), signal.SIGSEGV)
            with pytest.raises(BrokenImageError, match="on which the decoder fails"):
                await reading
            assert len(await faces_of(pool, photograph_file)) == 2

    run(scenario())
    assert "a picture ended its reader" in caplog.text


def test_process_that_ended_while_idle_fails_no_picture(photograph_file: bytes) -> None:
    async def scenario() -> None:
        async with pool_of() as pool:
            await pool.start()
            (pid,) = pool.pids()
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until all its threads have ended, without reaping it
            assert len(await faces_of(pool, photograph_file)) == 2
            assert pool.pids() != [pid]

    run(scenario())


def test_processes_are_replaced_before_their_next_picture_once_they_are_outdated(photograph_file: bytes) -> None:
    async def scenario() -> None:
        async with pool_of() as pool:
            await faces_of(pool, photograph_file)
            (old,) = pool.pids()
            pool.renew()
            assert len(await faces_of(pool, photograph_file)) == 2
            (new,) = pool.pids()
            assert new != old
            await faces_of(pool, photograph_file)
            assert pool.pids() == [new]

    run(scenario())


def test_cancelled_reading_ends_its_process(photograph_file: bytes) -> None:
    async def scenario() -> None:
        async with pool_of(max_image_cpu_s=30) as pool:
            reading = faces_of(pool, hostile.run_length_bmp())
            pid = await working(pool)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert len(await faces_of(pool, photograph_file)) == 2
            assert not Path(f"/proc/{pid}").exists()

    run(scenario())


def test_processes_that_do_not_start_are_not_started_again_and_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "yunet.onnx"
    broken.write_bytes(b"no network")

    async def scenario() -> None:
        async with pool_of(detector=broken) as pool:
            await pool.start()
            pool.check_ready()
            while caplog.text.count("does not start") < FAILED_STARTS:
                await asyncio.sleep(0.05)
            with pytest.raises(NotReadyError, match="do not start"):
                pool.check_ready()
            with pytest.raises(NotReadyError, match="do not start"):
                await faces_of(pool, b"")

    caplog.set_level(logging.ERROR)
    run(scenario())
    assert FAILED_STARTS <= caplog.text.count("does not start") <= FAILED_STARTS + 1


def test_processes_end_with_the_service() -> None:
    """Also where it is killed."""
    script = """
import asyncio
from mien.service.inference.reader_pool import ReaderPool
from mien.service.operation.metrics import Metrics
from mien.service.settings import Settings

async def main():
    pool = ReaderPool(1, Settings(), Metrics())
    await pool.start()
    print(*pool.pids(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as service:
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        service.kill()
    wait_until(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


def test_a_picture_that_is_sent_takes_no_time_of_the_loop(photograph_file: bytes) -> None:
    async def scenario() -> None:
        async with pool_of(max_image_cpu_s=1) as pool:
            await pool.start()
            reading = faces_of(pool, hostile.run_length_bmp())
            longest, last = 0.0, time.process_time()
            while not reading.done():
                await asyncio.sleep(0)
                now = time.process_time()
                longest, last = max(longest, now - last), now
            assert longest < 0.25
            with pytest.raises(ImageTooLargeError):
                await reading

    run(scenario())

"""Reading in another process: as in this one, and what a file does to it."""

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mien.model.errors import BrokenImageError, DetectorError, ImageTooLargeError, NoFaceError
from mien.model.faces.decoding import DecodingLimits
from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader
from mien.model.faces.sandboxed_reader import SandboxedReader
from mien.model.faces.worker import WorkerOptions
from mien.service.bulk.manifests import ManifestFace
from mien.service.bulk.stages import ImportOptions, PrepareStage
from tests.support import hostile_pictures as hostile
from tests.support.waiting import wait_until


def options(max_cpu_s: float = 2.5, detector: str | None = None) -> WorkerOptions:
    return WorkerOptions(detector=detector, max_faces=None, limits=DecodingLimits().model_dump(), max_cpu_s=max_cpu_s)


def test_faces_are_those_of_the_reader(photograph_file: bytes, crop_file: bytes) -> None:
    reader, here = SandboxedReader(options(20)), FaceReader(Detector())
    found = reader.read_faces(photograph_file, thumbnails=1)
    assert [each.box for each in found] == [each.box for each in here.read_faces(photograph_file)]
    assert [each.thumbnail is not None for each in found] == [True, False]
    assert len(reader.read_faces(crop_file, already_cropped=True)) == 1
    with pytest.raises(NoFaceError):
        reader.read_faces(crop_file)
    reader.close()


def test_file_that_ends_the_process_is_refused_once_and_the_next_ones_are_read(
    tmp_path: Path, photograph_file: bytes
) -> None:
    """As in an import by a cluster, which has one such reader for each actor."""
    crashing, good = tmp_path / "crashing.bmp", tmp_path / "good.jpg"
    crashing.write_bytes(hostile.run_length_bmp())
    good.write_bytes(photograph_file)
    reader = SandboxedReader(options(30))
    pid = reader._process.pid

    def crash_while_it_decodes() -> None:
        ticks = Path(f"/proc/{pid}/stat")
        before = int(ticks.read_text(encoding="ascii").split()[13])
        wait_until(lambda: int(ticks.read_text(encoding="ascii").split()[13]) > before + 20)
        os.kill(pid, signal.SIGSEGV)

    stage = PrepareStage(reader, 64, ImportOptions(max_faces=None))
    entries = [ManifestFace(id=path.name, source=str(path), path=path) for path in (crashing, good)]
    crasher = threading.Thread(target=crash_while_it_decodes)
    crasher.start()
    (failed,) = stage.prepare(entries[0], None)
    crasher.join()
    assert failed.fault == "expected a whole image, got one on which the decoder fails"
    assert [draft.fault for draft in stage.prepare(entries[1], None)] == [None, None]
    assert [draft.fault for draft in stage.prepare(replace(entries[1], id="again"), None)] == [None, None]
    reader.close()


def test_file_over_its_cpu_time_is_too_large() -> None:
    reader = SandboxedReader(options(0.3))
    with pytest.raises(ImageTooLargeError, match=r"at most 0\.3 s of a core"):
        reader.read_faces(hostile.run_length_bmp())
    with pytest.raises(BrokenImageError):
        reader.read_faces(b"\xff\xd8\xff\xd9")
    reader.close()


def test_process_that_does_not_start_is_an_error_of_the_detector(tmp_path: Path) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"no network")
    with pytest.raises(DetectorError, match=r"does not start.*YuNet"):
        SandboxedReader(options(detector=str(tmp_path / "yunet.onnx")))

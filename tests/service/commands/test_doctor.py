from pathlib import Path

import pytest

from mien.index.bundle.default import default_bundle
from mien.service.commands.doctor import examine
from mien.service.commands.main import main
from tests.support.small_run import SmallRun


def test_good_installation_has_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    table = capsys.readouterr().out
    for what in ("versions", "ONNX Runtime", "FAISS", "cores", "detector", "bundle", "portraits", "provider", "search"):
        assert what in table


def test_each_part_is_checked() -> None:
    found = {finding.subject: finding for finding in examine(default_bundle())}
    assert all(finding.state != "bad" for finding in found.values())
    assert "28385 faces" in found["bundle"].found
    assert "ms" in found["one embedding"].found


def test_broken_bundle_is_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--bundle", str(tmp_path)]) == 1
    (bundle,) = [finding for finding in examine(tmp_path) if finding.subject == "bundle"]
    assert bundle.state == "bad"
    assert "is not a bundle" in bundle.found
    assert "--bundle" in bundle.advice


def test_missing_calibration_and_portraits_are_noted(small_run: SmallRun) -> None:
    found = {finding.subject: finding for finding in examine(small_run.bundle)}
    assert found["calibration"].state == "note"
    assert "mien portraits" in found["portraits"].advice


def test_limit_on_threads_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cores = next(finding for finding in examine(default_bundle()) if finding.subject == "cores")
    assert cores.state == "note"
    assert "unset it" in cores.advice

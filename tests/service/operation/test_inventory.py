import json
from pathlib import Path

import pytest

from mien.service.commands.main import main
from mien.service.operation import inventory
from mien.service.operation.inventory import Part

STATUS = """Package: zlib1g
Status: install ok installed
Version: 1:1.2.13
Description: compression

Package: gone
Status: deinstall ok config-files
Version: 1

Package: bare
Status: install ok installed
Version: 2
"""


@pytest.fixture
def system(tmp_path: Path) -> tuple[Path, Path]:
    """The list of packages and the copyright files of a small Debian."""
    (tmp_path / "status").write_text(STATUS)
    (tmp_path / "zlib1g").mkdir()
    (tmp_path / "zlib1g" / "copyright").write_text("Files: *\nLicense: Zlib\n\nFiles: debian/*\nLicense: Zlib\n")
    return tmp_path / "status", tmp_path


def test_python_distributions_and_the_bundle_are_there() -> None:
    found = {(part.kind, part.name): part for part in inventory.parts()}
    assert found["python", "numpy"].licence
    assert found["python", "onnxruntime"].url == f"pkg:pypi/onnxruntime@{found['python', 'onnxruntime'].version}"
    assert len(found["bundle", "embedder.onnx"].sha256 or "") == 64


def test_the_packages_of_the_system(system: tuple[Path, Path]) -> None:
    debian = [part for part in inventory.parts(*system) if part.kind == "debian"]
    assert debian == [
        Part("debian", "bare", "2", inventory.UNKNOWN),
        Part("debian", "zlib1g", "1:1.2.13", "Zlib"),
    ]


def test_where_there_is_no_debian(tmp_path: Path) -> None:
    assert not [part for part in inventory.parts(tmp_path / "absent") if part.kind == "debian"]


def test_the_bill_of_materials(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inventory", "--format", "cyclonedx"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    names = [component["name"] for component in document["components"]]
    assert "fastapi" in names
    assert "embedder.onnx" in names
    assert all(component["licenses"][0]["license"]["name"] for component in document["components"])


def test_the_table_has_a_line_for_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inventory"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(inventory.parts())


def test_the_licence_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inventory", "--format", "licences"]) == 0
    text = capsys.readouterr().out
    assert "\nnumpy\n" in text
    assert "MIT License" in text

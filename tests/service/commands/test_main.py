"""The command ``mien``: help, wrong options, errors."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from mien.service.commands.gallery.main import ACTIONS
from mien.service.commands.main import COMMANDS, build_parser, main


def parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the sub-commands, by name."""
    sub_parsers = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(sub_parsers.choices)


@pytest.mark.parametrize("words", [*([name] for name in COMMANDS), *(["gallery", name] for name in ACTIONS)])
def test_help_explains_every_option(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([*words, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: mien {' '.join(words)}")
    for word in words:
        parser = parsers(parser)[word]
    assert len(parser._actions) > 1
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, f"{words} {action.option_strings} has no help"


@pytest.mark.parametrize(
    "wrong", [["sing"], ["serve", "--prot", "1"], ["serve", "--por", "1"], ["train", "--epoch", "3"], [], ["embed"]]
)
def test_misspelt_command_or_option_has_status_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(wrong)
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--bundle", "absent"], "absent is not a bundle"),
        (["serve", "--port", "99999"], "--port"),
        (["embed", "x.png", "--output", "y.npz", "--bundle", "absent"], "absent is not a bundle"),
        (["export", "absent.pt", "--output", "x.onnx"], "no checkpoint at absent.pt"),
        (["build", "x.onnx", "--data", "absent", "--output", "b"], "got absent, which is not there"),
        (["train", "--data", "absent", "--output", "r", "--sigma", "-1"], "--sigma"),
        (["train", "--data", "absent", "--output", "r", "--device", "tpu"], "tpu"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_command_is_installed() -> None:
    found = subprocess.run(
        [Path(sys.executable).parent / "mien", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith("mien ")

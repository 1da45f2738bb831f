"""What the documentation says to type: it is typed here."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from mien.service.app import create_app
from mien.service.commands.main import build_parser
from mien.service.inference.engine import Engine
from mien.service.settings import Settings
from tests.support.data import ROOT
from tests.support.videos import encoded, scene

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
PLACEHOLDER = re.compile(r"(?<![\w-])[A-Z]{2,}(?:\.\.\.)?(?![\w/])|\.\.\.")


def typed(page: Path) -> list[tuple[str, str]]:
    """What is typed after each prompt of a page, with what is answered."""
    found = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            end = 1
            while end < len(lines) and (lines[end - 1].endswith("\\") or " ".join(lines[:end]).count("'") % 2):
                end += 1
            command = "\n".join(lines[:end]).replace("\\\n", " ")
            found.append((command, "\n".join(lines[end:])))
    return found


def mien_lines() -> list[tuple[str, list[str]]]:
    """Each mien command of the pages, typed or between backquotes, with the page's name."""
    lines = []
    for page in PAGES:
        quoted = re.findall(r"`(mien [^`]+)`", page.read_text(encoding="utf-8"))
        for line in [command for command, _ in typed(page)] + quoted:
            words = shlex.split(PLACEHOLDER.sub("1", line), comments=True)
            while words and re.match(r"MIEN_\w+=", words[0]):
                words = words[1:]
            if words[:1] == ["mien"] and words[1:2] != ["1"]:  # `mien COMMAND --help` names none
                lines.append((page.name, words[1:]))
    return lines


def test_there_are_lines_to_test() -> None:
    assert len(mien_lines()) > 25


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says against the words; empty if nothing."""
    try:
        build_parser().parse_args(words)
    except SystemExit:
        return capsys.readouterr().err.splitlines()[-1]
    return ""


@pytest.mark.parametrize(
    ("page", "words"), mien_lines(), ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60]
)
def test_a_command_that_is_shown_exists(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A mention may leave out what must be given; that is put in here, so that the rest is still read."""
    for _ in range(3):
        said = complaint(words, capsys)
        if found := re.search(r"the following arguments are required: (.+)", said):
            names = found[1].split(", ")
        elif found := re.search(r"one of the arguments (\S+) .*is required", said):
            names = [found[1]]
        else:
            break
        if names == ["ACTION"]:  # a command alone, which has commands of its own
            return
        for name in names:
            words = [*words, name, "1"] if name.startswith("-") else [*words, "1"]
    assert not said, f"{page}: {' '.join(words)}"


@pytest.fixture(scope="module")
def client(served_engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(served_engine, Settings(rate_per_s=0))) as client:
        yield client


def asked(client: TestClient, command: str, picture: bytes) -> Any:
    """The answer to a curl command of the README; every picture that it names is the same."""
    words = shlex.split(command, comments=True)
    assert words.pop(0) == "curl"
    url, files, headers, body = None, [], {}, None
    while words:
        word = words.pop(0)
        if word == "-F":
            field, _, value = words.pop(0).partition("=@")
            files.append((field, (value, clip() if field == "video" else picture)))
        elif word == "-N":  # not to wait for the whole answer
            continue
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0)
        else:
            assert not word.startswith("-"), f"an option of curl that this test does not know: {word}"
            url = word.removeprefix("localhost:8000")
    assert url is not None
    response = client.post(url, files=files or None, headers=headers, content=body)
    assert response.status_code == 200, response.text
    lines = response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()] if lines else response.json()


def clip() -> bytes:
    """A second of a drawn face."""
    return encoded([scene([(200 + 5 * number, 120)]) for number in range(10)])


def curls() -> list[tuple[str, str]]:
    return [(command, answer) for command, answer in typed(ROOT / "README.md") if command.startswith("curl ")]


@pytest.mark.parametrize(("command", "shown"), curls(), ids=lambda value: value[:70])
def test_a_request_of_the_readme_is_answered_as_it_shows(
    client: TestClient, photograph_file: bytes, command: str, shown: str
) -> None:
    answer = asked(client, command, photograph_file)
    fields = set(re.findall(r'"(\w+)":', shown)) - {"problem", "type", "status"}  # of a picture without a face
    assert fields <= set(re.findall(r'"(\w+)":', json.dumps(answer)))


def test_the_readme_has_requests() -> None:
    assert len(curls()) >= 6

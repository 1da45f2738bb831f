"""Commands and requests of the documents are run or parsed here."""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from mien.model.emotions import EMOTIONS
from mien.service.app import create_app
from mien.service.commands.main import build_parser
from mien.service.inference.engine import Engine, load_engine
from mien.service.settings import Settings
from tests.support.data import ROOT, london_photographs, needs_london
from tests.support.videos import encode_video, scene

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
PLACEHOLDER = re.compile(r"(?<![\w-])[A-Z]{2,}(?:\.\.\.)?(?![\w/])|\.\.\.")


def console_lines(page: Path) -> list[tuple[str, str]]:
    """Each command after a prompt of a page, with the output that the page shows."""
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
    """Each mien command of the pages, after a prompt or between backquotes, with the page's name."""
    lines = []
    for page in PAGES:
        quoted = re.findall(r"`(mien [^`]+)`", page.read_text(encoding="utf-8"))
        for line in [command for command, _ in console_lines(page)] + quoted:
            words = shlex.split(PLACEHOLDER.sub("1", line), comments=True)
            while words and re.match(r"MIEN_\w+=", words[0]):
                words = words[1:]
            if words[:1] == ["mien"] and words[1:2] != ["1"]:  # `mien COMMAND --help`
                lines.append((page.name, words[1:]))
    return lines


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_the_documents_have_commands() -> None:
    assert len(mien_lines()) > 25


def parser_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error of the command line parser; empty if there is none."""
    try:
        build_parser().parse_args(words)
    except SystemExit as end:
        if end.code == 0:  # --help
            return ""
        return capsys.readouterr().err.splitlines()[-1]
    return ""


@pytest.mark.parametrize(
    ("page", "words"), mien_lines(), ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60]
)
def test_command_in_a_document_is_parsed(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A mention may leave out required arguments; they are added here, so that the rest is still parsed."""
    for _ in range(3):
        error = parser_error(words, capsys)
        if found := re.search(r"the following arguments are required: (.+)", error):
            names = found[1].split(", ")
        elif found := re.search(r"one of the arguments (\S+) .*is required", error):
            names = [found[1]]
        else:
            break
        if names == ["ACTION"]:  # a command that has sub-commands
            return
        for name in names:
            words = [*words, name, "1"] if name.startswith("-") else [*words, "1"]
    assert not error, f"{page}: {' '.join(words)}"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service with a writable gallery that holds the faces which ship."""
    folder = tmp_path_factory.mktemp("documents") / "gallery"
    settings = Settings(gallery=str(folder), gallery_seed=True, provider="cpu", rate_per_s=0)
    engine = load_engine(settings)
    with closing(engine.gallery), TestClient(create_app(engine, settings)) as client:
        yield client


def answer_to(client: TestClient, command: str, picture: bytes) -> Any:
    """The answer to a curl command of a document; every image file that it names is the same picture."""
    words = shlex.split(command, comments=True)
    assert words.pop(0) == "curl"
    url, files, fields, headers, body = None, [], {}, {}, None
    while words:
        word = words.pop(0)
        if word == "-F":
            field, _, value = words.pop(0).partition("=")
            if value.startswith("@"):
                files.append((field, (value[1:], clip() if field == "video" else picture)))
            else:
                fields[field] = value
        elif word == "-N":  # print lines as they come
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
    response = client.post(url, files=files or None, data=fields or None, headers=headers, content=body)
    assert response.is_success, response.text
    lines = response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()] if lines else response.json()


def clip() -> bytes:
    """A second of a drawn face."""
    return encode_video([scene([(200 + 5 * number, 120)]) for number in range(10)])


def curls(*pages: Path) -> list[tuple[str, str]]:
    """Each curl command of the pages, with the answer that the page shows."""
    return [each for page in pages for each in console_lines(page) if each[0].startswith("curl ")]


def scalars(answer: Any) -> Iterator[tuple[str, object]]:
    """Each field of an answer, at any depth, whose value is a number, a text or a truth value."""
    for name, value in answer.items() if isinstance(answer, dict) else enumerate(answer):
        if isinstance(value, dict | list):
            yield from scalars(value)
        else:
            yield str(name), value


@pytest.mark.parametrize(("command", "shown"), curls(*PAGES), ids=lambda value: value[:70])
def test_request_of_a_document_has_the_fields_that_it_shows(
    client: TestClient, photograph_file: bytes, command: str, shown: str
) -> None:
    answer = answer_to(client, command, photograph_file)
    fields = set(re.findall(r'"(\w+)":', shown)) - {"problem", "type", "status"}  # of a picture without a face
    assert fields - set(EMOTIONS) <= set(re.findall(r'"(\w+)":', json.dumps(answer)))


@pytest.mark.parametrize(("command", "shown"), curls(ROOT / "README.md")[:2], ids=lambda value: value[:70])
@needs_london
def test_request_of_the_readme_has_the_values_that_it_shows(served_engine: Engine, command: str, shown: str) -> None:
    """The photograph is happiness/022.jpg of the London faces; numbers are shortened, fields left out."""
    photograph = next(path for path in london_photographs("happiness") if path.name == "022.jpg").read_bytes()
    with TestClient(create_app(served_engine, Settings(rate_per_s=0))) as client:
        values = list(scalars(answer_to(client, command, photograph)))
    numbers = re.findall(r'"(\w+)": (\d[\d.]*)', shown)
    assert len(numbers) >= 5
    for name, number in numbers:
        decimals = len(number.partition(".")[2])
        assert any(name == each and round(float(str(value)), decimals) == float(number) for each, value in values), name
    for name, text in re.findall(r'"(\w+)": "([^"]*)"', shown):
        assert (name, text) in values


def test_the_documents_have_requests() -> None:
    assert len(curls(ROOT / "README.md")) >= 3
    assert len(curls(*PAGES)) >= 12

"""The parser of JSON from outside."""

import json
import time
import tracemalloc

import pytest

from mien.index.errors import QueryError
from mien.service.schemas import json_text
from mien.service.schemas.json_text import JsonLimitError, JsonSyntaxError, parse_json, read_cursor, write_cursor

VALUES = [
    None, True, 0, -1, 2**70, 1.5, 1e-300, "", "a", 'quote " and \\ and \\\\" and [{,:', "é", "😀", "\0", [], {},
    [[1, 2], {"a": {"b": []}}], {"": 1, "a,b": ["]"]}, {"a": "x" * 300_000}, {"\\": "\\u d800"},
]  # fmt: skip


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_json_is_read_as_python_reads_it(value: object, *, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1,]", b"{'a': 1}", b"1 2", b"\xff", b'"\xed\xa0\x80"', b"\xef\xbb\xbf1", b"[" * 300_000, b'"a\nb"'],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(JsonSyntaxError):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"NaN", "finite, got NaN"),
        (b"[-Infinity]", "finite, got -Infinity"),
        (b"1e999", "finite, got 1e999"),
        (b"9" * 4300, "100 digits, got 4300"),
        (b"[1." + b"9" * 4300 + b"]", "100 digits, got 4302"),
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' twice"),
        (rb'"\ud83d"', "half of a character"),
        (rb'"\ude00"', "half of a character"),
        (rb'"\\\ud83d"', "half of a character"),
        (rb'"\ud83d\ud83d\ude00"', "half of a character"),
        (rb'"\ud83d\ude00\ude00"', "half of a character"),
        (b"[" * 65 + b"]" * 65, "64 levels, got 65"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "64 levels, got 65"),
        (b"[" + b"0," * json_text.MAX_VALUES + b"0]", "1000000 values, got 1000002"),
        (b"[" + b"{}," * json_text.MAX_CONTAINERS + b"0]", "100000 objects and lists, got 100001"),
        (b"[" + b'{"b":0,"c":0,"d":0},' * 70_000 + b"0]", "200000 keys, got 210000"),
        (b"{" + b",".join(b'"%d":0' % number for number in range(5000)) + b"}", "4096 keys in an object, got 5000"),
        (rb'"' + rb"\u0041" * 1_000_001 + b'"', "1000000 characters written with their numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_json_over_a_limit_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(JsonLimitError, match=reason):
        parse_json(text)


def test_pairs_of_surrogates_and_escaped_backslashes_are_no_fault() -> None:
    assert parse_json(rb'["\ud83d\ude00", "\\ud83d", "\uD83D\uDE00"]') == ["😀", r"\ud83d", "😀"]


def test_signs_in_texts_do_not_count() -> None:
    text = "[{," * 1_200_000
    assert parse_json(json.dumps([text, '"' + text]).encode()) == [text, '"' + text]


@pytest.mark.parametrize("part", [b"0,", b"[],", b'"",', b"[", b'{"a":0},', b"1"])
def test_refusing_takes_little(part: bytes) -> None:
    """Eight megabytes that would become hundreds of megabytes of objects."""
    text = b"[" + part * (8_000_000 // len(part)) + b"0]"
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises((JsonLimitError, JsonSyntaxError)):
        parse_json(text)
    assert time.process_time() - began < 2
    assert tracemalloc.get_traced_memory()[1] < 8 * len(text)
    tracemalloc.stop()


def test_cursor_is_read_as_it_was_written() -> None:
    assert read_cursor(write_cursor([3, 0.41, "é/1"])) == [3, 0.41, "é/1"]


@pytest.mark.parametrize("text", ["", "x", "é", "MQ", write_cursor([1.0] * 1000), "WzEs"])
def test_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="must be the 'next' of the page before"):
        read_cursor(text)

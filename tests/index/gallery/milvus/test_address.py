"""Addresses of distributed galleries."""

import pytest

from mien.index.gallery.milvus.address import MilvusAddress, is_address, parse_address
from mien.model.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("milvus://db:19531/faces", MilvusAddress("db", 19531, "faces")),
        ("milvus://db/faces", MilvusAddress("db", 19530, "faces")),
        ("http://127.0.0.1:1/faces_2", MilvusAddress("127.0.0.1", 1, "faces_2")),
        ("https://db:443/faces", MilvusAddress("db", 443, "faces", tls=True)),
        ("milvus://[::1]:19530/faces", MilvusAddress("::1", 19530, "faces")),
        ("milvus://root:p%40ss@db/faces", MilvusAddress("db", 19530, "faces", False, "root:p@ss")),
        (
            "milvus://db/faces?index=ivf&shards=4&patience_s=5&database=people&staleness_ms=0",
            MilvusAddress(
                "db", 19530, "faces", index="ivf", shards=4, patience_s=5.0, database="people", staleness_ms=0
            ),
        ),
    ],
)
def test_address_is_parsed(text: str, expected: MilvusAddress) -> None:
    assert is_address(text)
    assert parse_address(text) == expected


@pytest.mark.parametrize("folder", ["gallery", "/data/gallery", "./milvus", "C:\\gallery", "milvus:/x", "ftp://host/x"])
def test_folder_is_no_address(folder: str) -> None:
    assert not is_address(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("milvus:///faces", "such as milvus://host:19530/collection"),
        ("milvus://db", "the collection ''"),
        ("milvus://db/1faces", "begins with no digit"),
        ("milvus://db/a/b", "the collection 'a/b'"),
        ("milvus://db:x/faces", "cannot be read"),
        ("milvus://db/faces?index=pq", "index must be one of flat, ivf, hnsw, got 'pq'"),
        ("milvus://db/faces?colour=red", "unknown option 'colour'"),
        ("milvus://db/faces?shards=many", "many"),
        ("milvus://db/faces?staleness_ms=-1", "staleness_ms of 0 to 60000, got -1"),
        ("milvus://db/faces?shards=0", "shards of 1 to 64"),
    ],
)
def test_invalid_address_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        parse_address(text)


def test_messages_have_no_password() -> None:
    address = parse_address("milvus://root:secret@db/faces")
    assert "secret" not in str(address)
    for broken in ("milvus://root:secret@/faces", "milvus://root:secret@db/faces?x=1", "milvus://root:secret@db/1"):
        with pytest.raises(ConfigError) as caught:
            parse_address(broken)
        assert "secret" not in str(caught.value)


def test_server_of_an_address() -> None:
    assert parse_address("milvus://db/faces").server == "http://db:19530"
    assert parse_address("https://[::1]:443/faces").server == "https://[::1]:443"

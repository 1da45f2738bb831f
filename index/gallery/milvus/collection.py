"""The collection of a distributed gallery: created where it does not exist, refused where it belongs to another.

The name of a gallery is an alias, so that the collection behind it can be replaced whole.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mien.index.errors import GalleryError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.milvus import expressions
from mien.index.gallery.milvus.address import MilvusAddress
from mien.index.gallery.milvus.connection import MilvusConnection
from mien.index.gallery.milvus.schema import SCHEMA_VERSION, CollectionNote, index_parameters, read_note, schema
from mien.index.gallery.validation import check_network

MAX_ROWS: Final = 16_384
"""The most rows that Milvus returns for one query."""


class MilvusCollection:
    """Reads of the collection behind an alias.

    ``level`` is how recent a read must be: options of ``mien.index.gallery.milvus.connection``.

    Attributes:
        connection: to the server.
        note: what the collection's description says.
        name: the alias.
    """

    def __init__(self, connection: MilvusConnection, note: CollectionNote) -> None:
        self.connection = connection
        self.note = note
        self.name = connection.address.collection

    def recent(self) -> dict[str, Any]:
        """The level of a read that sees all this process wrote, and what others wrote shortly before."""
        return self.connection.recent(self.connection.now())

    def query(
        self, passing: str, fields: Sequence[str], level: Mapping[str, Any], *, limit: int
    ) -> list[dict[str, Any]]:
        """Up to ``limit`` rows that pass an expression."""
        rows = self.connection.call(
            "query", self.name, filter=passing, output_fields=list(fields), limit=limit, **level
        )
        return list(rows)

    def query_ids(
        self, ids: Sequence[str], fields: Sequence[str], level: Mapping[str, Any], *, page: int
    ) -> Iterator[dict[str, Any]]:
        """The rows of the faces with some ids, read ``page`` at a time."""
        for start in range(0, len(ids), page):
            part = ids[start : start + page]
            yield from self.query(expressions.with_ids(part), fields, level, limit=len(part))

    def flag_thumbnails(self, faces: Iterable[GalleryFace], level: Mapping[str, Any]) -> dict[str, GalleryFace]:
        """Faces by id, each with whether the gallery keeps a thumbnail of it, which is not read."""
        by_id = {face.id: face for face in faces}
        ids, kept = list(by_id), set[str]()
        for start in range(0, len(ids), MAX_ROWS):
            part = ids[start : start + MAX_ROWS]
            passing = expressions.every(expressions.with_ids(part), expressions.WITH_THUMBNAIL)
            kept |= {row["id"] for row in self.query(passing, ["id"], level, limit=len(part))}
        return {face_id: replace(face, has_thumbnail=face_id in kept) for face_id, face in by_id.items()}

    def pages(
        self, passing: str, fields: Sequence[str], level: Mapping[str, Any], size: int, *, after: str | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Rows that pass, by id, a page at a time; a row that is changed meanwhile keeps its place."""
        while True:
            beyond = "" if after is None else f"id > {expressions.text(after)}"
            rows = self.query(expressions.every(passing, beyond), fields, level, limit=size)
            if rows:
                yield sorted(rows, key=lambda row: str(row["id"]))
            if len(rows) < size:
                return
            after = max(str(row["id"]) for row in rows)

    def count(self, passing: str, level: Mapping[str, Any]) -> int:
        """How many rows pass an expression."""
        rows = self.connection.call(
            "query", self.name, filter=expressions.every(passing), output_fields=["count(*)"], **level
        )
        return int(rows[0]["count(*)"])


def open_collection(
    address: MilvusAddress, embedding_size: int, embedder_sha256: str, *, create: bool = True
) -> MilvusCollection:
    """Connect to the collection of a gallery, and read its description.

    Args:
        address: of the collection.
        embedding_size: d, the dimensions of every embedding.
        embedder_sha256: SHA-256 of the network that makes them, hexadecimal.
        create: create the collection if it does not exist.

    Raises:
        ConfigError: the client is not installed.
        GalleryError: the server does not answer; or the collection does not exist and is not to be created, is no
            gallery, of a newer version, of another network, or has another index than the address says.
    """
    connection = MilvusConnection(address)
    try:
        if not connection.call("has_collection", address.collection):
            if not create:
                raise GalleryError(f"there is no gallery at {address}")  # noqa: TRY301
            _create_gallery(
                connection, CollectionNote(SCHEMA_VERSION, embedding_size, embedder_sha256, address.index or "flat")
            )
        found = connection.call("describe_collection", address.collection)
        note = read_note(found["description"], address)
        check_network(address, (note.embedder_sha256, note.embedding_size), (embedder_sha256, embedding_size))
        _check_index(note, address)
        connection.call("load_collection", address.collection)
        return MilvusCollection(connection, note)
    except BaseException:
        connection.close()
        raise


def create_collection(connection: MilvusConnection, note: CollectionNote) -> str:
    """Create an empty collection for the address's gallery; returns its name, which is unique."""
    name = f"{connection.address.collection}_{connection.now()}"
    connection.call(
        "create_collection",
        name,
        schema=schema(connection.client, note),
        index_params=index_parameters(connection.client, note.index),
        num_shards=connection.address.shards,
        consistency_level="Strong",
    )
    return name


def _create_gallery(connection: MilvusConnection, note: CollectionNote) -> None:
    name = create_collection(connection, note)
    try:
        connection.call("create_alias", name, connection.address.collection)
    except GalleryError:
        # Another process was faster, or a collection has the name: what exists decides.
        connection.call("drop_collection", name)


def _check_index(note: CollectionNote, address: MilvusAddress) -> None:
    if address.index is not None and note.index != address.index:
        raise GalleryError(
            f"{address} was made with the index {note.index}, asked for is {address.index}: "
            "migrate it to a new collection, or leave the index out"
        )

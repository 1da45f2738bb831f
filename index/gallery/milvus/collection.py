"""The collection of a distributed gallery: made where it is not there, and refused where it is another's."""

from mien.index.errors import GalleryError
from mien.index.gallery.milvus.address import MilvusAddress
from mien.index.gallery.milvus.connection import MilvusConnection
from mien.index.gallery.milvus.schema import SCHEMA_VERSION, CollectionNote, index_parameters, read_note, schema


def open_collection(
    address: MilvusAddress, embedding_size: int, embedder_sha256: str, *, create: bool = True
) -> tuple[MilvusConnection, CollectionNote]:
    """Connect to the collection of a gallery, and read what it says of itself.

    Args:
        address: of the collection.
        embedding_size: d, the dimensions of every embedding.
        embedder_sha256: SHA-256 of the network that makes them, hexadecimal.
        create: make the collection if it is not there.

    Raises:
        ConfigError: the client is not installed.
        GalleryError: the server does not answer; or the collection is not there and not to be made, is no gallery, of
            a newer version, of another network, or searched otherwise than the address says.
    """
    connection = MilvusConnection(address)
    try:
        if not connection.call("has_collection", address.collection):
            if not create:
                raise GalleryError(f"there is no gallery at {address}")  # noqa: TRY301
            _make_gallery(
                connection, CollectionNote(SCHEMA_VERSION, embedding_size, embedder_sha256, address.index or "flat")
            )
        found = connection.call("describe_collection", address.collection)
        note = read_note(found["description"], address)
        _check_note(note, address, embedding_size, embedder_sha256)
        connection.call("load_collection", address.collection)
        return connection, note  # noqa: TRY300
    except BaseException:
        connection.close()
        raise


def _make_gallery(connection: MilvusConnection, note: CollectionNote) -> None:
    made = make_collection(connection, note)
    try:
        connection.call("create_alias", made, connection.address.collection)
    except GalleryError:
        # Another process was faster, or the name is taken by what is no alias: what is there decides.
        connection.call("drop_collection", made)


def _check_note(note: CollectionNote, address: MilvusAddress, embedding_size: int, embedder_sha256: str) -> None:
    if (note.embedder_sha256, note.embedding_size) != (embedder_sha256, embedding_size):
        raise GalleryError(
            f"{address} holds embeddings of another network ({note.embedder_sha256[:12]}…, {note.embedding_size} "
            f"dimensions), this one is {embedder_sha256[:12]}…, {embedding_size} dimensions"
        )
    if address.index is not None and note.index != address.index:
        raise GalleryError(
            f"{address} was made with the index {note.index}, asked for is {address.index}: "
            "migrate it to a new collection, or leave the index out"
        )


def make_collection(connection: MilvusConnection, note: CollectionNote) -> str:
    """Make an empty collection for the address's gallery; returns its name, which nothing else has."""
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

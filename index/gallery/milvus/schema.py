"""The fields of a face in Milvus, and the description of a collection."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.index.errors import GalleryError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.milvus.address import IndexType
from mien.index.gallery.milvus.expressions import searched_metadata
from mien.index.gallery.validation import MAX_ID_BYTES, MAX_METADATA_BYTES, MAX_THUMBNAIL_BYTES, json_text

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient
    from pymilvus.milvus_client import IndexParams

SCHEMA_VERSION: Final = 1
"""Version of the fields; a collection of a newer one is refused."""

NAMES: Final = ("label", "emotion", "sub_class", "subject", "content_sha256")
"""Texts that a face may lack: then stored as an empty text."""

THUMBNAIL_PARTS: Final = ("thumbnail_1", "thumbnail_2")
"""A text of Milvus has at most 65,535 bytes: the largest thumbnail needs two, in base64."""

FACE_FIELDS: Final = ("id", "embedding", *NAMES, "time", "sequence", "metadata")
"""A face without its thumbnail."""

WHOLE_FACE_FIELDS: Final = (*FACE_FIELDS, *THUMBNAIL_PARTS)

_MAX_TEXT_BYTES: Final = 65_535

_KIND: Final = "mien gallery"

INDEXES: Final[dict[IndexType, tuple[str, dict[str, int]]]] = {
    "flat": ("FLAT", {}),
    "ivf": ("IVF_FLAT", {"nlist": 1024}),
    "hnsw": ("HNSW", {"M": 32, "efConstruction": 200}),
}
"""Milvus's name of each index, and how it is built."""


@dataclass(frozen=True)
class CollectionNote:
    """The content of a collection's description.

    Attributes:
        schema_version: of the fields.
        embedding_size: d.
        embedder_sha256: of the network that made the embeddings.
        index: how it is searched.
    """

    schema_version: int
    embedding_size: int
    embedder_sha256: str
    index: IndexType

    def text(self) -> str:
        """The description."""
        return json.dumps({"kind": _KIND} | vars(self))


def read_note(description: str, where: object) -> CollectionNote:
    """Read the description of a collection.

    Args:
        description: of the collection.
        where: names the collection in messages.

    Raises:
        GalleryError: the collection is no gallery, or one of a newer version.
    """
    try:
        values = json.loads(description)
        kind, version = values.pop("kind"), values["schema_version"]
    except (ValueError, TypeError, KeyError, AttributeError):
        kind, version = None, None
    if kind != _KIND or not isinstance(version, int):
        raise GalleryError(f"{where} exists, but is no gallery of mien: choose another collection")
    if version > SCHEMA_VERSION:
        raise GalleryError(f"{where} has version {version}, this version of mien reads up to {SCHEMA_VERSION}")
    return CollectionNote(**values)


def schema(client: "MilvusClient", note: CollectionNote) -> "CollectionSchema":
    """The schema of a gallery."""
    from pymilvus import DataType

    fields = client.create_schema(auto_id=False, enable_dynamic_field=False, description=note.text())
    fields.add_field("id", DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
    fields.add_field("embedding", DataType.FLOAT_VECTOR, dim=note.embedding_size)
    for name in NAMES:
        fields.add_field(name, DataType.VARCHAR, max_length=MAX_ID_BYTES)
    fields.add_field("time", DataType.DOUBLE)
    fields.add_field("sequence", DataType.INT64)
    fields.add_field("metadata", DataType.VARCHAR, max_length=MAX_METADATA_BYTES)
    fields.add_field("searched", DataType.JSON)
    for name in THUMBNAIL_PARTS:
        fields.add_field(name, DataType.VARCHAR, max_length=_MAX_TEXT_BYTES)
    return fields


def index_parameters(client: "MilvusClient", index: IndexType) -> "IndexParams":
    """The index over a gallery's embeddings."""
    prepared = client.prepare_index_params()
    name, parameters = INDEXES[index]
    prepared.add_index("embedding", index_type=name, metric_type="L2", params=parameters)
    return prepared


def row_of(face: GalleryFace) -> dict[str, Any]:
    """A face as a row."""
    encoded = "" if face.thumbnail is None else "=" + base64.b64encode(face.thumbnail).decode()
    parts = (encoded[:_MAX_TEXT_BYTES], encoded[_MAX_TEXT_BYTES:])
    return {
        "id": face.id,
        "embedding": face.embedding,
        **{name: getattr(face, name) or "" for name in NAMES},
        "time": face.time,
        "sequence": face.sequence,
        "metadata": json_text(face.metadata),
        "searched": searched_metadata(face.metadata),
        **dict(zip(THUMBNAIL_PARTS, parts, strict=True)),
    }


def face_of(row: Mapping[str, Any]) -> GalleryFace:
    """A face from a row, with its thumbnail if the row has it."""
    names: dict[str, Any] = {name: row[name] or None for name in NAMES}
    return GalleryFace(
        row["id"],
        np.asarray(row["embedding"], dtype=np.float32),
        **names,
        metadata=json.loads(row["metadata"]),
        time=row["time"],
        thumbnail=thumbnail_of(row),
        sequence=row["sequence"],
    )


def thumbnail_of(row: Mapping[str, Any]) -> bytes | None:
    """The thumbnail of a row; None if the face has none, or the row lacks its parts."""
    encoded = "".join(row.get(name, "") for name in THUMBNAIL_PARTS)
    return base64.b64decode(encoded[1:]) if encoded else None


def row_bytes(row: Mapping[str, Any]) -> int:
    """About how many bytes a row takes in a request."""
    texts = sum(len(value) for value in row.values() if isinstance(value, str))
    return texts + len(row["metadata"]) + 4 * len(row["embedding"]) + 200


assert MAX_THUMBNAIL_BYTES * 4 // 3 + 8 <= 2 * _MAX_TEXT_BYTES  # noqa: S101 - a limit of the layout, not a check of input

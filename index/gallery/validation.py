"""What the fields of a gallery's face may be, what may be searched for, and from which network embeddings come."""

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import FaceFieldError, GalleryError, QueryError
from mien.index.gallery.face import GalleryFace

MAX_ID_BYTES: Final = 256
"""Of an id, a label, a sub-class or a subject, in UTF-8."""

MAX_METADATA_BYTES: Final = 16 * 1024
"""Of a face's metadata, as compact JSON in UTF-8."""

MAX_METADATA_DEPTH: Final = 8
"""Levels of objects and arrays; the metadata itself is the first."""

MAX_THUMBNAIL_BYTES: Final = 64 * 1024

_JOINED: Final = r"[^\x00-\x7f\u200c\u200d\ufe0f]"
_JOINERS: Final = re.compile(rf"(?<={_JOINED})\ufe0f?[\u200c\u200d](?={_JOINED})|(?<={_JOINED})\ufe0f")
"""Joiners between letters, as Persian and Indic scripts have them, and those of emoji: they belong to what is seen."""

_NUMBER_SIGNS: Final = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
"""Format characters that are seen."""

_IGNORABLE: Final = frozenset(
    map(chr, [0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810)])
) | frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
"""Characters of other categories than format that show nothing."""

_CHANGEABLE: Final = ("label", "subject", "time", "emotion", "sub_class", "metadata")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def check_faces(faces: Sequence[GalleryFace], embedding_size: int) -> None:
    """Refuse invalid faces.

    Raises:
        FaceFieldError: ``check_face`` refuses one, or an id occurs twice.
    """
    seen: set[str] = set()
    for face in faces:
        check_face(face, embedding_size)
        if face.id in seen:
            raise FaceFieldError(f"the id {excerpt(face.id)} occurs twice in one request")
        seen.add(face.id)


def check_face(face: GalleryFace, embedding_size: int) -> None:
    """Refuse an invalid face.

    Raises:
        FaceFieldError: an id, label, sub-class or subject is empty, longer than ``MAX_ID_BYTES``, or has control
            characters or spaces at its ends; an id would change in the path of a URL (``a/../b``); the embedding has
            other dimensions or is not finite; the metadata is not a JSON object, too large or too deep; or the time,
            hash or thumbnail is invalid.
    """
    face_id = excerpt(face.id)
    _check_name(face.id, "the id")
    if {"", ".", ".."} & set(face.id.split("/")):
        raise FaceFieldError(f"the parts of an id between slashes must not be empty, '.' or '..', got {face_id}")
    for name in ("label", "emotion", "sub_class", "subject"):
        if getattr(face, name) is not None:
            _check_name(getattr(face, name), f"the {name} of {face_id}")
    if face.embedding.shape != (embedding_size,):
        raise FaceFieldError(
            f"the embedding of {face_id} must have {embedding_size} numbers, got {face.embedding.shape}"
        )
    if face.embedding.dtype != np.float32 or not np.isfinite(face.embedding).all():
        raise FaceFieldError(f"the embedding of {face_id} must consist of finite float32 numbers")
    check_metadata(face.metadata, face.id)
    if face.time is not None and not (_is_number(face.time) and is_finite(face.time)):
        raise FaceFieldError(f"the time of {face_id} must be seconds since 1970, got {excerpt(face.time)}")
    if face.content_sha256 is not None and not _SHA256.fullmatch(face.content_sha256):
        raise FaceFieldError(f"the content_sha256 of {face_id} must be 64 hexadecimal digits")
    if face.thumbnail is not None and len(face.thumbnail) > MAX_THUMBNAIL_BYTES:
        raise FaceFieldError(
            f"the thumbnail of {face_id} must have at most {MAX_THUMBNAIL_BYTES} bytes, got {len(face.thumbnail)}"
        )


def check_metadata(metadata: Any, face_id: str) -> None:
    """Refuse metadata that is not a JSON object within the limits.

    Raises:
        FaceFieldError: it is not.
    """
    if not isinstance(metadata, Mapping):
        raise FaceFieldError(f"the metadata of {excerpt(face_id)} must be an object, got {type(metadata).__name__}")
    _check_value(metadata, "metadata", 1, face_id)
    size = len(json_text(metadata).encode())
    if size > MAX_METADATA_BYTES:
        raise FaceFieldError(
            f"the metadata of {excerpt(face_id)} must have at most {MAX_METADATA_BYTES} bytes, got {size}"
        )


def apply_changes(face: GalleryFace, changes: Mapping[str, Any]) -> GalleryFace:
    """A valid face with another label, subject, time, emotion, sub_class or metadata.

    Metadata is merged as RFC 7396 says: objects recursively, and null removes a field.

    Raises:
        FaceFieldError: a field cannot be changed, or its value is invalid.
    """
    for name in changes:
        if name not in _CHANGEABLE:
            raise FaceFieldError(f"{excerpt(name)} cannot be changed: expected one of {', '.join(_CHANGEABLE)}")
    values = dict(changes)
    if "metadata" in values:
        check_metadata(values["metadata"], face.id)
        values["metadata"] = _merge(face.metadata, values["metadata"])
    if "time" in values and values["time"] is None:
        raise FaceFieldError(f"the time of {excerpt(face.id)} can be changed, but not removed")
    changed = replace(face, **values)
    check_face(changed, len(face.embedding))
    return changed


def check_queries(queries: NDArray[np.float32], k: int, embedding_size: int) -> None:
    """Refuse queries that are not (q, d) embeddings, or for less than one match.

    Raises:
        QueryError: k is below 1, or the queries have another shape.
    """
    if k < 1:
        raise QueryError(f"k must be at least 1, got {k}")
    if queries.ndim != 2 or queries.shape[1] != embedding_size:
        raise QueryError(f"expected queries (q, {embedding_size}), got {queries.shape}")


def check_network(place: object, found: tuple[str, int], wanted: tuple[str, int]) -> None:
    """Refuse embeddings of another network.

    Args:
        place: of the gallery, for the message.
        found: SHA-256 and dimensions of the network that its embeddings come from.
        wanted: likewise, what they are to be compared with.

    Raises:
        GalleryError: the two differ.
    """
    if found != wanted:
        raise GalleryError(
            f"{place} has embeddings of another network ({found[1]} dimensions of {found[0][:12]}…, "
            f"expected {wanted[1]} of {wanted[0][:12]}…): embeddings of two networks cannot be compared"
        )


def json_text(value: Any) -> str:
    """The compact JSON text of metadata, as it is stored and counted."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def excerpt(value: Any) -> str:
    """A value for a message, cut to 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        text = f"something of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def normal_id(face_id: str) -> str:
    """An id in Unicode's normal form C, so that two that look the same are the same."""
    return face_id if face_id.isascii() else unicodedata.normalize("NFC", face_id)


def is_finite(number: float) -> bool:
    """Whether a number is one that a double can hold; an int may be too large."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def has_half_character(text: str) -> bool:
    """Whether a text has a lone surrogate, which no encoding of Unicode can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _check_name(value: Any, subject: str) -> None:
    """Refuse a name that is not a short line of text."""
    if not isinstance(value, str) or not value:
        raise FaceFieldError(f"{subject} must be a text of at least one character, got {excerpt(value)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise FaceFieldError(f"{subject} has half of a character (a lone surrogate)") from None
    if size > MAX_ID_BYTES:
        raise FaceFieldError(f"{subject} must have at most {MAX_ID_BYTES} bytes, {excerpt(value)} has {size}")
    control = next((letter for letter in value if unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"}), None)
    if control is not None or value != value.strip():
        fault = f"the control character {control!r}" if control is not None else "spaces at its ends"
        raise FaceFieldError(f"{subject} has {fault}: {excerpt(value)}")


def new_id(face_id: str) -> str:
    """The id that a new face gets for the one that is asked for: in normal form C, and without invisible characters.

    Galleries that were made before this rule may have others.

    Raises:
        FaceFieldError: it has an invisible character, so that it looks like another id.
    """
    if not isinstance(face_id, str) or face_id.isascii():
        return face_id
    face_id = normal_id(face_id)
    letter = next(filter(_is_invisible, _JOINERS.sub("", face_id)), None)
    if letter is not None:
        raise FaceFieldError(f"the id {excerpt(face_id)} has the invisible character {letter!a}")
    return face_id


def _is_invisible(letter: str) -> bool:
    return letter in _IGNORABLE or (unicodedata.category(letter) == "Cf" and letter not in _NUMBER_SIGNS)


def _check_value(value: Any, path: str, depth: int, face_id: str) -> None:
    if isinstance(value, Mapping | list | tuple):
        if depth > MAX_METADATA_DEPTH:
            raise FaceFieldError(f"the metadata of {excerpt(face_id)} must be at most {MAX_METADATA_DEPTH} levels deep")
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            if isinstance(value, Mapping) and not isinstance(key, str):
                raise FaceFieldError(f"{path} of {excerpt(face_id)}: keys must be texts, got {excerpt(key)}")
            _check_text(key, path, face_id)
            _check_value(inner, f"{path}.{key}", depth + 1, face_id)
    elif isinstance(value, str):
        _check_text(value, path, face_id)
    elif isinstance(value, bool) or value is None:
        return
    elif not isinstance(value, int | float) or not abs(value) < 2**63:
        raise FaceFieldError(f"{excerpt(path)} of {excerpt(face_id)} must be a JSON value, got {excerpt(value)}")


def _check_text(text: Any, path: str, face_id: str) -> None:
    if isinstance(text, str) and ("\0" in text or has_half_character(text)):
        raise FaceFieldError(f"{excerpt(path)} of {excerpt(face_id)} has a null character or half of a character")


def _merge(old: Any, new: Any) -> Any:
    if not isinstance(new, Mapping):
        return new
    merged = dict(old) if isinstance(old, Mapping) else {}
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

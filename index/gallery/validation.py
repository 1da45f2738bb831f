"""What a face of a gallery may be: its id, names, embedding and metadata, within limits."""

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from mien.index.errors import FaceFieldError
from mien.index.gallery.face import GalleryFace

MAX_ID_BYTES: Final = 256
"""Of an id, a label, a sub-class or a subject, in UTF-8."""

MAX_METADATA_BYTES: Final = 16 * 1024
"""Of a face's metadata, as compact JSON in UTF-8."""

MAX_METADATA_DEPTH: Final = 8
"""Of objects and arrays within one another; the metadata itself is the first."""

MAX_THUMBNAIL_BYTES: Final = 64 * 1024

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def check_faces(faces: Sequence[GalleryFace], embedding_size: int) -> None:
    """Refuse faces that cannot be kept as they are.

    Raises:
        FaceFieldError: ``check_face`` refuses one, or an id stands twice.
    """
    seen: set[str] = set()
    for face in faces:
        check_face(face, embedding_size)
        if face.id in seen:
            raise FaceFieldError(f"the id {shown(face.id)} stands twice in one request")
        seen.add(face.id)


def check_face(face: GalleryFace, embedding_size: int) -> None:
    """Refuse a face that cannot be kept as it is.

    Raises:
        FaceFieldError: an id, label, sub-class or subject is empty, longer than ``MAX_ID_BYTES``, has control
            characters, or spaces at its ends, or an id would change in the path of an address (``a/../b``); an
            embedding has other dimensions or is not finite; metadata is no JSON object, too large or too deep; a
            time, a hash or a thumbnail is none.
    """
    check_id(face.id)
    for name in ("label", "emotion", "sub_class", "subject"):
        check_name(name, getattr(face, name), face.id)
    if face.embedding.shape != (embedding_size,):
        raise FaceFieldError(
            f"the embedding of {shown(face.id)} should have {embedding_size} numbers, got {face.embedding.shape}"
        )
    if face.embedding.dtype != np.float32 or not np.isfinite(face.embedding).all():
        raise FaceFieldError(f"the embedding of {shown(face.id)} should consist of finite float32 numbers")
    check_metadata(face.metadata, face.id)
    if face.time is not None and not (_is_number(face.time) and math.isfinite(face.time)):
        raise FaceFieldError(f"the time of {shown(face.id)} should be seconds since 1970, got {face.time!r}")
    if face.content_sha256 is not None and not _SHA256.fullmatch(face.content_sha256):
        raise FaceFieldError(f"the content_sha256 of {shown(face.id)} should be 64 hexadecimal digits")
    if face.thumbnail is not None and len(face.thumbnail) > MAX_THUMBNAIL_BYTES:
        raise FaceFieldError(
            f"the thumbnail of {shown(face.id)} may have {MAX_THUMBNAIL_BYTES} bytes, got {len(face.thumbnail)}"
        )


def check_id(face_id: str) -> None:
    """Refuse what cannot be an id.

    Raises:
        FaceFieldError: see ``check_face``.
    """
    check_name("id", face_id, face_id)
    if {"", ".", ".."} & set(face_id.split("/")):
        raise FaceFieldError(
            f"an id may have strokes between its parts, but no empty part, '.' or '..', got {shown(face_id)}"
        )


def check_name(name: str, value: Any, face_id: str) -> None:
    """Refuse a name that is no short line of text; None is no name, and fine.

    Raises:
        FaceFieldError: it is none.
    """
    if value is None and name != "id":
        return
    of = "" if name == "id" else f" of {shown(face_id)}"
    if not isinstance(value, str) or not value:
        raise FaceFieldError(f"the {name}{of} should be a text of at least one character, got {shown(value)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise FaceFieldError(f"the {name}{of} has half of a character (a lone surrogate)") from None
    if size > MAX_ID_BYTES:
        raise FaceFieldError(f"the {name}{of} may have {MAX_ID_BYTES} bytes, {shown(value)} has {size}")
    odd = next((letter for letter in value if unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"}), None)
    if odd is not None or value != value.strip():
        what = f"the control character {odd!r}" if odd is not None else "spaces at its ends"
        raise FaceFieldError(f"the {name}{of} has {what}: {shown(value)}")


def check_metadata(metadata: Any, face_id: str) -> None:
    """Refuse metadata that is no JSON object within the limits.

    Raises:
        FaceFieldError: it is none.
    """
    if not isinstance(metadata, Mapping):
        raise FaceFieldError(f"the metadata of {shown(face_id)} should be an object, got {type(metadata).__name__}")
    _check_value(metadata, "metadata", 1, face_id)
    size = len(json_text(metadata).encode())
    if size > MAX_METADATA_BYTES:
        raise FaceFieldError(f"the metadata of {shown(face_id)} may have {MAX_METADATA_BYTES} bytes, got {size}")


def changed(face: GalleryFace, changes: Mapping[str, Any]) -> GalleryFace:
    """A face with changes to label, subject, time, emotion, sub_class or metadata, checked.

    Metadata is merged as RFC 7396 says: objects within objects, and null takes a field away.

    Raises:
        FaceFieldError: a field cannot be changed, or not so.
    """
    allowed = ("label", "subject", "time", "emotion", "sub_class", "metadata")
    for name in changes:
        if name not in allowed:
            raise FaceFieldError(f"{shown(name)} cannot be changed: expected one of {', '.join(allowed)}")
    values = dict(changes)
    if "metadata" in values:
        check_metadata(values["metadata"], face.id)
        values["metadata"] = _merged(face.metadata, values["metadata"])
    if "time" in values and values["time"] is None:
        raise FaceFieldError(f"the time of {shown(face.id)} can be changed, not taken away")
    result = replace(face, **values)
    check_face(result, len(face.embedding))
    return result


def json_text(value: Any) -> str:
    """The compact JSON text of metadata, as it is stored and counted."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def shown(value: Any) -> str:
    """What came, but not all of it: a message does not repeat kilobytes."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _check_value(value: Any, where: str, depth: int, face_id: str) -> None:
    if isinstance(value, Mapping | list | tuple):
        if depth > MAX_METADATA_DEPTH:
            raise FaceFieldError(f"the metadata of {shown(face_id)} may be {MAX_METADATA_DEPTH} levels deep")
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            if isinstance(value, Mapping) and not isinstance(key, str):
                raise FaceFieldError(f"{where} of {shown(face_id)}: keys should be texts, got {shown(key)}")
            _check_text(key, where, face_id)
            _check_value(inner, f"{where}.{key}", depth + 1, face_id)
    elif isinstance(value, str):
        _check_text(value, where, face_id)
    elif isinstance(value, bool) or value is None:
        return
    elif not isinstance(value, int | float) or not math.isfinite(value) or abs(value) >= 2**63:
        raise FaceFieldError(f"{shown(where)} of {shown(face_id)} should be a JSON value, got {shown(value)}")


def _check_text(text: Any, where: str, face_id: str) -> None:
    if isinstance(text, str) and any(letter == "\0" or 0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        raise FaceFieldError(f"{shown(where)} of {shown(face_id)} has a null character or half of a character")


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(new, Mapping):
        return new
    merged = dict(old) if isinstance(old, Mapping) else {}
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

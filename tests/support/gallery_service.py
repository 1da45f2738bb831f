"""Faces at points of a service's space, and what it finds among them."""

from typing import Any, Final

import httpx2

from tests.support.engines import EMBEDDING_SIZE

SOON_S: Final = 5.0
"""By then a service shows what another one has written: a second, and what a busy machine adds."""


def item(face_id: str, place: float, **fields: Any) -> dict[str, Any]:
    """A face to add, whose embedding has this value in every dimension."""
    return {"id": face_id, "embedding": [place] * EMBEDDING_SIZE, **fields}


def nearest_ids(url: str, **fields: Any) -> list[str]:
    """Ids of the ten faces nearest to the origin; fields are further ones of the query."""
    query = {"query": {"embedding": [0.0] * EMBEDDING_SIZE}, "k": 10, **fields}
    answer = httpx2.post(f"{url}/retrieve", json=query, timeout=60)
    assert answer.status_code == 200, answer.text
    return [match["id"] for match in answer.json()["matches"]]

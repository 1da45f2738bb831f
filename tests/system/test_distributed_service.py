"""Two service processes that share one distributed gallery, asked over their sockets."""

import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.gallery_service import SOON_S, item, nearest_ids
from tests.support.milvus_server import shared_server
from tests.support.serving import served_process

pytestmark = pytest.mark.milvus


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[str, str]]:
    gallery = f"milvus://{shared_server().address}/of_two_services"
    with served_process(MIEN_GALLERY=gallery) as one, served_process(MIEN_GALLERY=gallery) as other:
        yield one.url, other.url


def test_face_added_by_one_is_found_by_the_other_within_a_second(services: tuple[str, str]) -> None:
    one, other = services
    items = [item("near", 0.1, label="fear", subject="anna"), item("far", 2.0, metadata={"camera": "left"})]
    assert httpx2.post(f"{one}/gallery", json={"items": items}, timeout=60).status_code == 201
    began = time.monotonic()
    while nearest_ids(other) != ["near", "far"]:
        assert time.monotonic() - began < SOON_S
    assert nearest_ids(one) == ["near", "far"], "the one that added finds it at once"
    assert nearest_ids(other, filter={"metadata.camera": "left"}) == ["far"]
    assert httpx2.get(f"{other}/gallery/near", timeout=60).json()["label"] == "fear"


def test_other_content_under_an_id_of_the_other_is_a_conflict(services: tuple[str, str]) -> None:
    one, other = services
    assert httpx2.post(f"{one}/gallery", json={"items": [item("contested", 1.0)]}, timeout=60).status_code == 201
    again = httpx2.post(f"{other}/gallery", json={"items": [item("contested", 3.0)]}, timeout=60)
    assert again.status_code == 409
    same = httpx2.post(f"{other}/gallery", json={"items": [item("contested", 1.0)]}, timeout=60)
    assert same.status_code in (200, 201)
    assert httpx2.delete(f"{other}/gallery/contested", timeout=60).status_code in (200, 204)
    time.sleep(1)
    assert httpx2.get(f"{one}/gallery/contested", timeout=60).status_code == 404

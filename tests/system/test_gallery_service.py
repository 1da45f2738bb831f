"""Service processes that share the folder of one gallery, asked over their sockets."""

import time
from pathlib import Path

import httpx2

from tests.support.gallery_service import SOON_S, item, nearest_ids
from tests.support.serving import served_process


def test_two_services_share_a_folder(tmp_path: Path) -> None:
    folder = str(tmp_path / "gallery")
    with served_process(MIEN_GALLERY=folder) as first:
        one = first.url
        with served_process(MIEN_GALLERY=folder) as second:
            other = second.url
            items = [item("near", 0.1, label="fear", subject="anna"), item("far", 2.0, metadata={"camera": "left"})]
            assert httpx2.post(f"{one}/gallery", json={"items": items}, timeout=60).status_code == 201
            began = time.monotonic()
            assert nearest_ids(one) == ["near", "far"], "the one that added finds it at once"
            while nearest_ids(other) != ["near", "far"]:
                assert time.monotonic() - began < SOON_S
            assert nearest_ids(other, filter={"metadata.camera": "left"}) == ["far"]
            again = httpx2.post(f"{other}/gallery", json={"items": [item("near", 3.0)]}, timeout=60)
            assert again.status_code == 409
            assert httpx2.delete(f"{other}/gallery/far", timeout=60).status_code == 204
        began = time.monotonic()
        while nearest_ids(one) != ["near"]:
            assert time.monotonic() - began < SOON_S
    with served_process(MIEN_GALLERY=folder) as third:
        assert nearest_ids(third.url) == ["near"]
        assert httpx2.get(f"{third.url}/gallery/near", timeout=60).json()["subject"] == "anna"

import numpy as np
import pytest

from mien.index.errors import QueryError
from mien.index.gallery.fixed_gallery import Entry, FixedGallery


@pytest.fixture
def gallery() -> FixedGallery:
    entries = [Entry(f"face{row}", "happiness" if row % 2 else "neutral", {"row": row}) for row in range(5)]
    return FixedGallery(entries, np.arange(5, dtype=np.float32)[:, None] * np.ones((1, 3), dtype=np.float32))


def test_search_returns_entries_nearest_first(gallery: FixedGallery) -> None:
    (matches,) = gallery.search(np.full((1, 3), 1.2, dtype=np.float32), 3)
    assert [match.entry.id for match in matches] == ["face1", "face2", "face0"]
    assert matches[0].distance == pytest.approx(0.2 * np.sqrt(3), rel=1e-5)
    assert matches[0].entry.metadata == {"row": 1}


def test_search_for_more_than_all_returns_all(gallery: FixedGallery) -> None:
    (matches,) = gallery.search(np.zeros((1, 3), dtype=np.float32), 10**9)
    assert len(matches) == 5


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(gallery: FixedGallery, k: int) -> None:
    with pytest.raises(QueryError, match=f"k must be at least 1, got {k}"):
        gallery.search(np.zeros((1, 3), dtype=np.float32), k)


def test_query_of_other_dimensions_is_refused(gallery: FixedGallery) -> None:
    with pytest.raises(QueryError, match=r"expected queries \(q, 3\), got \(1, 4\)"):
        gallery.search(np.zeros((1, 4), dtype=np.float32), 1)


def test_unknown_id_is_an_error(gallery: FixedGallery) -> None:
    assert gallery.get("face3").emotion == "happiness"
    assert "face3" in gallery
    assert "face9" not in gallery
    with pytest.raises(QueryError, match="'face9'"):
        gallery.get("face9")


def test_id_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        FixedGallery([Entry("a", "neutral", {})] * 2, np.zeros((2, 3), dtype=np.float32))


def test_missing_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match="1 entries"):
        FixedGallery([Entry("a", "neutral", {})], np.zeros((2, 3), dtype=np.float32))

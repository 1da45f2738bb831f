"""Pages of a search have every face once, also where the first page is approximate."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mien.index.gallery.cursor import MARK_LETTERS, MAX_MARKED, mark, next_page
from mien.index.gallery.embedded.gallery import EmbeddedGallery, open_embedded_gallery
from mien.index.gallery.results import GalleryMatch
from mien.index.gallery.store import EVERYTHING, SearchOptions
from mien.index.gallery.vectors.policy import IndexPolicy
from mien.service.schemas.retrieval import RetrievalOptions, cursor, search_options
from tests.support.gallery_implementations import EMBEDDER, SIZE, face, random_faces

QUERY = np.full((1, SIZE), 0.3, dtype=np.float32)
FACES = 3000


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[EmbeddedGallery]:
    """A gallery whose approximate search misses most of the nearest faces."""
    policy = IndexPolicy(kind="ivf", growing=10, growing_share=0.01)
    store = open_embedded_gallery(tmp_path / "gallery", SIZE, EMBEDDER, policy=policy)
    store.add(random_faces(FACES))
    store.wait_for_index()
    assert store.ivf is not None
    store.ivf.nprobe = 1
    yield store
    store.close()


def send_and_parse(options: SearchOptions) -> SearchOptions:
    """The options of the next page, sent to a client and back."""
    sent = RetrievalOptions(after=cursor(options), one_per_subject=options.one_per_subject)
    assert len(sent.after or "") <= 2000
    return search_options(sent, None)


def page(gallery: EmbeddedGallery, k: int, options: SearchOptions) -> tuple[list[GalleryMatch], SearchOptions]:
    result = gallery.search(QUERY, k, options)
    (matches,) = result.matches
    places = [(match.distance, match.face.id) for match in matches]
    after = next_page(options, result.snapshot, places, exact=result.exact) if matches else options
    return matches, send_and_parse(after)


@pytest.mark.parametrize("k", [1, 7, MAX_MARKED, MAX_MARKED + 1])
def test_face_is_on_one_page_only(gallery: EmbeddedGallery, k: int) -> None:
    seen: list[str] = []
    options = EVERYTHING
    while len(seen) < 500:
        matches, options = page(gallery, k, options)
        seen += [match.face.id for match in matches]
    (nearest,) = gallery.search(QUERY, MAX_MARKED + FACES).matches
    assert len(seen) == len(set(seen))
    assert set(seen) == {match.face.id for match in nearest[: len(seen)]}, "no face is left out"


def test_next_page_has_the_matches_that_the_first_missed(gallery: EmbeddedGallery) -> None:
    first, options = page(gallery, 10, EVERYTHING)
    second, options = page(gallery, 10, options)
    assert second[0].distance < first[-1].distance, "the first page must have gaps for this test"
    third, options = page(gallery, 10, options)
    assert second[-1].distance <= third[0].distance
    while options.marks:
        _, options = page(gallery, 10, options)
    assert options.after is not None
    assert options.after[0] > first[-1].distance


def test_pages_continue_after_a_merge(gallery: EmbeddedGallery) -> None:
    seen, options = page(gallery, 20, EVERYTHING)
    gallery.add([face(f"late {row}", QUERY[0]) for row in range(50)])
    gallery.wait_for_index()
    assert gallery.ivf is not None
    assert len(gallery.ivf.assignments) > FACES, "they are in the inverted lists now"
    while len(seen) < 400:
        matches, options = page(gallery, 20, options)
        seen += matches
    ids = [match.face.id for match in seen]
    assert len(ids) == len(set(ids))
    assert not [each for each in ids if each.startswith("late")]
    (nearest,) = gallery.search(QUERY, FACES).matches
    assert set(ids) == {match.face.id for match in nearest[50 : 50 + len(ids)]}


def test_one_per_subject_over_all_pages(gallery: EmbeddedGallery) -> None:
    seen: list[str | None] = []
    options = SearchOptions(one_per_subject=True)
    for _ in range(4):
        matches, options = page(gallery, 3, options)
        seen += [match.face.subject for match in matches]
    subjects = [subject for subject in seen if subject is not None]
    assert len(seen) == 12
    assert len(subjects) == len(set(subjects)) == 5


def test_marks_are_short_and_unique() -> None:
    marks = {mark(f"face-{row}") for row in range(10_000)}
    assert len(marks) == 10_000
    assert {len(each) for each in marks} == {MARK_LETTERS}

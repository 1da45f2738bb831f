import pytest

from mien.index.gallery.results import GalleryMatch
from mien.index.gallery.summary import mean_votes, summarise
from tests.support.gallery_implementations import face


def match(distance: float, sub_class: str, **metadata: object) -> GalleryMatch:
    emotion = sub_class.partition("/")[0]
    found = face(f"at {distance}", emotion=emotion, label="disgust", sub_class=sub_class, metadata=metadata)
    return GalleryMatch(found, distance)


def test_matches_are_counted_by_the_sub_class_of_the_mixture() -> None:
    summary = summarise(
        [
            match(0.5, "fear/1"),
            match(0.75, "happiness/2", votes={"happiness": 6, "neutral": 2}),
            match(1.0, "fear/2"),
            match(1.5, "happiness/2", votes={"happiness": 1, "surprise": 1}),
            match(2.0, "happiness/2"),
        ]
    )
    assert (summary.faces, summary.farthest) == (5, 2.0)
    assert [(each.emotion, each.sub_class, each.faces, each.nearest) for each in summary.sub_classes] == [
        ("happiness", "happiness/2", 3, 0.75),
        ("fear", "fear/1", 1, 0.5),
        ("fear", "fear/2", 1, 1.0),
    ]
    votes = summary.sub_classes[0].votes
    assert votes == pytest.approx({"neutral": 0.125, "happiness": 0.625, "surprise": 0.25})
    assert summary.sub_classes[1].votes == {}


def test_no_matches_have_an_empty_summary() -> None:
    summary = summarise([])
    assert (summary.faces, summary.farthest, summary.sub_classes) == (0, None, [])


@pytest.mark.parametrize("votes", [None, "many", [1], {}, {"happiness": "all"}, {"joy": 3}, {"happiness": -1}])
def test_metadata_that_only_looks_like_votes_does_not_count(votes: object) -> None:
    assert mean_votes([face("a", metadata={"votes": votes})]) == {}

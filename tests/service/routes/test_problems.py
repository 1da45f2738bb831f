"""Answers to errors: what they say, and what they do not."""

from mien.index.errors import GalleryError, UnknownFaceError
from mien.service.errors import ReloadError
from mien.service.routes.problems import problem_of


def test_details_name_no_folder_of_the_server() -> None:
    for error, expected in (
        (
            GalleryError("the gallery's database /srv/private/faces/gallery.sqlite fails: disk I/O error"),
            "gallery.sqlite",
        ),
        (GalleryError("another process holds the gallery 'runs/secret/mine': it cannot be opened"), "'mine'"),
        (
            ReloadError("the old bundle is served on: /srv/private/bundle: weights must be above 0, got 0"),
            ": bundle: w",
        ),
    ):
        detail = problem_of(error).detail
        assert "/" not in detail
        assert "private" not in detail
        assert "secret" not in detail
        assert expected in detail


def test_details_repeat_what_the_request_had() -> None:
    assert "'a/b'" in problem_of(UnknownFaceError("the gallery has no face 'a/b'")).detail

"""Typed answers have every field that the service answers."""

import pytest
from pydantic import BaseModel

from mien.service.answers import faces, gallery, info, space, video
from mien.service.answers.base import Answer
from mien.service.schemas import explain, map  # noqa: A004
from mien.service.schemas import faces as served_faces
from mien.service.schemas import gallery as served_gallery
from mien.service.schemas import info as served_info
from mien.service.schemas import quality as served_quality
from mien.service.schemas import video as served_video

PAIRS: list[tuple[type[BaseModel], type[Answer]]] = [
    (served_faces.ClassifiedFace, faces.Face),
    (served_quality.Quality, faces.Quality),
    (served_faces.RetrievedFace, faces.MatchedFace),
    (served_faces.FoundMatch, faces.FoundMatch),
    (served_faces.MatchSummary, faces.MatchSummary),
    (served_faces.SubClassMatches, faces.SubClassMatches),
    (served_faces.EmbeddedFace, faces.EmbeddedFace),
    (served_faces.PointRetrieval, faces.PointRetrieval),
    (served_video.TrackedFace, video.TrackedFace),
    (served_video.FrameLine, video.VideoFrame),
    (served_video.TrackLine, video.VideoTrack),
    (served_video.EndLine, video.VideoEnd),
    (served_gallery.FaceOfGallery, gallery.GalleryFace),
    (served_gallery.WholeFace, gallery.WholeFace),
    (served_gallery.GalleryPage, gallery.GalleryPage),
    (served_gallery.GalleryStatistics, gallery.GalleryStatistics),
    (served_gallery.AddedFaces, gallery.Added),
    (served_gallery.Deleted, gallery.Deleted),
    (explain.Explanation, space.Explanation),
    (explain.MatchExplanation, space.MatchExplanation),
    (map.MapAnswer, space.Map),
    (map.MapRegion, space.MapRegion),
    (map.Atlas, space.Atlas),
    (map.AtlasRegion, space.AtlasRegion),
    (served_info.Info, info.Info),
    (served_info.Limits, info.Limits),
    (served_info.ServedGallery, info.ServedGallery),
]


@pytest.mark.parametrize(("served", "typed"), PAIRS, ids=lambda kind: kind.__name__)
def test_typed_answer_has_the_fields_that_are_served(served: type[BaseModel], typed: type[Answer]) -> None:
    assert served.model_fields.keys() == typed.model_fields.keys()

"""The lines of an answer about a video: its faces are followed from frame to frame, and each track is summed up."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from mien.model.video.decoder import VideoEnd, VideoFrame
from mien.model.video.tracker import MAX_GAP_S, Tracker
from mien.service.answers import video as answers
from mien.service.answers.problem import Problem
from mien.service.inference.prediction import Prediction
from mien.service.schemas.video import tracked_faces
from mien.service.video.summary import TrackSummaries

GAP_FRAMES: Final = 2.5
"""Sampled frames after which a track ends, however far apart they are: a face may be missed in two of them."""


class VideoLines:
    """Makes the lines of one video, frame by frame.

    Attributes:
        frames: that were answered.
        last: the end of the video; until it is reached, what was decoded so far.
    """

    def __init__(self, emotions: tuple[str, ...], fps: float) -> None:
        """Start before the first frame.

        Args:
            emotions: (c,) names, in the order of the posteriors.
            fps: frames that are answered of each second.
        """
        self._tracker = Tracker(max(MAX_GAP_S, GAP_FRAMES / fps))
        self._summaries = TrackSummaries(emotions)
        self.frames = 0
        self.last = VideoEnd(frames=0, damaged=0, last_s=0.0, cut=False)

    def frame(self, frame: VideoFrame, prediction: Prediction | None) -> answers.VideoFrame:
        """The line of a frame, from the prediction of its faces; None where it has none."""
        tracked = []
        if prediction is not None:
            boxes = np.array([face.box for face in prediction.faces])
            tracked = tracked_faces(prediction, self._tracker.follow(frame.time_s, boxes, prediction.embeddings))
        self.frames += 1
        self.last = VideoEnd(frame.number + 1, self.last.damaged, frame.time_s, cut=False)
        self._summaries.add(frame.time_s, tracked)
        return answers.VideoFrame(time_s=frame.time_s, frame=frame.number, faces=tracked)

    def end(self, problem: Problem | None) -> Iterator[answers.VideoTrack | answers.VideoEnd]:
        """The lines of the tracks, and the last one.

        Args:
            problem: why the video was not answered to its end; None if it was.
        """
        yield from self._summaries.lines()
        yield answers.VideoEnd(
            frames=self.frames,
            last_s=self.last.last_s,
            tracks=len(self._summaries),
            skipped=answers.VideoSkipped(between=self.last.frames - self.frames, damaged=self.last.damaged),
            complete=problem is None,
            problem=problem,
        )

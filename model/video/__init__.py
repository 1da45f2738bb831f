"""A video file to frames, and the faces of a frame to tracks."""

"""Where a face is in an image."""

Box = tuple[float, float, float, float]
"""x, y, width and height in pixels of the upright image."""


def clip(box: Box, width: int, height: int) -> Box:
    """The part of a box inside an image of ``width`` and ``height`` pixels; outside it, the width or height is <= 0."""
    x, y, box_width, box_height = box
    left, top = max(0.0, x), max(0.0, y)
    return (left, top, min(float(width), x + box_width) - left, min(float(height), y + box_height) - top)

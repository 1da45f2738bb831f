"""Numbers of answers, rounded to what they are good for."""

from typing import Annotated

from pydantic import PlainSerializer

Rounded = Annotated[float, PlainSerializer(lambda value: round(value, 6), return_type=float)]
"""A number with six decimals, the precision of float32."""

Pixels = Annotated[float, PlainSerializer(lambda value: round(value, 1), return_type=float)]
"""A coordinate in an image, pixels."""

Degrees = Annotated[float, PlainSerializer(lambda value: round(value, 1), return_type=float)]
"""An angle."""

Hundredths = Annotated[float, PlainSerializer(lambda value: round(value, 2), return_type=float)]
"""A share that is measured to a few percent."""

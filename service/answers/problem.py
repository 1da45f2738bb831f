"""The body of every answer with an error: RFC 9457 problem details."""

from pydantic import ConfigDict, Field

from mien.service.answers.base import Answer


class Problem(Answer):
    """Why a request was not answered (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:mien:no-face",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "detail": "no face was found in the image of 640x480 pixels",
                }
            ]
        }
    )

    type: str = Field(description="Names the kind of problem; stable.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="One sentence: what was expected, and what the request had.")

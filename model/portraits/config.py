"""Settings of the training of portraits."""

from pydantic import BaseModel, ConfigDict, Field


class PortraitConfig(BaseModel):
    """Settings of ``mien portraits``, which are kept in the metadata of the file that it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(256, ge=4, description="Hidden units of what makes an expression stronger.")
    most: int = Field(1500, ge=1, description="Faces of an emotion looked at; the most frontal half is kept.")
    steps: int = Field(500, ge=0, description="Steps after the linear solution.")
    batch_size: int = Field(32, ge=2, description="Faces of a step.")
    read_faces: int = Field(
        24, ge=3, description="Portraits of a step that are read: faces, middles, what lies between."
    )
    reading_share: float = Field(0.02, ge=0, description="Weight of the squared distance of what is read.")
    naming_share: float = Field(0.15, ge=0, description="Weight of how differently it is named, nats.")
    balance: float = Field(0.5, ge=0, le=1, description="0 draws faces as they come, 1 each emotion as often.")
    learning_rate: float = Field(3e-3, gt=0, description="At the start; it falls to a hundredth along a cosine.")
    seed: int = Field(0, ge=0, description="All chance is drawn from it.")

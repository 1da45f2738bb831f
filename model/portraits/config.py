"""Settings of the training of portraits."""

from pydantic import BaseModel, ConfigDict, Field


class PortraitConfig(BaseModel):
    """Settings of ``mien portraits``, which are kept in the metadata of the file that it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(256, ge=4, description="Hidden units of the part that strengthens the expression.")
    most: int = Field(1500, ge=1, description="Faces of each emotion that are aligned; the most frontal half is kept.")
    steps: int = Field(500, ge=0, description="Steps after the linear solution.")
    batch_size: int = Field(32, ge=2, description="Faces of a step.")
    read_faces: int = Field(
        24,
        ge=3,
        description="Portraits of a step that are embedded: of faces, of centroids and of points between them.",
    )
    reading_share: float = Field(
        0.02, ge=0, description="Weight of the squared distance between the point and the embedding of its portrait."
    )
    naming_share: float = Field(
        0.15,
        ge=0,
        description="Weight of the divergence between the posteriors of the point and of its portrait, in nats.",
    )
    balance: float = Field(
        0.5, ge=0, le=1, description="0 draws faces as the data has them, 1 each emotion equally often."
    )
    learning_rate: float = Field(
        3e-3, gt=0, description="Learning rate at the start; it falls to a hundredth of it along a cosine."
    )
    seed: int = Field(0, ge=0, description="Seed of all random choices.")

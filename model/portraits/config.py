"""Settings of the training of portraits."""

from pydantic import BaseModel, ConfigDict, Field


class PortraitConfig(BaseModel):
    """Settings of ``mien portraits``, which are kept in the metadata of the file that it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    most: int = Field(2500, ge=1, description="Faces of each emotion that are aligned; the most frontal half is kept.")
    neighbours: int = Field(40, ge=1, description="Faces that a portrait is the average of, and their mirror images.")
    rounds: int = Field(
        14, ge=1, description="Tries to find the average whose embedding is nearest to the point; 1 averages around it."
    )
    points: int = Field(9000, ge=1, description="Points whose averages the network learns.")
    balance: float = Field(
        0.8, ge=0, le=1, description="0 draws points as the data has them, 1 each emotion equally often."
    )
    width: int = Field(512, ge=4, description="Hidden units of the network, in each of two layers.")
    components: int = Field(128, ge=1, description="Principal components of the averages that a portrait consists of.")
    steps: int = Field(3000, ge=1, description="Steps of the optimiser.")
    batch_size: int = Field(256, ge=2, description="Points of a step.")
    learning_rate: float = Field(
        2e-3, gt=0, description="Learning rate at the start; it falls to a hundredth of it along a cosine."
    )
    seed: int = Field(0, ge=0, description="Seed of all random choices.")

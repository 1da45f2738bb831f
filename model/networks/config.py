"""The shape of the network, as settings."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]


class NetworkConfig(BaseModel):
    """Settings of the shape of the network, which are part of each checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: Literal["residual", "mobilenet"] = Field(
        "residual", description="Residual: from random weights. Mobilenet: for initial weights of a face network."
    )
    side_px: int = Field(48, ge=16, le=256, description="Side of the faces that the network sees; crops have 48.")
    widths: tuple[Count, ...] = Field(
        (32, 64, 128, 256), min_length=1, description="Channels of each stage of the residual backbone."
    )
    blocks: tuple[Count, ...] = Field(
        (2, 2, 2, 2), min_length=1, description="Blocks of each stage of the residual backbone."
    )
    stem_stride: int = Field(2, ge=1, le=2, description="Stride of the residual backbone's first convolution.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of pooled features dropped in training.")

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        if len(self.widths) != len(self.blocks):
            raise ValueError(
                f"widths and blocks must have one value for each stage, got {len(self.widths)} and {len(self.blocks)}"
            )
        return self

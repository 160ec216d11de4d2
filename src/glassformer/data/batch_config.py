"""What a recipe chooses of its batches; beside batch.py, which needs torch."""

from typing import Literal

from pydantic import Field

from glassformer.config import Config


class BatchConfig(Config):
    """How many examples lie in a batch, and how they share it."""

    size: int = Field(32, ge=1, description="rows in a batch (one micro-batch on one device)")
    tokens: int | None = Field(
        None, ge=1, description="a token budget instead: rows x longest row <= tokens, or one longer row"
    )
    layout: Literal["padded", "grouped", "packed"] = Field(
        "grouped",
        description="padded: at random; grouped: similar lengths together; packed: several units share a row, "
        "none sees another. Rows are padded only to the longest of their batch",
    )

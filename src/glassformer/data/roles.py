"""What the columns of a data set are for. A task declares the roles that it takes; a person names the columns that play
them, where their names do not say so.

    data: {train: reviews.csv, columns: {text: sentence, label: sentiment}}
"""

from typing import Literal

from pydantic import Field

from glassformer.config import Config

Role = Literal["text", "source", "target", "label", "number", "array"]
"""text: what is read; source, target: a text and the text that belongs to it; label: one of a few names; number: a real
number; array: a picture or other features, all of one shape."""

TEXT: tuple[Role, ...] = ("text",)
PAIR: tuple[Role, ...] = ("source", "target")


class Columns(Config):
    """The columns that are named, by role."""

    text: str | None = Field(None, description="the column of the text; the same as data.column")
    source: str | None = Field(None, description="for pairs: the column of the source; the same as data.column")
    target: str | None = Field(None, description="for pairs: that of the target; the same as data.target_column")
    label: str | None = Field(None, description="for classes: the column of the label; None: chosen, and said")
    number: str | None = Field(None, description="for numbers: the column of the number; None: chosen, and said")

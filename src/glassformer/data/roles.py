"""What the columns of a data set are for. A task declares the roles that it takes; a person names the columns that play
them, where their names do not say so.

    data: {train: reviews.csv, columns: {text: sentence, label: sentiment}}
    data: {train: names.conll, columns: {text: 0, tags: 3}}
"""

from typing import Literal

from pydantic import Field

from glassformer.config import Config

Role = Literal["text", "second", "source", "target", "label", "number", "tags", "spans", "array"]
"""text: what is read; second: another text that is read with it, of a pair, or a question about it; source, target: a
text and the text that is to be written from it; label: one of a few names; number: a real number; tags: one of a few
names for each word of the text; spans: places in the text, as answers are; array: a picture or other features, all of
one shape."""

TEXT: tuple[Role, ...] = ("text",)
PAIR: tuple[Role, ...] = ("source", "target")
READ: tuple[Role, ...] = ("text", "second", "source", "target")
"""The roles that are texts."""
NAMED: tuple[Role, ...] = ("second", "label", "number", "tags", "spans")
"""The roles that are named in `data.columns` alone."""


class Columns(Config):
    """The columns that are named, by role."""

    text: str | None = Field(None, description="the column of the text; the same as data.column")
    source: str | None = Field(None, description="for pairs: the column of the source; the same as data.column")
    target: str | None = Field(None, description="for pairs: that of the target; the same as data.target_column")
    second: str | None = Field(None, description="for two texts that are read together: the second one's")
    label: str | None = Field(None, description="for classes: the column of the label; None: chosen, and said")
    number: str | None = Field(None, description="for numbers: the column of the number; None: chosen, and said")
    tags: str | None = Field(
        None,
        description="for tags: the column of the tags, by its number from 0 in CoNLL, by its name (upos, xpos, deprel) "
        "in CoNLL-U; None: chosen, and said",
    )
    spans: str | None = Field(None, description="for answers: the column that says where they stand in the text")

"""What a recipe says about its data: which text is learned from, and how its files are read."""

from typing import Any, Literal

from pydantic import Field, model_validator

from glassformer.config import Config
from glassformer.data.layout import LAYOUT_KEYS, Document, Layout
from glassformer.data.roles import Columns
from glassformer.errors import UsageError


class DataConfig(Config):
    """Which text is learnt from, and which is kept apart to measure on."""

    train: str | tuple[str, ...] = Field(description="a file, folder, glob, builtin:NAME/PART or hub:OWNER/NAME")
    train_targets: str | tuple[str, ...] | None = Field(
        None, description="for objectives over pairs: the file whose line n is the target of line n of train"
    )
    validation: str | tuple[str, ...] | None = Field(
        None, description="the text measured on while training; without it a share of train is held out"
    )
    validation_targets: str | tuple[str, ...] | None = Field(None, description="the same for validation")
    test: str | tuple[str, ...] | None = Field(None, description="the text of `glassformer evaluate --split test`")
    test_targets: str | tuple[str, ...] | None = Field(None, description="the same for test")
    column: str | None = Field(
        None,
        description="the column of jsonl, json, csv, tsv, parquet or hub rows (a number from 0 where there is no "
        "header); None: chosen from many rows, and said",
    )
    target_column: str | None = Field(
        None, description="for objectives over pairs of one file: the column of the target (column: of the source)"
    )
    columns: Columns = Field(Columns(), description="the columns of other roles")
    labels: tuple[str, ...] | None = Field(
        None, description="for classes: their labels as the data have them, in order; None: those of train, sorted"
    )
    delimiter: str = Field(
        "auto",
        pattern=r"^(auto|tab|\\t|[^\r\n])$",
        description="what parts the cells of csv and tsv files, for example ';' or tab; auto: found from many rows",
    )
    header: Literal["auto"] | bool = Field(
        "auto", description="whether the first row of csv and tsv files names the columns; auto: found, and said"
    )
    quoted: Literal["auto"] | bool = Field(
        "auto",
        description="whether cells of csv and tsv files may stand in quotation marks; auto: yes between commas and "
        "semicolons, between tabs and bars only where the rows show it",
    )
    tag_scheme: Literal["auto", "none", "iob1", "iob2", "bioes"] = Field(
        "auto",
        description="how tags say where a name of several words begins and ends (data/tag_schemes.py); they are read "
        "as iob2, and without a change where they say nothing of the kind (none); auto: found, and said",
    )
    document: Document = Field(
        "auto",
        description="what one document of a text file is; auto: paragraphs if blank lines part the training text into "
        "at least 20, else lines; row: a row of a table; tagged: a sentence of rows of tagged tokens (CoNLL)",
    )
    document_start: str | None = Field(
        None,
        min_length=1,
        description="instead of document: a regular expression; a line (or row) in which it is found begins a document",
    )
    language: str = Field(
        "en",
        pattern="^[a-z]{2,3}(-[A-Za-z0-9]+)*$",
        description="the language of the texts, for objectives that must know where sentences begin",
    )
    train_rows: int | None = Field(
        None,
        ge=1,
        description="learn from so many of the training rows alone, drawn by rows_seed, labels in their proportions; "
        "of the same seed fewer are among more. Tokenizer and label names are those of all rows; none: all rows",
    )
    rows_seed: int = Field(1, ge=0, lt=2**32, description="which rows train_rows draws; apart from the recipe's seed")
    validation_share: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="the share of the documents held out when no validation is given; of a single one, its end",
    )

    @model_validator(mode="before")
    @classmethod
    def _texts_by_role(cls, given: Any) -> Any:
        """`columns.text` and `columns.source` are other names of `column`, `columns.target` of `target_column`."""
        if not isinstance(given, dict) or not isinstance(given.get("columns"), dict):
            return given
        found, columns = dict(given), dict(given["columns"])
        for role, key in (("text", "column"), ("source", "column"), ("target", "target_column")):
            name = columns.pop(role, None)
            if name is not None and found.get(key) not in (None, name):
                raise UsageError(
                    f"data.{key}={found[key]} and data.columns.{role}={name} are both given", "keep one of them"
                )
            found[key] = found.get(key) if name is None else name
        return found | {"columns": columns}


def asked_layout(data: DataConfig) -> Layout:
    """What the recipe says about how its texts are read."""
    return Layout(**{name: getattr(data, name) for name in LAYOUT_KEYS})


def decided(data: DataConfig, layout: Layout) -> DataConfig:
    """The section of a recipe with everything as the layout has it."""
    return data.model_copy(update={name: getattr(layout, name) for name in LAYOUT_KEYS})

"""What turns the cells of a task's columns into numbers and back: tokenizers, label names, the shape of pictures. All
of it is fixed by the training data, and kept in the run, each in a file of its own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from glassformer.data.labels import Labels
from glassformer.data.roles import READ, Role
from glassformer.data.span_columns import Spans
from glassformer.data.table import Arrays, Codec, Numbers
from glassformer.data.tokenizer import Tokenizer
from glassformer.durable import write_text_durably
from glassformer.errors import GlassformerError
from glassformer.reading import Unreadable, json_object


class Codecs(NamedTuple):
    """The codecs of a run; None where the task has no such column."""

    text: Tokenizer | None = None
    """Reads the texts; of pairs the sources and, unless there is a `target`, the targets too."""
    target: Tokenizer | None = None
    """Where targets have a vocabulary of their own."""
    label: Labels | None = None
    array: Arrays | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the texts. Raises GlassformerError where nothing is read as text."""
        if self.text is None:
            raise GlassformerError("this model reads no text, so it has no tokenizer", "give it what it was trained on")
        return self.text

    def of(self, role: Role) -> Tokenizer | Codec:
        """What reads a column of this role."""
        if role in READ:
            return self.target or self.tokenizer if role == "target" else self.tokenizer
        if role in ("tags", "spans"):
            return Spans(self.tokenizer, self.label if role == "tags" else None)
        found = {"label": self.label, "array": self.array, "number": Numbers()}[role]
        assert found is not None
        return found

    @property
    def identities(self) -> dict[str, str]:
        """By name, so that a resume sees what has changed."""
        named = {"tokenizer": self.text, "target_tokenizer": self.target, "labels": self.label, "arrays": self.array}
        return {name: codec.identity for name, codec in named.items() if codec is not None}

    @property
    def vocabularies(self) -> list[list[str | None]]:
        """Between which tokens or labels its models choose."""
        texts = [tokenizer.vocabulary for tokenizer in (self.text, self.target or self.text) if tokenizer is not None]
        return texts + ([] if self.label is None else [list(self.label.names)])

    @staticmethod
    def files(folder: Path) -> dict[str, Path]:
        """Where each lies in a run."""
        names = {"text": "tokenizer", "target": "target_tokenizer", "label": "labels", "array": "arrays"}
        return {field: folder / f"{name}.json" for field, name in names.items()}

    def save(self, folder: Path) -> None:
        """Write each that there is."""
        files = self.files(folder)
        for name in ("text", "target", "label"):
            codec = getattr(self, name)
            if codec is not None:
                codec.save(files[name])
        if self.array is not None:
            write_text_durably(files["array"], json.dumps({"shape": self.array.shape}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Codecs":
        """What `save` wrote. Raises GlassformerError for a file that is missing or damaged."""
        files = cls.files(folder)
        array = Arrays(_shape_in(files["array"])) if files["array"].is_file() else None
        text = None if array is not None and not files["text"].is_file() else Tokenizer.load(files["text"])
        target = Tokenizer.load(files["target"]) if files["target"].is_file() else None
        label = Labels.load(files["label"]) if files["label"].is_file() else None
        return cls(text, target, label, array)


def _shape_in(file: Path) -> Sequence[int]:
    try:
        shape = json_object(file, what="arrays").get("shape")
    except Unreadable as error:
        raise GlassformerError(error.what, "put the file back as it was") from None
    sizes = shape if isinstance(shape, list) else []
    if len(sizes) not in (2, 3) or not all(type(size) is int and 0 < size < 2**16 for size in sizes):
        raise GlassformerError(f"{file} holds no shape of arrays", "put the file back as it was")
    return sizes

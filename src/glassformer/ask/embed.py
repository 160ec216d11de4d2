"""Make vectors of texts, and say how alike two texts are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from glassformer.answers import Similar
from glassformer.ask.loaded import BATCH, Loaded
from glassformer.data.batch import Example, OutputSpec, Stream, collate, sequence_targets
from glassformer.errors import UsageError
from glassformer.model.heads import read

Vectors = Float[np.ndarray, "texts size"]


class Alike(NamedTuple):
    """Two texts and how alike they are."""

    text: str
    second: str
    cosine: float
    number: float | None
    """The cosine in the scale of the data's numbers; None of a model that learned none."""

    def record(self) -> dict[str, Any]:
        """The shape of `similarity --json`."""
        return self._asdict()


class Near(NamedTuple):
    """A text among others, and its cosine with the one that was asked about."""

    line: int
    """Which of the others, counted from 1."""
    text: str
    cosine: float


def similarity(run: Loaded, pairs: Sequence[tuple[str, str]]) -> list[Alike]:
    """See `Run.similarity`."""
    if not run.objective.can(Similar):
        command, what = run.objective.to_try
        raise UsageError("this model was not trained for similarity", f'glassformer {command} {run.path} "{what}"')
    scale = _similar(run).scale  # type: ignore[union-attr]
    one, other = (_normalised(embed(run, side)) for side in zip(*pairs, strict=True))
    cosines = (one * other).sum(1).tolist()
    return [
        Alike(*pair, cosine, None if scale is None else cosine * scale)
        for pair, cosine in zip(pairs, cosines, strict=True)
    ]


@torch.no_grad()
def embed(run: Loaded, texts: Sequence[str], cut: bool = False) -> Vectors:
    """See `Run.embed`. Texts of like lengths are read together, so that there is little padding."""
    examples = [_example(run, text, number, cut) for number, text in enumerate(texts, 1)]
    lengths = [next(iter(example.streams.values())).n_keys for example in examples]
    order = np.argsort(lengths, kind="stable")
    found: list[np.ndarray] = []
    for start in range(0, len(order), BATCH):
        batch = collate([[examples[n]] for n in order[start : start + BATCH]], run.objective.pad_id)
        member = _similar(run)
        if member is not None:
            found.append(run.model(batch)[member.vector_head].float().numpy())
            continue
        [(name, stream)] = batch.streams.items()
        hidden = run.model.stacks[0](stream)
        found.append(read(hidden, batch.targets[name], OutputSpec(name, 1, read="mean")).float().numpy())
    vectors = np.concatenate(found)
    return vectors[np.argsort(order, kind="stable")]


def nearest(run: Loaded, text: str, others: Sequence[str], top: int = 5, cut: bool = False) -> list[Near]:
    """See `Run.nearest`."""
    vectors = _normalised(embed(run, [text, *others], cut))
    cosines = vectors[1:] @ vectors[0]
    best = np.argsort(-cosines, kind="stable")[:top].tolist()
    return [Near(n + 1, others[n], float(cosines[n])) for n in best]


def _similar(run: Loaded) -> Similar | None:
    return next((member for member in run.objective.members if isinstance(member, Similar)), None)


def _example(run: Loaded, text: str, number: int, cut: bool) -> Example:
    """One text as the first stack reads it. Raises UsageError for one that is empty or too long."""
    member = _similar(run)
    try:
        if member is not None:
            return member.vectors_prompt([text], cut).example
        return _framed(run, text, cut)
    except UsageError as error:
        mend = error.mend or ""
        raise UsageError(f"text {number}: {error.what}", mend) from None


def _framed(run: Loaded, text: str, cut: bool) -> Example:
    """[CLS] text [SEP] for what sees both sides; [SEP] text for a decoder."""
    tokenizer, name = run.tokenizer, run.recipe.model.stacks[0]
    ids, is_decoder = tokenizer.encode(text).ids, name == "decoder"
    room = run.objective.max_length - 2
    if len(ids) == 0:
        raise UsageError("it is empty", "give a sentence")
    if len(ids) > room and not cut:
        raise UsageError(f"it has {len(ids)} tokens, the model reads at most {room}", "shorten it, or cut: --cut")
    begin, end = ([tokenizer.sep_id], []) if is_decoder else ([tokenizer.cls_id], [tokenizer.sep_id])
    stream = Stream(np.r_[begin, ids[:room], end].astype(np.int64), causal=is_decoder)
    return Example({name: stream}, {name: sequence_targets(stream, 0, name)})


def _normalised(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)

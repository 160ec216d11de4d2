"""What counting comes to on the very questions that a model is asked: the lines that a loss is held against.

Of a text that is written from left to right an n-gram sees the tokens before the asked one; of a blank inside a text
its neighbours on both sides, as the model reads them: left, right, the second on the left, the second on the right.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int64

from glassformer.baselines.ngram import NGram
from glassformer.data.batch import Example, Stream, Targets
from glassformer.errors import UsageError
from glassformer.objectives import Objective

ORDERS = {"unigram": 1, "bigram": 2, "trigram": 3, "five_gram": 5}
"""Names of the lines, and how many tokens each counts, the asked one included."""


def contexts(stream: Stream, targets: Targets, many: int, none: int) -> Int64[np.ndarray, "n many_plus_1"]:
    """Of each question so many tokens around it, the nearest last, and behind them the right answer. Where there is no
    token, `none` stands. Around a query stands the text as it is, also where that is asked itself."""
    if stream.causal:
        places, steps = targets.positions, [-n for n in range(many)]
    else:
        places = targets.positions if stream.positions is None else stream.positions[targets.positions]
        steps = [n // 2 + 1 if n % 2 else -(n // 2 + 1) for n in range(many)]
    text = stream.values[: stream.n_keys]
    around = places[:, None] + np.array(steps[::-1], dtype=np.int64)
    there = (around >= 0) & (around < len(text))
    found = np.where(there, text[np.clip(around, 0, len(text) - 1)], none)
    return np.concatenate([found, targets.values[:, None]], axis=1).astype(np.int64)


def counting_losses(learned: Iterable[Example], asked: Iterable[Example], objective: Objective) -> dict[str, float]:
    """The losses of `uniform` and of each of ORDERS on the questions of `asked`, in nats as the objective adds them up,
    after counting those of `learned`. A head that is not over words is only counted, without a context.

    Raises UsageError for a mixture, whose members each have a context of their own.
    """
    if len(objective.members) > 1:
        raise UsageError("a mixture has no lines by counting", "count what each of its members is asked")
    heads = {head.name: head for head in objective.outputs()}
    rows = [_rows(examples, objective, max(ORDERS.values()) - 1) for examples in (learned, asked)]
    weights = {name: weight * objective.shares()[name] for name, weight in objective.loss_weights().items()}
    lines = {"uniform": sum(weights[name] * float(np.log(heads[name].size)) for name in rows[1])}
    for line, order in ORDERS.items():
        lines[line] = 0.0
        for name, questions in rows[1].items():
            own = order if heads[name].over_tokens else 1
            model = NGram(rows[0][name][:, -own:], heads[name].size)
            lines[line] += weights[name] * float(-np.log(model.probabilities(questions[:, -own:])).mean())
    return lines


def _rows(examples: Iterable[Example], objective: Objective, many: int) -> dict[str, Int64[np.ndarray, "n _"]]:
    """By head, everything that is asked."""
    found: dict[str, list[np.ndarray]] = {}
    none = objective.target_tokenizer.vocab_size
    for example in examples:
        for name, targets in example.targets.items():
            found.setdefault(name, []).append(contexts(example.streams[targets.stream], targets, many, none))
    return {name: np.concatenate(parts) for name, parts in found.items() if sum(map(len, parts))}

"""What kind of head each head is: how broadly it looks, how far, and which named pattern fits it.

Plain arrays in, plain arrays out: `describe` takes anybody's attention weights (layers x heads x query x key) and the
tokens; `facts_of` takes a run. Every mean is over the rows (queries) of all texts together, a sum and a count, and over
rows that may see at least two keys: where there is no choice, nothing is shown. Beside every score stands what a head
would score that looks at all keys alike.

    previous    weight on the token just before               next        on the one just after
    first       on the first token ([CLS]), from the others   separator   on [SEP] and its like, other than the first
    same        on other occurrences of the same token        itself      on the query's own place
    column      on one key, the same for all queries: of those that are not the first or separators, the most looked at
    broad       entropy as a share of the most there can be

The first six are the mean weight on such keys, over the rows that have one; `column` is that over all rows. A head is
described twice: by what its map shows on the texts that are asked about, and by its habit over validation units.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Bool, Float, Int

from glassformer.ask.attention import Chosen, Kind, cross_attention_of
from glassformer.ask.run import Run
from glassformer.data.batch import Stream
from glassformer.errors import UsageError
from glassformer.objectives import Prompt

PATTERNS = ("previous", "next", "first", "separator", "same", "itself", "column", "broad")
ACROSS = ("first", "separator", "same", "column", "broad")
"""Those that mean something where queries and keys are of different texts."""
SEPARATORS = ("[CLS]", "[SEP]", "<s>", "</s>", "<|endoftext|>")
PADDING = ("[PAD]", "<pad>")
NO_WORDS = (*SEPARATORS, *PADDING, "[UNK]", "[MASK]", "<unk>", "<mask>")
"""Two of these are not the same word."""
FITS = 0.25
"""A pattern names a head that has come this far from a uniform one (0) to a perfect one (1)."""
COLUMN_FITS = 0.4
"""The same of `column`: it is the best of all keys, and where each row looks at a key of its own, some key always has
more rows than its share."""
FEW = 4
"""No pattern names a head that fewer rows could follow: two full stops would make many heads look for the same word."""
PAIRS = 512 * 512
"""Pairs of query and key of one text that are counted; of a longer text some queries, evenly spread."""
BROAD = 0.75
"""A head that no pattern fits is called broad from this share of the greatest entropy on, else other."""

Sort = Literal["layer", "entropy", "distance", "similarity", "pattern"]
Weights = Float[np.ndarray, "layers heads query key"]
PerHead = Float[np.ndarray, "layers heads"]


class Seen(NamedTuple):
    """The attention of one text, with all that a description needs."""

    weights: Weights
    queries: list[str]
    keys: list[str]
    allowed: Bool[np.ndarray, "query key"]
    """Which keys each query may see; a query that is padding sees none."""
    positions: tuple[Int[np.ndarray, "query"], Int[np.ndarray, "key"]] | None
    """Where queries and keys stand in their text; None where they are of different texts."""
    sampled: list[int] | None = None
    """Of a long text: which of its tokens the queries are. None: all."""


class Tally(NamedTuple):
    """Sums over the rows of a text. Those of several texts are added part by part."""

    rows: int
    entropy: PerHead
    most: float
    share: PerHead
    distance: PerHead
    uniform_distance: float
    scores: Float[np.ndarray, "patterns layers heads"]
    uniform: Float[np.ndarray, "patterns"]
    counts: Int[np.ndarray, "patterns"]
    divergence: Float[np.ndarray, "flat flat"]


class Named(NamedTuple):
    """The name of each head, on some texts; layers x heads."""

    best: list[list[str]]
    """The pattern that fits; `broad` or `other` where none does (see `names`)."""
    score: PerHead
    """Its score; NaN for `other`."""
    baseline: PerHead
    """What a uniform head scores."""


class Habit(NamedTuple):
    """What the heads do over validation units, and how many these are."""

    named: Named
    units: int


class HeadFacts(NamedTuple):
    """What `describe` finds. `flat` counts heads through all layers: head h of layer l is l * heads + h."""

    rows: int
    """Queries that count, of all texts."""
    entropy: PerHead
    """Mean of -sum w ln w, in nats."""
    entropy_share: PerHead
    """Each row's entropy divided by the ln of the keys that it may see, then the mean: 0 one key, 1 all alike."""
    uniform_entropy: float
    distance: PerHead
    """Mean of the distance in tokens, weighted by attention; NaN between two texts."""
    uniform_distance: float
    patterns: tuple[str, ...]
    """Those of PATTERNS that at least one row can follow."""
    scores: Float[np.ndarray, "patterns layers heads"]
    uniform: Float[np.ndarray, "patterns"]
    """What a uniform head scores."""
    counts: Int[np.ndarray, "patterns"]
    """How many rows could follow each."""
    best: list[list[str]]
    """These three are those of `Named`."""
    score: PerHead
    baseline: PerHead
    similarity: Float[np.ndarray, "flat flat"]
    """1 - the mean Jensen-Shannon divergence of two heads' rows in bits: 1 the same weights, 0 never the same key."""
    order: Int[np.ndarray, "flat"]
    """The heads in a chain in which neighbours are similar."""


def describe(
    weights: Weights,
    tokens: list[str],
    keys: list[str] | None = None,
    *,
    causal: bool = False,
    allowed: Bool[np.ndarray, "query key"] | None = None,
) -> HeadFacts:
    """The facts of the heads on one text. `keys` are the tokens that are looked at, where they are of another text
    (cross-attention). `allowed` says which key each query may see; without it every key but padding, where `causal` up
    to the query. Raises ValueError where shapes do not fit."""
    return facts([seen(weights, tokens, keys, causal=causal, allowed=allowed)])


def seen(
    weights: Weights,
    tokens: list[str],
    keys: list[str] | None = None,
    *,
    causal: bool = False,
    allowed: Bool[np.ndarray, "query key"] | None = None,
) -> Seen:
    """Weights and tokens as `facts` takes them; the arguments are those of `describe`."""
    looked_at = tokens if keys is None else keys
    if weights.shape[2:] != (len(tokens), len(looked_at)):
        raise ValueError(f"weights of shape {weights.shape} and {len(tokens)} queries, {len(looked_at)} keys")
    if allowed is None:
        allowed = ~np.isin(tokens, PADDING)[:, None] & ~np.isin(looked_at, PADDING)
        allowed = np.tril(allowed) if causal else allowed
    positions = (np.arange(len(tokens)), np.arange(len(tokens))) if keys is None else None
    return Seen(weights, tokens, looked_at, allowed, positions)


def facts(texts: Sequence[Seen]) -> HeadFacts:
    """The facts of the heads on several texts together. Raises UsageError where no row has a choice."""
    total = Tally(*(sum(parts[1:], start=parts[0]) for parts in zip(*map(tally, texts), strict=True)))
    if not total.rows:
        raise UsageError("no token of the texts has a choice of where to look", "give a longer text")
    can = np.flatnonzero(total.counts)
    patterns = tuple(PATTERNS[n] for n in can)
    scores, uniform = total.scores[can] / total.counts[can, None, None], total.uniform[can] / total.counts[can]
    best, score, baseline = names(patterns, scores, uniform, total.counts[can])
    alike = 1 - total.divergence / total.rows
    return HeadFacts(
        rows=total.rows,
        entropy=total.entropy / total.rows,
        entropy_share=total.share / total.rows,
        uniform_entropy=total.most / total.rows,
        distance=total.distance / total.rows,
        uniform_distance=total.uniform_distance / total.rows,
        patterns=patterns,
        scores=scores,
        uniform=uniform,
        counts=total.counts[can],
        best=best,
        score=score,
        baseline=baseline,
        similarity=alike,
        order=chain(alike),
    )


def names(
    patterns: tuple[str, ...],
    scores: Float[np.ndarray, "patterns layers heads"],
    uniform: Float[np.ndarray, "patterns"],
    counts: Int[np.ndarray, "patterns"],
) -> Named:
    """The name of each head: the pattern with the greatest gain, (score - uniform) / (1 - uniform), of those that at
    least FEW rows could follow, if it is at least FITS (of `column` COLUMN_FITS); otherwise `broad` where that score is
    at least BROAD, or else `other`."""
    room = 1 - uniform[:, None, None]
    gain = np.divide(scores - uniform[:, None, None], room, out=np.full_like(scores, -np.inf), where=room > 1e-9)
    broad = patterns.index("broad")
    gain[(counts < FEW) | (np.arange(len(patterns)) == broad)] = -np.inf
    least = np.array([COLUMN_FITS if name == "column" else FITS for name in patterns])
    gain[gain < least[:, None, None]] = -np.inf
    chosen = np.where(gain.max(0) >= FITS, gain.argmax(0), broad)
    other = (chosen == broad) & (scores[broad] < BROAD)
    score = np.where(other, np.nan, np.take_along_axis(scores, chosen[None], 0)[0])
    best = [
        ["other" if o else patterns[n] for n, o in zip(*row, strict=True)] for row in zip(chosen, other, strict=True)
    ]
    return Named(best, score, np.where(other, np.nan, uniform[chosen]))


# ------------------------------------------------------------------------------------------------------ one text


def tally(text: Seen) -> Tally:
    """The sums of one text."""
    counted, weights, even = choices(text)
    allowed = even > 0
    number = allowed.sum(1)
    nats = entropy(weights)
    none = np.full(weights.shape[:2], np.nan)
    far = distances(text)[counted] if text.positions is not None else None
    scores, uniform, counts = pattern_sums(text)
    return Tally(
        rows=int(counted.sum()),
        entropy=nats.sum(-1),
        most=float(np.log(number).sum()),
        share=scores[PATTERNS.index("broad")],
        distance=none if far is None else (weights * far).sum((2, 3)),
        uniform_distance=float("nan") if far is None else float((even * far).sum()),
        scores=scores,
        uniform=uniform,
        counts=counts,
        divergence=divergence(weights),
    )


def choices(
    text: Seen,
) -> tuple[Bool[np.ndarray, "query"], Float[np.ndarray, "layers heads row key"], Float[np.ndarray, "row key"]]:
    """Which queries count, as they have a choice of two keys at least; their weights, and those of a uniform head."""
    counted = text.allowed.sum(1) >= 2
    allowed = text.allowed[counted]
    return counted, text.weights[:, :, counted].astype(np.float64), allowed / allowed.sum(1, keepdims=True)


def pattern_sums(
    text: Seen,
) -> tuple[Float[np.ndarray, "patterns layers heads"], Float[np.ndarray, "patterns"], Int[np.ndarray, "patterns"]]:
    """Of each pattern, over the rows of one text that could follow it: the sum of the scores, of those of a uniform
    head, and how many rows these are."""
    counted, weights, even = choices(text)
    allowed = even > 0
    scores = np.zeros((len(PATTERNS), *weights.shape[:2]))
    uniform, counts = np.zeros(len(PATTERNS)), np.zeros(len(PATTERNS), int)
    for n, keys in matching(text):
        keys = keys[counted] & allowed
        rows = keys.any(1)
        scores[n] = (weights * keys)[:, :, rows].sum((2, 3))
        uniform[n], counts[n] = (even * keys).sum(), rows.sum()
    column, broad = PATTERNS.index("column"), PATTERNS.index("broad")
    words = ~np.isin(text.keys, SEPARATORS) & (np.arange(len(text.keys)) > 0)
    if words.any():
        scores[column], uniform[column] = weights.sum(2)[..., words].max(-1), even.sum(0)[words].max()
        counts[column] = counted.sum()
    scores[broad] = (entropy(weights) / np.log(allowed.sum(1))).sum(-1)
    uniform[broad] = counts[broad] = counted.sum()
    return scores, uniform, counts


def entropy(weights: Float[np.ndarray, "*rows key"]) -> Float[np.ndarray, "*rows"]:
    """-sum w ln w of each row, in nats; a weight of 0 adds nothing."""
    return -(weights * np.log(np.where(weights > 0, weights, 1.0))).sum(-1)


def divergence(weights: Weights) -> Float[np.ndarray, "flat flat"]:
    """The Jensen-Shannon divergence (Lin 1991) of each two heads, in bits, summed over the rows: H((p + q) / 2) -
    (H(p) + H(q)) / 2, between 0 and 1 in each row. Clark et al. 2019, section 6, compare heads by it."""
    flat = np.concatenate(list(weights))
    own = entropy(flat).sum(-1)
    mixed = np.stack([entropy((one + flat) / 2).sum(-1) for one in flat])
    return np.maximum(mixed - (own[:, None] + own) / 2, 0.0) / np.log(2)


def distances(text: Seen) -> Int[np.ndarray, "query key"]:
    """How far each key stands from each query, in tokens."""
    assert text.positions is not None
    queries, keys = text.positions
    return np.abs(queries[:, None] - keys)


def matching(text: Seen) -> Iterator[tuple[int, Bool[np.ndarray, "query key"]]]:
    """The number of each pattern that says which keys each query would look at, and these keys."""
    queries, keys = np.array(text.queries), np.array(text.keys)
    first = np.arange(len(keys)) == 0
    word = (queries[:, None] == keys) & ~np.isin(keys, NO_WORDS)
    everywhere = np.ones((len(queries), 1), dtype=bool)
    separator = everywhere & np.isin(keys, SEPARATORS) & ~first
    if text.positions is None:
        found = {"first": everywhere & first, "separator": separator, "same": word}
    else:
        step = text.positions[1] - text.positions[0][:, None]
        found = {
            "previous": step == -1,
            "next": step == 1,
            "first": first & (step != 0),
            "separator": separator,
            "same": word & (step != 0),
            "itself": step == 0,
        }
    return ((PATTERNS.index(name), pairs) for name, pairs in found.items())


# ------------------------------------------------------------------------------------------------------ ordering


def chain(similarity: Float[np.ndarray, "flat flat"]) -> Int[np.ndarray, "flat"]:
    """The heads in a row: it begins with the most similar two, and grows, at either end, by the head that is most
    similar to the one that stands there (ties: the lower number)."""
    apart = np.where(np.eye(len(similarity), dtype=bool), -np.inf, similarity)
    placed = [int(n) for n in np.unravel_index(apart.argmax(), apart.shape)] if len(apart) > 1 else [0]
    while len(placed) < len(apart):
        ends = apart[[placed[0], placed[-1]]]
        ends[:, placed] = -np.inf
        end, head = (int(n) for n in np.unravel_index(ends.argmax(), ends.shape))
        placed = [head, *placed] if end == 0 else [*placed, head]
    return np.array(placed)


def ordered(found: HeadFacts, by: Sort) -> Int[np.ndarray, "flat"]:
    """All heads by number, in an order: by layer, by entropy or distance (the smallest first), along `found.order`, or
    by pattern, in each the highest score first."""
    if by == "similarity":
        return found.order
    if by == "pattern":
        kinds = np.array([(*PATTERNS, "other").index(name) for row in found.best for name in row])
        return np.lexsort((-np.nan_to_num(found.score).ravel(), kinds))
    key = {"layer": np.zeros(found.entropy.shape), "entropy": found.entropy, "distance": found.distance}[by]
    return np.argsort(key.ravel(), kind="stable")


def rows(found: HeadFacts, order: Int[np.ndarray, "flat"], habit: Named | None = None) -> list[dict[str, Any]]:
    """A line for each head, for a table: its pattern, the score, and a uniform head's, and the same of its habit, where
    that is given; a uniform head has the last line."""
    lines = []
    for layer, head in (divmod(int(n), found.entropy.shape[1]) for n in order):
        line: dict[str, Any] = {"layer": layer, "head": head, "pattern": found.best[layer][head]}
        line |= {"score": _number(found.score[layer, head]), "uniform": _number(found.baseline[layer, head])}
        if habit is not None:
            line["habit"] = habit.best[layer][head]
            line["habit_score"] = _number(habit.score[layer, head])
            line["habit_uniform"] = _number(habit.baseline[layer, head])
        line |= {name: float(getattr(found, name)[layer, head]) for name in ("entropy", "entropy_share")}
        lines.append(line | {"distance": _number(found.distance[layer, head])})
    even: dict[str, Any] = dict.fromkeys(lines[0]) | {"pattern": "(a uniform head)", "entropy": found.uniform_entropy}
    return [*lines, even | {"entropy_share": 1.0, "distance": _number(found.uniform_distance)}]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def per_head(found: HeadFacts, habit: Named | None = None) -> list[list[dict[str, Any]]]:
    """What is written below each map, layers x heads."""
    lines = rows(found, np.arange(found.entropy.size), habit)[:-1]
    heads = found.entropy.shape[1]
    return [lines[n : n + heads] for n in range(0, len(lines), heads)]


# --------------------------------------------------------------------------------------------------------- a run


def facts_of(run: Run, texts: Sequence[str] = (), kind: Kind = "self", number: int = 16) -> HeadFacts:
    """The facts of a run's heads on texts; without any, on the first `number` of its own validation units, as it reads
    them in an evaluation (blanks hidden). `kind` is that of `Run.attention`.

    Raises what `Run.attention` raises.
    """
    return facts(list(seen_of(run, texts, kind, number)))


_HABITS: WeakKeyDictionary[Run, dict[tuple[Kind, int], Habit]] = WeakKeyDictionary()
"""Known ones: a page that follows what is typed asks at each letter."""


def habit_of(run: Run, kind: Kind = "self", number: int = 16) -> Habit:
    """The name of each head over the first `number` validation units: what it does when nobody picks the text.

    Raises GlassformerError where the run's data cannot be read.
    """
    known = _HABITS.setdefault(run, {})
    if (kind, number) not in known:
        parts = [pattern_sums(text) for text in seen_of(run, (), kind, number)]
        scores, uniform, counts = (sum(part[1:], start=part[0]) for part in zip(*parts, strict=True))
        can = np.flatnonzero(counts)
        if not can.size:
            raise UsageError("no token of the validation units has a choice of where to look", "look at a text")
        patterns = tuple(PATTERNS[n] for n in can)
        mean = scores[can] / counts[can, None, None]
        known[kind, number] = Habit(names(patterns, mean, uniform[can] / counts[can], counts[can]), len(parts))
    return known[kind, number]


def seen_of(run: Run, texts: Sequence[str] = (), kind: Kind = "self", number: int = 16) -> Iterator[Seen]:
    """What `facts_of` describes, text by text."""
    if any(not text.strip() for text in texts):
        raise UsageError("a text is empty", "give a sentence")
    if kind == "self":
        prompts = map(run.objective.prompt, texts) if texts else (_read(run, p) for p in validation(run, number))
        yield from (seen_in(run, prompt) for prompt in prompts)
        return
    if len(run.recipe.model.stacks) < 2:
        raise UsageError(f"this model has no attention of the kind {kind}: it is one stack", "describe kind self")
    if not texts:
        look = seen_across if kind == "cross" else seen_in
        yield from (look(run, prompt) for prompt in validation(run, number))
    for text in texts:
        found = run.attention(text, kind)
        yield seen(found.weights, found.tokens, found.keys, causal=kind == "decoder")


def validation(run: Run, number: int) -> list[Prompt]:
    """The first validation units with their fixed corruption, shown by the stream in which they ask."""
    questions = run.questions("validation")
    examples = [questions.example(int(index)) for index in questions.chosen[:number]]
    return [run.objective.of(example).as_prompt(example) for example in examples]


def _read(run: Run, prompt: Prompt) -> Prompt:
    """A prompt shown by the stream that the first stack reads: of an encoder-decoder the encoder's."""
    stack = run.recipe.model.stacks[0]
    if stack == prompt.stream or stack not in prompt.example.streams:
        return prompt
    ids, name = prompt.example.streams[stack].values, run.objective.tokenizer_of(stack).token
    return prompt._replace(tokens=[name(int(id)) for id in ids], stream=stack)


def seen_in(run: Run, prompt: Prompt) -> Seen:
    """The self-attention on a prompt, with who may see whom and where each token stands."""
    stream = prompt.example.streams[prompt.stream]
    stands = np.arange(len(stream.values)) if stream.positions is None else stream.positions
    order = np.argsort(stands, kind="stable")  # as `attention_of` lays the rows
    rows = evenly(len(order), stream.n_keys)
    found = run.attention_of(prompt, Chosen(rows=rows))
    queries = found.tokens if rows is None else [found.tokens[row] for row in rows]
    order = order if rows is None else order[rows]
    positions = (stands[order], stands[: stream.n_keys])
    return Seen(found.weights, queries, found.keys or found.tokens, visible_pairs(stream)[order], positions, rows)


def seen_across(run: Run, prompt: Prompt) -> Seen:
    """The cross-attention of a unit: each token of the target that is asked for, and the source's that it looks at."""
    found = cross_attention_of(run, prompt)
    assert found.keys is not None
    return seen(found.weights, found.tokens, found.keys)


def evenly(queries: int, keys: int) -> list[int] | None:
    """Queries that stand for a long text, the first and the last among them; None: all."""
    if queries * keys <= PAIRS:
        return None
    return sorted({round(place) for place in np.linspace(0, queries - 1, max(2, PAIRS // keys))})


def visible_pairs(stream: Stream) -> Bool[np.ndarray, "query key"]:
    """Which token of a stream may see which."""
    stands = np.arange(len(stream.values)) if stream.positions is None else stream.positions
    pairs = np.ones((len(stands), stream.n_keys), dtype=bool) if stream.pair_mask is None else stream.pair_mask
    return pairs & (stands[:, None] >= stands[: stream.n_keys]) if stream.causal else pairs

"""From a recipe to what is stored of its data: what makes numbers of each column (tokenizers, names of labels), and the
columns, opened from the cache or made in one pass over the rows."""

import json
from collections.abc import Callable, Iterator, Sequence

from glassformer.data.codecs import Codecs
from glassformer.data.corpus import Corpus, Wanted, WantedValues, all_cached, cached_labels, cached_tokenizer
from glassformer.data.labels import Labels
from glassformer.data.roles import READ, Role
from glassformer.data.rows import plural
from glassformer.data.sample import sample_of
from glassformer.data.spans import Annotated
from glassformer.data.table import Arrays, Cell, Column, ValueColumn
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.recipe import Recipe, members, objective_class
from glassformer.recipe_rows import Reading, Split, files_of_split, key_of_part, learned_rows, own_rows, rows_of_members


def codecs_for(
    recipe: Recipe, say: Callable[[str], None] = lambda text: None, reading: Reading | None = None
) -> Codecs:
    """What reads the columns: the tokenizers that the recipe names, or those trained on its training texts, on a sample
    of them where they are many; the labels of the data to train on, sorted; the shape of its pictures. Tokenizers
    and labels are kept in the cache."""
    known = reading or Reading()
    roles = {role for member in members(recipe) for role in objective_class(member).columns}
    labelled = [m for m in members(recipe) if {"label", "tags"} & set(objective_class(m).columns)]
    labels = labels_for(labelled[0], say, known) if labelled else None
    shape = next((_shape_of(m, known) for m in members(recipe) if "array" in objective_class(m).columns), None)
    arrays = None if shape is None else Arrays(shape)
    if not roles & set(READ):
        return Codecs(label=labels, array=arrays)
    return Codecs(*_tokenizers_for(recipe, say, known), labels, arrays)


def _tokenizers_for(recipe: Recipe, say: Callable[[str], None], known: Reading) -> tuple[Tokenizer, Tokenizer | None]:
    """Of pairs one tokenizer reads both sides, unless `target_tokenizer` says what the targets have. Where weights
    begin from a source whose tokenizer is kept, they are that one's."""
    if recipe.init_from is not None and recipe.init_from.tokenizer == "keep":
        from glassformer.init_from import codecs_of  # what asks a finished run has no need of it

        kept = codecs_of(recipe.init_from)
        return kept.tokenizer, kept.target
    prefixes = [objective_class(member).prefix_of(member.objective) for member in members(recipe)]

    def train(settings: TokenizerConfig, read: tuple[Role, ...], sides: str) -> Tokenizer:
        def texts() -> list[str]:
            rows = rows_of_members(recipe, "train", known)
            sample = sample_of(
                text for roles, row in rows for role, text in zip(roles, row.cells, strict=True) if role in read
            )
            say(f"training a {settings.kind} tokenizer{sample}")
            # A prefix stands before every source: often enough that its words are in any vocabulary.
            put_before = [prefix for prefix in prefixes if prefix and "source" in read for _ in sample.texts]
            return put_before + sample.texts

        key = key_of_part(recipe, "train", known) + sides + (json.dumps(prefixes) if any(prefixes) else "")
        return cached_tokenizer(key, texts, settings)

    if recipe.target_tokenizer is None:
        return train(recipe.tokenizer, READ, "01"), None
    return train(recipe.tokenizer, ("text", "second", "source"), "0"), train(recipe.target_tokenizer, ("target",), "1")


def labels_for(recipe: Recipe, say: Callable[[str], None], reading: Reading) -> Labels:
    """The labels that the recipe gives, or those of all rows in `data.train`, held out or not, sorted.
    Raises UsageError."""
    if recipe.data.labels is not None:
        return Labels.given(recipe.data.labels)
    place = files_of_split(recipe, "train")
    roles = objective_class(recipe).columns
    column = roles.index("label" if "label" in roles else "tags")

    def cells() -> Iterator[Cell]:
        for row in own_rows(recipe, place, reading):
            cell = row.cells[column]
            of_words = [span.label for span in cell.spans] if isinstance(cell, Annotated) else [cell]
            yield from (Cell(label, row.place) for label in of_words)

    labels = cached_labels(reading.content(recipe, place), cells)
    say(f"{len(labels)} labels: {', '.join(map(repr, labels.names[:12]))}{' ...' if len(labels) > 12 else ''}")
    return labels


def _shape_of(recipe: Recipe, reading: Reading) -> tuple[int, ...]:
    """That of the first picture."""
    first = next(iter(own_rows(recipe, files_of_split(recipe, "train"), reading)))
    return tuple(first.cells[objective_class(recipe).columns.index("array")].shape)


def column_for(recipe: Recipe, codecs: Codecs, part: Split, say: Callable[[str], None] = lambda text: None) -> Column:
    """One part of the data as stored columns, opened from the cache if it has been made before."""
    return columns_for(recipe, codecs, (part,), say)[0]


def columns_for(
    recipe: Recipe,
    codecs: Codecs,
    parts: Sequence[Split],
    say: Callable[[str], None] = lambda text: None,
    reading: Reading | None = None,
) -> list[Column]:
    """Several parts of the data as stored columns: of each the first that the task takes, the others beside it. Those
    that are not in the cache are made in one pass over the data."""
    known = reading or Reading()
    own = members(recipe)
    if len(own) > 1:
        of_each = [columns_for(member, codecs, parts, say, known) for member in own]
        return [_mixed(of_one_part) for of_one_part in zip(*of_each, strict=True)]
    if len(parts) > 1 and not all(files_of_split(recipe, part).is_cut for part in parts):
        return [columns_for(recipe, codecs, (part,), say, known)[0] for part in parts]
    kind = objective_class(recipe)
    roles = kind.columns
    language = recipe.data.language if kind.needs_sentences(recipe.objective) else None
    wanted: list[Wanted | WantedValues] = []
    for part in parts:
        for number, role in enumerate(roles):
            key, codec = key_of_part(recipe, part, known) + (str(number) if len(roles) > 1 else ""), codecs.of(role)
            if part == "train" and recipe.data.train_rows is not None:
                key += f" {recipe.data.train_rows} rows by {recipe.data.rows_seed}"
            if isinstance(codec, Tokenizer):
                wanted.append(Wanted(key, codec, len(roles) > 1, language))
            else:
                wanted.append(WantedValues(key, codec))

    def cells(missing: Sequence[int]) -> Iterator[tuple[int, str | Cell]]:
        stores = [divmod(number, len(roles)) for number in missing]
        for part, column in stores:
            doing = "reading and tokenising" if isinstance(wanted[column], Wanted) else "reading"
            say(f"{doing} the {parts[part]} {plural(roles[column])}")
        needed = sorted({part for part, _ in stores})
        for number, row in learned_rows(recipe, [parts[part] for part in needed], known):
            for place, (part, column) in enumerate(stores):
                if part == needed[number]:
                    cell = row.cells[column]
                    yield place, cell if isinstance(wanted[column], Wanted) else Cell(cell, row.place)

    found = all_cached(wanted, cells)
    return [_beside(found[n : n + len(roles)], roles) for n in range(0, len(found), len(roles))]


def _beside(columns: Sequence[Column], roles: Sequence[Role]) -> Column:
    """The first column with the others beside it."""
    first, beside = columns[0], dict(zip(roles[1:], columns[1:], strict=True))
    if isinstance(first, Corpus):
        return first.with_beside(beside)
    assert isinstance(first, ValueColumn)
    return ValueColumn(first.values, beside)


def _mixed(members: Sequence[Column]) -> Corpus:
    texts = [member for member in members if isinstance(member, Corpus)]
    assert len(texts) == len(members)
    return Corpus.mixed(texts)

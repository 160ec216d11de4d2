"""Tagging: a label for each word of a sentence, as names or parts of speech (Devlin et al. 2019, section 5.3).

    words      Mars   is   near   Phobos          tags   B-PLANET  O  O  B-MOON
    encoder    [CLS] mars is near pho ##bos [SEP]
    asked      at each word, once: its tag

A word of several tokens is read at its first one, or as the mean of all. A sentence that is longer than the model reads
is cut between words into as few parts of nearly equal length as will do; every word is asked once.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from glassformer.answers import Prompt, TagsWords
from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets
from glassformer.data.corpus import Corpus
from glassformer.data.scripts import words_and_signs
from glassformer.data.span_columns import SpanColumn, tokens_at
from glassformer.data.spans import Annotated
from glassformer.data.tag_schemes import is_of_names
from glassformer.errors import UsageError
from glassformer.objective_configs import TaggingConfig
from glassformer.objectives import Dataset, Objective

HEAD = "tag"
Places = Int64[np.ndarray, "n 3"]
"""Of each word its first token, the token behind its last, and the number of its tag."""


class Tagging(Objective[TaggingConfig], TagsWords):
    """Ask for the tag of each word; see the module's example."""

    Config = TaggingConfig
    question = "which tag each word has"
    good_for = "names in texts, parts of speech; most often after pre-training"
    columns = ("text", "tags")
    draws = False
    asks_with = "a sentence"

    def check(self) -> None:
        """Raises UsageError where no word fits."""
        if self.max_length < 3:
            raise UsageError("there is no room for a word between [CLS] and [SEP]", "use model.max_length=3 or more")

    @property
    def tag_head(self) -> str:
        """Its only one."""
        return HEAD

    @property
    def names_entities(self) -> bool:
        """Whether its tags say where names begin and end."""
        return is_of_names(self.label_names)

    def outputs(self) -> list[OutputSpec]:
        """One head over the tags, which reads once for each word."""
        read = "position" if self.config.read == "first" else "span"
        return [OutputSpec(HEAD, len(self.label_names), read=read, labels=self.label_names)]  # type: ignore[arg-type]

    def metrics_of(self, head: OutputSpec) -> Sequence[str]:
        """Of names how many are found whole (F1 of entities); of other tags how many words are right."""
        return ("entity_f1", "accuracy") if self.names_entities else ("accuracy", "macro_f1")

    def dataset(self, corpus: Corpus) -> Dataset:
        """One sentence each, or a part of one."""
        return TaggedSentences(self, corpus)

    def parts(self, places: Places) -> list[tuple[int, int]]:
        """The words of a sentence, cut so that each part fits: from which word up to which. Of a word that alone is too
        long only the beginning is read."""
        room = self.max_length - 2
        cuts, start = [0], 0
        total = int(places[-1, 1] - places[0, 0]) if len(places) else 0
        aim = -(-total // max(1, -(-total // room)))  # of parts of nearly equal length
        for word in range(1, len(places)):
            begin = int(places[start, 0])
            if int(places[word, 1]) - begin > room or int(places[word, 0]) - begin >= aim:
                cuts.append(word)
                start = word
        return [(a, b) for a, b in zip(cuts, [*cuts[1:], len(places)], strict=True) if b > a]

    def example(self, ids: Int64[np.ndarray, "T"], places: Places) -> Example:
        """Some words and their tags, asked where a word has a token; `places` are those in `ids`."""
        begin = int(places[0, 0])
        end = min(int(places[-1, 1]), begin + self.max_length - 2)
        framed = np.r_[self.tokenizer.cls_id, ids[begin:end], self.tokenizer.sep_id].astype(np.int64)
        some = places[self._read(places)]
        ends = np.minimum(some[:, 1], end) - begin + 1
        asked = Targets(some[:, 0] - begin + 1, some[:, 2], ends=ends if self.config.read == "mean" else None)
        return Example({"encoder": Stream(framed)}, {HEAD: asked})

    def _read(self, places: Places) -> Bool[np.ndarray, "n"]:
        """Which words have a token that is read."""
        return (places[:, 1] > places[:, 0]) & (places[:, 0] < places[0, 0] + self.max_length - 2)

    def prompt(self, text: str) -> Prompt:
        """A text, asked for the tag of each of its words: what stands between spaces, and signs by themselves. Raises
        UsageError for one that is empty or longer than the model reads."""
        [(prompt, _), *more] = self.tagged_prompts([text[a:b] for a, b in words_and_signs(text)])
        if more:
            raise UsageError(
                f"the text is longer than the model reads at a time: at most {self.max_length - 2} tokens",
                "shorten it, or train with a larger model.max_length; `tag` reads it in parts",
            )
        return prompt._replace(text=text)

    def tagged_prompts(self, words: Sequence[str]) -> list[tuple[Prompt, list[int]]]:
        """Words as prompts that ask for the tag of each, one for each part that fits. Raises UsageError without a word
        that the tokenizer reads."""
        sentence = Annotated.of_words(words)
        encoded = self.tokenizer.encode(sentence.text)
        found = tokens_at(encoded, [(span.start, span.end) for span in sentence.spans])
        places = np.column_stack([found, np.full(len(found), IGNORE_INDEX)])
        if not len(places) or not (places[:, 1] > places[:, 0]).any():
            raise UsageError("the text has no word", "give a sentence")
        prompts: list[tuple[Prompt, list[int]]] = []
        for first, last in self.parts(places):
            some = places[first:last]
            example = self.example(encoded.ids, some)
            prompt = Prompt(" ".join(words[first:last]), example, self.names_in("encoder", example.streams["encoder"]))
            prompts.append((prompt, (first + np.flatnonzero(self._read(some))).tolist()))
        return prompts

    def words_of(self, example: Example) -> tuple[int, int]:
        """No word is asked for, known or not."""
        return 0, 0


class TaggedSentences(Dataset):
    """One unit for each sentence, or part of one. Raises UsageError where there are no tags."""

    def __init__(self, objective: Tagging, corpus: Corpus) -> None:
        tags = corpus.beside.get("tags")
        if not isinstance(tags, SpanColumn):
            raise UsageError("tagging needs tags", "give data with a tag for each word")
        self.objective, self.texts, self.tags = objective, corpus, tags
        parts = [(row, *part) for row in range(tags.n_rows) for part in objective.parts(tags.row(row))]
        self.units = np.array(parts, dtype=np.int64).reshape(-1, 3)
        """Of each its sentence, its first word, and the word behind its last."""
        firsts, lasts = tags.row_starts[self.units[:, 0]] + self.units[:, 1:].T
        spans = np.asarray(tags.places)
        self.lengths = np.minimum(spans[lasts - 1, 1].astype(np.int64) - spans[firsts, 0] + 2, objective.max_length)

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Part `index` with its tags."""
        row, first, last = self.units[index].tolist()
        return self.objective.example(self.texts.document(row).astype(np.int64), self.tags.row(row)[first:last])

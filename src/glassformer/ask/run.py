"""A trained run and everything that it can be asked."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, overload

from glassformer.ask import answer, attention, classify, cloze, embed, evaluation, fill, generate, score, tag
from glassformer.ask.answer import Answers
from glassformer.ask.attention import ALL, Attention, Chosen, Kind
from glassformer.ask.classify import Classified
from glassformer.ask.cloze import Answered
from glassformer.ask.embed import Alike, Near, Vectors
from glassformer.ask.fill import Filled
from glassformer.ask.generate import Generation, Written
from glassformer.ask.loaded import Loaded
from glassformer.ask.score import Scored
from glassformer.ask.tag import TaggedText
from glassformer.data.builtin import Cloze
from glassformer.data.table import Column
from glassformer.judging.judgement import Judgement
from glassformer.objectives import Prompt
from glassformer.recipe_rows import Split
from glassformer.run import RunDirectory
from glassformer.training.evaluation import EvaluationSet


class Run(Loaded):
    """A trained model with its tokenizer and objective, loaded from a run directory."""

    @overload
    def fill(self, texts: str, top: int = 5) -> Filled: ...
    @overload
    def fill(self, texts: list[str], top: int = 5) -> list[Filled]: ...
    def fill(self, texts: str | list[str], top: int = 5) -> Filled | list[Filled]:
        """The candidates for each [MASK] in a text (Filled), or in several ([Filled, ...]).

        Raises UsageError for a text without a blank, or longer than the model reads.
        """
        if isinstance(texts, str):
            return self.fill([texts], top)[0]
        return fill.fill(self, texts, top)

    @overload
    def classify(self, texts: str) -> Classified: ...
    @overload
    def classify(self, texts: list[str]) -> list[Classified]: ...
    def classify(self, texts: str | list[str]) -> Classified | list[Classified]:
        """The labels of a text (Classified), or of several ([Classified, ...]), with probabilities, the likeliest
        first. A model of pictures is given their names: PICTURE.png, or FILE:17 for an item of an idx file.

        Raises UsageError for a model that predicts no labels, and for a text or picture that it cannot read.
        """
        if isinstance(texts, str):
            return self.classify([texts])[0]
        return classify.classify(self, texts)

    @overload
    def tag(self, texts: str) -> TaggedText: ...
    @overload
    def tag(self, texts: list[str] | list[list[str]]) -> list[TaggedText]: ...
    def tag(self, texts: str | list[str] | list[list[str]]) -> TaggedText | list[TaggedText]:
        """The tag of each word of a text (TaggedText), or of several ([TaggedText, ...]). A text is a string, which is
        cut at spaces and signs, or in a list of texts also a list of words. A long one is read in parts.

        Raises UsageError for a model that tags no words, and for a text without a word.
        """
        if isinstance(texts, str):
            return tag.tag(self, [texts])[0]
        return tag.tag(self, texts)

    def answer(self, question: str, context: str | Mapping[str, str], top: int = 1) -> Answers:
        """The answer to a question out of a text, or of several by their names, with the characters where it stands;
        the `top` best ones as candidates. A long text is read in windows. Its answer is None where that there is
        none is likelier, in models that were taught when.

        Raises UsageError for a model that answers no questions, for a question that leaves no room for a text, and
        where question or text are empty.
        """
        return answer.answer(self, question, context, top)

    @overload
    def similarity(self, text: str, second: str) -> Alike: ...
    @overload
    def similarity(self, text: list[tuple[str, str]]) -> list[Alike]: ...
    def similarity(self, text: str | list[tuple[str, str]], second: str | None = None) -> Alike | list[Alike]:
        """How alike two texts are (Alike), or of several pairs each ([Alike, ...]): the cosine of their vectors.

        Raises UsageError for a model that was not trained for it, and for a text that is empty or too long.
        """
        if isinstance(text, str):
            return embed.similarity(self, [(text, second or "")])[0]
        return embed.similarity(self, text)

    def embed(self, texts: list[str], cut: bool = False) -> Vectors:
        """A vector for each text: of a similarity model the trained one, of any other that reads text the mean over the
        tokens of the last layer of its first stack.

        Raises UsageError for a text that is empty, and for one that is too long, unless it may be `cut` at its end.
        """
        return embed.embed(self, texts, cut)

    def nearest(self, text: str, others: list[str], top: int = 5, cut: bool = False) -> list[Near]:
        """The `top` of the other texts whose vectors are nearest to that of a text, by cosine. Raises what `embed`
        raises."""
        return embed.nearest(self, text, others, top, cut)

    @overload
    def generate(self, texts: str, **settings: Any) -> Generation: ...
    @overload
    def generate(self, texts: list[str], **settings: Any) -> list[Generation]: ...
    def generate(self, texts: str | list[str], **settings: Any) -> Generation | list[Generation]:
        """Go on with a text, or answer a source (Generation); or several ([Generation, ...]). `settings` are those of
        DecodingConfig: beam=4, or sample=True with temperature, top_k, top_p; max_tokens, number, seed. A permutation
        model writes the words of a text's blanks one after another, in the `order` that is asked for.

        Raises UsageError for a model that does not generate, for settings that do not go together, and for a text that
        the model cannot read.
        """
        if isinstance(texts, str):
            return self.generate([texts], **settings)[0]
        return generate.generate(self, texts, **settings)

    def stream(self, text: str, **settings: Any) -> Iterator[str]:
        """One generated text in pieces, as they come; whole, where they belong into the middle of the prompt. Raises
        what `generate` raises, and UsageError for a beam."""
        return generate.stream(self, text, **settings)

    def written(self, text: str, target: str | None = None, **settings: Any) -> Written:
        """What follows a text as tokens: those of `target`, or what the model itself writes with these settings of
        decoding. Raises what `generate` raises, and UsageError for a target that does not fit."""
        return generate.written(self, text, target, **settings)

    def score(self, text: str) -> Scored:
        """The surprisal of each token of a text, and its perplexity. A causal model is asked from left to right; one
        that fills blanks is asked each token from all the others (pseudo-perplexity).

        Raises UsageError for a model that cannot score, and for a text that it cannot read or knows no word of.
        """
        return score.score(self, text)

    def evaluate(
        self,
        split: Split = "validation",
        other_sources: bool = False,
        baselines: bool = True,
        rows: str | Path | None = None,
    ) -> dict[str, Any]:
        """Loss, perplexity, accuracy and top-5 accuracy on the fixed questions of one part of the run's data.

        Of a model that predicts the label of each row also what `judged` has, without the rows; `rows` names a file
        that gets those, one JSON object on each line.

        With `other_sources` also the loss of an encoder-decoder that is given the source of another question: as low as
        the loss itself where the decoder does not read its source. Raises UsageError for models without a source.
        """
        return evaluation.evaluate(self, split, other_sources, baselines, None if rows is None else Path(rows))

    def judged(self, split: Split = "validation", baselines: bool = True) -> Judgement:
        """Of a model that predicts the label of each row: its scores with what intervals need, every row with its
        prediction and probability, and with `baselines` the scores of the majority class and a bag of words, learned
        from the run's own training data.

        Raises UsageError for a model that predicts no label of a row.
        """
        return evaluation.judged(self, split, baselines)

    def reference_losses(self, split: Split = "validation", limit: int | None = None) -> dict[str, float]:
        """What counting comes to on the very questions of `evaluate`: uniform, unigram, bigram, trigram and five_gram
        (interpolated; see `baselines.counting`), in nats. Counted on the training texts, or on so many units of them.

        Raises UsageError for a mixture.
        """
        return evaluation.reference_losses(self, split, limit)

    def questions(self, split: Split) -> EvaluationSet:
        """The units of one part of the run's data, with their fixed corruption."""
        return evaluation.questions_of(self, split)

    def corpus(self, split: Split) -> Column:
        """One part of the run's data, as stored. Raises GlassformerError when the data are not where they were."""
        return evaluation.corpus_of(self, split)

    def cloze(self, questions: Iterable[Cloze]) -> list[Answered]:
        """Answer texts that have one [MASK] each and a known answer.

        Raises UsageError when an answer is no single token of the vocabulary.
        """
        return cloze.cloze(self, questions)

    def attention(self, text: str, kind: Kind = "self", target: str | None = None, only: Chosen = ALL) -> Attention:
        """The attention weights of every layer and head on a text, with or without blanks; or `only` some.

        `kind` "self" is the self-attention of the stack that reads the text. Of an encoder-decoder there are "decoder",
        the self-attention of the decoder on the `target`, and "cross", from each token of the target (the row of the
        state that writes it) to the source. Without a `target` it is what the model itself answers. Both come from one
        pass over all tokens.

        Raises UsageError when a text is longer than the model reads, for a kind that it has not, when its mechanism
        has no weights, and for a layer, head or row that is not there.
        """
        return attention.attention(self, text, kind, target, only)

    def attention_of(self, prompt: Prompt, only: Chosen = ALL) -> Attention:
        """The self-attention weights on a prompt, see `attention`."""
        return attention.attention_of(self, prompt, only)


def load(path: str | Path, which: str | None = None) -> Run:
    """A trained run. `which` is "best", "last" or "step-N"; None takes those that `training.weights` names, the
    best where there are such.

    Raises UsageError when the folder is no run.
    """
    return Run(RunDirectory.open(Path(path)), which)

"""Use a trained run: fill blanks, evaluate, look at attention. The run directory is all that is needed."""

import copy
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError

from glassformer.assemble import Split, corpus_for, model_for, objective_for, refuse_larger
from glassformer.baselines.counting import counting_losses
from glassformer.changes import Changes, listed
from glassformer.data.batch import Batch, collate
from glassformer.data.builtin import Cloze
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, Tokenizers
from glassformer.decoding import DecodingConfig, Prompts, check_decoding
from glassformer.decoding.any_order import fill_in
from glassformer.decoding.beam import beam_search
from glassformer.decoding.sampling import sample, stream
from glassformer.errors import GlassformerError, UsageError, nearest
from glassformer.model.kinds import Model
from glassformer.objectives import Blank, Objective, Prompt
from glassformer.randomness import Purpose, generator
from glassformer.reading import plain_text
from glassformer.recipe import Recipe, from_yaml, parse, reads_data, with_changes
from glassformer.record import attention_places, record
from glassformer.run import RunDirectory
from glassformer.training.checkpoints import load_into, load_weights
from glassformer.training.evaluation import FixedQuestions, OtherSources, evaluate, question_batch

BATCH = 64
Kind = Literal["self", "cross", "decoder"]
"""Kinds of attention: see `Run.attention`."""


class Filled(NamedTuple):
    """A text with blanks, and the candidates of each."""

    text: str
    blanks: list[Blank]

    def record(self) -> dict[str, Any]:
        """The shape of `fill --json`."""
        return {
            "text": self.text,
            "blanks": [
                {
                    "position": blank.position,
                    "candidates": [{"token": c.token, "probability": c.probability} for c in blank.candidates],
                }
                for blank in self.blanks
            ],
        }


class Output(NamedTuple):
    """One generated text."""

    text: str
    log_probability: float
    """Of all its tokens together, in nats."""
    finished: bool
    """Whether it came to its end; if not, there was no more room, or no more tokens were asked for."""


class Generation(NamedTuple):
    """A prompt and what was generated from it, the best first."""

    text: str
    outputs: list[Output]

    def record(self) -> dict[str, Any]:
        """The shape of `generate --json`."""
        return {"text": self.text, "outputs": [output._asdict() for output in self.outputs]}


class Scored(NamedTuple):
    """How much each token of a text surprises a model."""

    text: str
    tokens: list[str]
    surprisal: list[float | None]
    """-ln of the probability of each token, in nats; None for unknown words, of which nothing has been learned."""
    perplexity: float
    """exp of their mean. Of a model that sees both sides it is a pseudo-perplexity: the two cannot be compared."""
    kind: Literal["perplexity", "pseudo-perplexity"] = "perplexity"

    def record(self) -> dict[str, Any]:
        """The shape of `score --json`."""
        return self._asdict()


class Attention(NamedTuple):
    """The attention of one text, from the model's own queries and keys. layers x heads x query x key."""

    tokens: list[str]
    weights: Float[np.ndarray, "layers heads query key"]
    filled: Filled | None = None
    """The answers, where the text had blanks."""
    keys: list[str] | None = None
    """The tokens that are looked at, where they are not the same."""


class Chosen(NamedTuple):
    """Which attention weights are computed; without a word all of them."""

    layer: int | None = None
    head: int | None = None
    rows: Sequence[int] | None = None
    """Queries, by their place in the text."""
    most: int | None = None
    """More numbers than this are refused before they are computed."""

    def check(self, layers: int, heads: int, rows: int, keys: int) -> None:
        """Raises UsageError for what is not there, naming the range, and for too much."""
        for what, number, there in (("layer", self.layer, layers), ("head", self.head, heads)):
            if number is not None and not 0 <= number < there:
                raise UsageError(f"there is no {what} {number}", f"this model has {what}s 0 to {there - 1}")
        wrong = [row for row in self.rows or () if not 0 <= row < rows]
        if wrong:
            raise UsageError(f"there is no row {wrong[0]}", f"the text has rows 0 to {rows - 1}")
        size = keys * (rows if self.rows is None else len(self.rows))
        size *= (layers if self.layer is None else 1) * (heads if self.head is None else 1)
        if self.most is not None and size > self.most:
            raise UsageError(f"these are {size:,} weights", f"at most {self.most:,}: choose a layer, a head, or rows")


ALL = Chosen()


class Written(NamedTuple):
    """A prompt and the tokens that follow it, without the one that ends them."""

    prompt: Prompt
    ids: list[int]
    end: int | None
    """That one, which the model wrote, or which belongs behind a person's target; None where it could go on."""


class Answered(NamedTuple):
    """One cloze question and what the model made of it."""

    text: str
    answer: str
    predicted: str
    probability: float
    """What the model gave its own prediction."""
    loss: float
    """-ln of what it gave the right answer."""

    @property
    def right(self) -> bool:
        """Whether the first candidate is the answer."""
        return self.predicted == self.answer


def refuse_empty(text: str) -> None:
    """Raises UsageError for a text without a word."""
    if not text.strip():
        raise UsageError("the text is empty", "give a sentence")


class Run:
    """A trained model with its tokenizer and objective, loaded from a run directory."""

    def __init__(self, directory: RunDirectory, which: str | None = None) -> None:
        self.directory = directory
        self.path = directory.path
        self.which = which

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe that the run was made by. Raises GlassformerError when it is damaged."""
        file = self.directory.recipe_file
        try:
            return parse(from_yaml(plain_text(file, what="recipe"), str(file)), str(file))
        except (GlassformerError, RecursionError, ValueError) as error:
            why = " ".join(str(getattr(error, "what", error)).split())
            raise GlassformerError(f"the run's recipe is damaged: {why}", "put the file back as it was") from None

    def with_data(self, changes: Changes) -> "Run":
        """The same model with other data: `["data.test=new.txt"]`, or where the run's data lie now.

        Raises UsageError for a key that is not one of the data's, and where nobody reads them: see `with_changes`.
        """
        for change in listed(changes):
            if not change.key.startswith("data."):
                raise UsageError(
                    f"{str(change)!r} does not change the data; the rest of a run is settled",
                    "for example: data.test=new.txt",
                )
        other = copy.copy(self)
        other.recipe = with_changes(self.recipe.model_dump(mode="json"), changes)
        return other

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer; of pairs, that of the sources."""
        return self._tokenizers.source

    @cached_property
    def _tokenizers(self) -> Tokenizers:
        return self.directory.tokenizers()

    @cached_property
    def objective(self) -> Objective:
        """The run's objective, which knows how to ask the model."""
        return objective_for(self.recipe, self._tokenizers)

    @cached_property
    def model(self) -> Model:
        """The model with the weights of `which`, or those that `training.weights` names; evaluating, on the CPU."""
        newest = "last" if self.recipe.training.weights == "last" else None
        tensors, _ = load_weights(self.directory, self.which or newest)
        refuse_larger(self.recipe, self.objective, tensors, self.directory.recipe_file)
        model = model_for(self.recipe, self.objective)
        load_into(model, tensors)
        return model.eval()

    def metrics(self) -> list[dict[str, Any]]:
        """Every record that training wrote."""
        return self.directory.metrics()

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the vocabulary lacks: the model reads them as unknown."""
        unknown: list[str] = []
        for part in self.objective.texts_in(text):
            encoded = self.tokenizer.encode(part, allow_mask=True)
            spans = zip(encoded.ids, encoded.offsets, strict=True)
            unknown += [part[start:end].strip() for token, (start, end) in spans if token == self.tokenizer.unk_id]
        return unknown

    @overload
    def fill(self, texts: str, top: int = 5) -> Filled: ...
    @overload
    def fill(self, texts: list[str], top: int = 5) -> list[Filled]: ...
    def fill(self, texts: str | list[str], top: int = 5) -> Filled | list[Filled]:
        """The candidates for each [MASK] in a text (Filled), or in several ([Filled, ...]).

        Raises UsageError for a text without a blank, or longer than the model reads.
        """
        if top < 1:
            raise UsageError(f"top={top} asks for no candidate", "give 1 or more")
        if isinstance(texts, str):
            return self.fill([texts], top)[0]
        filled: list[Filled] = []
        for start in range(0, len(texts), BATCH):
            prompts = [self._blanks_of(text) for text in texts[start : start + BATCH]]
            filled += [Filled(p.text, blanks) for p, blanks in zip(prompts, self._answer(prompts, top), strict=True)]
        return filled

    def _blanks_of(self, text: str) -> Prompt:
        if not self.objective.fills:
            raise UsageError(
                "this model fills no blanks: it goes on with a text, or answers it",
                f'glassformer generate {self.path} "a text"',
            )
        prompt = self.objective.prompt_for("fill", text)
        if not any(len(asked.positions) for asked in prompt.example.asked.values()):
            raise UsageError(f"there is no blank in {text!r}", "write [MASK] where a word is asked for")
        return prompt

    def _collate(self, prompts: Sequence[Prompt]) -> Batch:
        return collate([[prompt.example] for prompt in prompts], self.tokenizer.pad_id)

    @torch.no_grad()
    def _answer(self, prompts: Sequence[Prompt], top: int) -> list[list[Blank]]:
        """The blanks of each prompt, all of one objective: one forward pass, whose flat rows of logits are dealt out to
        the prompts."""
        logits = self.model(self._collate(prompts))
        taken = dict.fromkeys(logits, 0)
        answers = []
        for prompt in prompts:
            own = {}
            for head, asked in prompt.example.asked.items():
                own[head] = logits[head][taken[head] : taken[head] + len(asked.positions)]
                taken[head] += len(asked.positions)
            answers.append(self.objective.of(prompt.example).answer(prompt.example, own, top))
        return answers

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
        config = decoding_config(settings)
        draw = torch.Generator().manual_seed(config.seed)  # one for all, so that no batch repeats another
        generations: list[Generation] = []
        for start in range(0, len(texts), BATCH):
            asked = [self.objective.prompt_for("generate", text) for text in texts[start : start + BATCH]]
            for objective, prompts in itertools.groupby(asked, lambda prompt: self.objective.of(prompt.example)):
                own = list(prompts)
                check_decoding(config, objective.any_order)
                if objective.any_order:
                    found = fill_in(self.model, objective, own, config, draw)
                elif config.beam > 1:
                    found = beam_search(self._generating, self._begun(objective, own), config)
                else:
                    found = sample(self._generating, self._begun(objective, own), config, draw)
                for prompt, answers in zip(own, found, strict=True):
                    said = ((objective.text_of(prompt, a.ids), a.log_probability, a.finished) for a in answers)
                    generations.append(Generation(prompt.text, [Output(*one) for one in said]))
        return generations

    @torch.no_grad()
    def score(self, text: str) -> Scored:
        """The surprisal of each token of a text, and its perplexity. A causal model is asked from left to right; one
        that fills blanks is asked each token from all the others (pseudo-perplexity).

        Raises UsageError for a model that cannot score, and for a text that it cannot read or knows no word of.
        """
        refuse_empty(text)
        examples, found = self.objective.scored(text), list[float]()
        for start in range(0, len(examples), BATCH):
            batch = collate([[example] for example in examples[start : start + BATCH]], self.tokenizer.pad_id)
            [(head, logits)] = self.model(batch).items()
            targets = batch.asked[head].targets[: batch.asked[head].number]
            found += (-logits[: len(targets)].float().log_softmax(-1).gather(1, targets[:, None])[:, 0]).tolist()
        if not found:
            raise UsageError(f"no word of {text!r} is known", "score a text in the language of the training texts")
        ids, nats = self.tokenizer.encode(text, allow_mask=True).ids, iter(found)
        surprisal = [None if id in self.tokenizer.special_ids else next(nats) for id in ids]
        perplexity = math.exp(min(sum(found) / len(found), 700.0))
        kind: Literal["perplexity", "pseudo-perplexity"] = "perplexity"
        if self.objective.of(examples[0]).fills:
            kind = "pseudo-perplexity"
        return Scored(text, [self.tokenizer.token(id) for id in ids], surprisal, perplexity, kind)

    def stream(self, text: str, **settings: Any) -> Iterator[str]:
        """One generated text in pieces, as they come; whole, where they belong into the middle of the prompt. Raises
        what `generate` raises, and UsageError for a beam."""
        config = decoding_config(settings)
        if config.beam > 1 or config.number > 1:
            raise UsageError("several texts are weighed at a time, and cannot be shown as they come", "without stream")
        prompt, ids, shown = self.objective.prompt_for("generate", text), list[int](), ""
        objective = self.objective.of(prompt.example)
        check_decoding(config, objective.any_order)
        if objective.any_order:
            [[answer]] = fill_in(self.model, objective, [prompt], config)
            yield objective.text_of(prompt, answer.ids)
            return
        for [token] in stream(self._generating, self._begun(objective, [prompt]), config):
            ids.append(token.id)
            said = objective.text_of(prompt, ids)
            if objective.appends and not said.endswith("\ufffd"):  # half of a character
                yield said[len(shown) :]
                shown = said
        if ids:
            yield objective.text_of(prompt, ids)[len(shown) :]

    @property
    def _generating(self) -> Model:
        self.model.need("decoding")
        return self.model

    def _begun(self, objective: Objective, asked: Sequence[Prompt]) -> Prompts:
        """What generation begins with. Raises UsageError for an objective that does not generate."""
        ends = [objective.ends(prompt) for prompt in asked]
        [(head, where)] = asked[0].example.asked.items()
        examples = [prompt.example for prompt in asked]
        return Prompts(examples, where.stream, head, ends, self.recipe.model.max_length, self.tokenizer.pad_id)

    def evaluate(self, split: Split = "validation", other_sources: bool = False) -> dict[str, Any]:
        """Loss, perplexity, accuracy and top-5 accuracy on the fixed questions of one part of the run's data.

        With `other_sources` also the loss of an encoder-decoder that is given the source of another question: as low as
        the loss itself where the decoder does not read its source. Raises UsageError for models without a source.
        """
        if other_sources and self.recipe.model.family != "encoder_decoder":
            raise UsageError(
                "this model reads no source: it has one stack", "leave out other_sources (--other-sources)"
            )
        questions = self.questions(split)
        found = {"split": split, **evaluate(self.model, questions).record()}
        if other_sources:
            other = OtherSources(questions.units, questions.objective, questions.config)
            found["loss_with_other_sources"] = evaluate(self.model, other).loss
        return found

    def reference_losses(self, split: Split = "validation", limit: int | None = None) -> dict[str, float]:
        """What counting comes to on the very questions of `evaluate`: uniform, unigram, bigram, trigram and five_gram
        (interpolated; see `baselines.counting`), in nats. Counted on the training texts, or on so many units of them.

        Raises UsageError for a mixture.
        """
        questions = self.questions(split)
        units, seed = questions.objective.units(self.corpus("train")), self.recipe.seed
        chosen = generator(seed, Purpose.COUNTS).permutation(len(units))[:limit]
        learned = (e for i in chosen for e in units.in_turn(int(i), generator(seed, Purpose.COUNT, int(i))))
        asked = (example for index in questions.chosen for example in questions.examples(int(index)))
        return counting_losses(learned, asked, questions.objective)

    def questions(self, split: Split) -> FixedQuestions:
        """The units of one part of the run's data, with their fixed corruption."""
        objective = self.objective.for_evaluation()
        batch = question_batch(self.recipe.batch, objective.row_length)
        return FixedQuestions(objective.units(self.corpus(split)), objective, batch)

    def corpus(self, split: Split) -> Corpus:
        """One part of the run's data, tokenised. Raises GlassformerError when the data are not where they were."""
        data = self.recipe.data
        own = {"train": data.train, "validation": data.validation, "test": data.test}[split]
        try:
            return corpus_for(self.recipe, self._tokenizers, split)
        except UsageError as error:
            if split == "test" and own is None:
                raise
            back = "put them back, or go to the folder you trained in"
            if not reads_data(self.recipe):
                raise GlassformerError(f"the data of this run cannot be read from here: {error.what}", back) from None
            key = "train" if own is None else split
            raise GlassformerError(
                f"the data of this run (data.{key}) cannot be read from here: {error.what}",
                f"{back}, or say where they are: data.{key}=PLACE",
            ) from None

    def cloze(self, questions: Iterable[Cloze]) -> list[Answered]:
        """Answer texts that have one [MASK] each and a known answer.

        Raises UsageError when an answer is no single token of the vocabulary.
        """
        answered: list[Answered] = []
        asked = list(questions)
        for start in range(0, len(asked), BATCH):
            answered += self._cloze_batch(asked[start : start + BATCH])
        return answered

    @torch.no_grad()
    def _cloze_batch(self, questions: Sequence[Cloze]) -> list[Answered]:
        prompts = [self._blanks_of(question.text) for question in questions]
        batch = self._collate(prompts)
        scores = self.model(batch)[next(head for head, asked in batch.asked.items() if asked.number)]
        if len(scores) != len(questions):
            raise UsageError("a cloze question has more than one [MASK]", "one blank for each answer")
        log_probabilities = scores.float().log_softmax(-1)
        answers = []
        for question, row in zip(questions, log_probabilities, strict=True):
            encoded = self.tokenizer.encode(question.answer).ids
            if len(encoded) != 1 or int(encoded[0]) == self.tokenizer.unk_id:
                raise UsageError(f"the answer {question.answer!r} is no single word of this run's vocabulary")
            best = int(row.argmax())
            right = int(encoded[0])
            answers.append(
                Answered(
                    question.text,
                    self.tokenizer.token(right),
                    self.tokenizer.token(best),
                    math.exp(float(row[best])),
                    -float(row[right]),
                )
            )
        return answers

    def attention(self, text: str, kind: Kind = "self", target: str | None = None, only: Chosen = ALL) -> Attention:
        """The attention weights of every layer and head on a text, with or without blanks; or `only` some.

        `kind` "self" is the self-attention of the stack that reads the text. Of an encoder-decoder there are "decoder",
        the self-attention of the decoder on the `target`, and "cross", from each token of the target (the row of the
        state that writes it) to the source. Without a `target` it is what the model itself answers. Both come from one
        pass over all tokens.

        Raises UsageError when a text is longer than the model reads, for a kind that it has not, when its mechanism
        has no weights, and for a layer, head or row that is not there.
        """
        prompt = self.objective.prompt(text)
        if kind == "self":
            if target is not None:
                raise UsageError("a target is read by the decoder", "add kind=cross or kind=decoder (--kind cross)")
            return self.attention_of(prompt, only)
        if len(self.recipe.model.stacks) < 2:
            raise UsageError(f"this model has no attention of the kind {kind}: it is one stack", "draw kind self")
        return self._attention_on_target(prompt, kind, target, only)

    @torch.no_grad()
    def attention_of(self, prompt: Prompt, only: Chosen = ALL) -> Attention:
        """The self-attention weights on a prompt, see `attention`."""
        stacks = self.recipe.model.stacks
        stream = prompt.example.streams[prompt.stream]
        order = None  # queries of a permutation stand behind the text: back to their places
        if stream.positions is not None:
            order = np.argsort(stream.positions, kind="stable").tolist()
        stack = prompt.stream if prompt.stream in stacks else stacks[0]
        weights, logits = self._weights(prompt, stack, "self", only, order)
        objective = self.objective.of(prompt.example)
        blanks = objective.answer(prompt.example, logits) if objective.fills else []
        filled = Filled(prompt.text, blanks) if blanks else None
        if order is None:
            return Attention(prompt.tokens, weights, filled)
        return Attention([prompt.tokens[row] for row in order], weights, filled, prompt.tokens[: stream.content])

    @torch.no_grad()
    def _attention_on_target(self, prompt: Prompt, kind: Kind, target: str | None, only: Chosen) -> Attention:
        """Teacher-forced: the decoder reads the target, whole."""
        objective = self.objective.of(prompt.example)
        written = self._written(objective, prompt, target, DecodingConfig())
        ids, whole = written.ids, objective.continued(prompt, written.ids)
        read = whole.example.streams["decoder"].ids
        weights, _ = self._weights(whole, "decoder", "cross" if kind == "cross" else "self", only)
        name = objective.target_tokenizer.token
        if kind == "decoder":
            return Attention([name(int(id)) for id in read], weights)
        last = "(what follows)" if written.end is None else name(written.end)
        return Attention([*map(name, ids), last], weights, keys=prompt.tokens)

    def written(self, text: str, target: str | None = None, **settings: Any) -> Written:
        """What follows a text as tokens: those of `target`, or what the model itself writes with these settings of
        decoding. Raises what `generate` raises, and UsageError for a target that does not fit."""
        prompt = self.objective.prompt_for("generate", text)
        objective = self.objective.of(prompt.example)
        if objective.any_order:
            raise UsageError("this model writes into the blanks of a text, not behind it", "ask it with `fill`")
        return self._written(objective, prompt, target, decoding_config(settings))

    def _written(self, objective: Objective, prompt: Prompt, target: str | None, config: DecodingConfig) -> Written:
        ends = objective.ends(prompt)
        room = self.recipe.model.max_length - len(prompt.example.streams["decoder"].ids)
        if target is None:
            search = beam_search if config.beam > 1 else sample
            [[answer, *_]] = search(self._generating, self._begun(objective, [prompt]), config)
            ids = [id for id in answer.ids if id not in ends][:room]
            return Written(prompt, ids, answer.ids[-1] if answer.finished else None)
        ids = objective.target_tokenizer.encode(target).ids.tolist()
        if len(ids) > room:
            raise UsageError(
                f"the target has {len(ids)} tokens, the decoder reads at most {room} of them",
                "shorten it, or train with a larger model.max_length",
            )
        return Written(prompt, ids, objective.target_tokenizer.sep_id)

    def _weights(
        self, prompt: Prompt, stack: str, which: str, only: Chosen, order: Sequence[int] | None = None
    ) -> tuple[Float[np.ndarray, "layers heads query key"], dict[str, torch.Tensor]]:
        """The weights of one stack's layers on a prompt, its rows in an order, and the logits."""
        self.model.need("attention_weights")
        pattern = re.compile(rf"{stack}\..*{which}_attention$")
        places = [place for place in attention_places(self.model) if pattern.match(place)]
        with record(self.model, *places) as tape:
            logits = self.model(self._collate([prompt]))
        seen = tape[places[0]]
        only.check(len(places), seen.q.shape[1], seen.q.shape[2], seen.k.shape[2])
        rows = only.rows
        if order is not None:
            rows = order if rows is None else [order[row] for row in rows]
        heads = None if only.head is None else [only.head]
        chosen = places if only.layer is None else [places[only.layer]]
        return torch.stack([tape[place].weights(heads, rows)[0] for place in chosen]).float().numpy(), logits


def decoding_config(settings: dict[str, Any]) -> DecodingConfig:
    """The settings of generation. Raises UsageError naming a wrong one."""
    try:
        config = DecodingConfig(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if name not in DecodingConfig.model_fields:
            raise UsageError(f"there is no setting {name!r}", nearest(name, DecodingConfig.model_fields)) from None
        raise UsageError(f"{name}={first['input']!r}: {first['msg'].lower()}") from None
    return config


def load(path: str | Path, which: str | None = None) -> Run:
    """A trained run. `which` is "best", "last" or "step-N"; None takes those that `training.weights` names, the
    best where there are such.

    Raises UsageError when the folder is no run.
    """
    return Run(RunDirectory.open(Path(path)), which)

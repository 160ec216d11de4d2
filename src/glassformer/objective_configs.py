"""What the objectives that come with the package let a recipe choose, and what a recipe must know of each.

It stands apart from their code, which needs torch: a recipe is read, checked and refused in a moment. An objective of
one's own is one file in objectives/, its configuration in it; that file is loaded when a recipe names it.
"""

import importlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from glassformer.config import Config
from glassformer.data.data_config import DataConfig
from glassformer.data.masking import MaskingConfig
from glassformer.data.roles import PAIR, TEXT, Role
from glassformer.errors import UsageError
from glassformer.plugins import check_plugin

PACKAGE = "glassformer.objectives"


class Needs(NamedTuple):
    """An objective's configuration, and what it needs of a model and of data."""

    config: type[Config]
    family: Literal["encoder", "decoder", "encoder_decoder"] = "encoder"
    segments: int = 0
    columns: tuple[Role, ...] = TEXT


def needs_of(name: str) -> Needs:
    """What the objective `name` needs. Raises UsageError naming the nearest one."""
    check_plugin(PACKAGE, name, "objective")
    if name in SHIPPED:
        return SHIPPED[name]
    kind = importlib.import_module(PACKAGE).find_objective(name)
    return Needs(kind.Config, kind.family, kind.segments, kind.columns)


def members_in(config: Config) -> "Sequence[Member]":
    """The objectives that a mixture's configuration names, each perhaps with data of its own; none of any other."""
    return config.members if isinstance(config, MixtureConfig) else ()


def _by_name(value: Any) -> Any:
    """An objective's section is typed by its `name`: each objective brings its own keys."""
    if isinstance(value, dict):
        return needs_of(str(value.get("name", "masked_lm"))).config.model_validate(value)
    return value


AnyObjective = Annotated[SerializeAsAny[Config], BeforeValidator(_by_name)]
"""The configuration of whichever objective it names."""


class Member(Config):
    """One objective of a mixture."""

    objective: AnyObjective
    weight: float = Field(1.0, gt=0, description="how many batches it has, beside the others")
    label: str | None = Field(None, description="what its numbers are called; none: the objective's name")
    data: DataConfig | None = Field(None, description="texts of its own; none: those of the recipe")

    @property
    def name(self) -> str:
        """Its label, or the name of its objective."""
        return self.label or str(self.objective.model_dump()["name"])


class MaskedLMConfig(MaskingConfig):
    """What is hidden, and how."""

    name: Literal["masked_lm"] = Field("masked_lm", description="the objective (a file in objectives)")
    evaluation_mask_rate: float = Field(
        0.15, gt=0, lt=1, description="mask_rate in evaluation, so that runs with different rates can be compared"
    )
    units: Literal["documents", "stream"] = Field(
        "documents",
        description="documents: each text by itself, [CLS] text [SEP], cut where too long; stream: all texts one "
        "after another, [SEP] between, cut into full rows",
    )
    row_length: int | None = Field(
        None,
        ge=8,
        description="tokens of a text or row in training and evaluation, where fewer than the model reads "
        "(max_length): attention takes time by their square",
    )


class NextSentenceConfig(MaskingConfig):
    """What is hidden, and which pairs are asked."""

    name: Literal["next_sentence"] = Field("next_sentence", description="the objective (a file in objectives)")
    evaluation_mask_rate: float = Field(
        0.15, gt=0, lt=1, description="mask_rate in evaluation, so that runs with different rates can be compared"
    )
    pairs: Literal["next", "order"] = Field(
        "next",
        description="next: does the second text follow the first, or is it from another document (BERT); order: two "
        "texts that follow each other, are they in order or swapped (ALBERT)",
    )
    next_sentence_weight: float = Field(
        1.0, ge=0, description="what the loss over the pairs is multiplied by, beside that over the words"
    )


class CausalLMConfig(Config):
    """What a row of text is."""

    name: Literal["causal_lm"] = Field("causal_lm", description="the objective (a file in objectives)")
    units: Literal["documents", "stream"] = Field(
        "documents",
        description="documents: each text by itself, [SEP] text [SEP], cut where too long, and none sees another, also "
        "where batch.layout=packed lays several into a row; stream: all texts one after another, [SEP] between, cut "
        "into full rows of max_length, in which a text sees what stood before it",
    )
    shifted: bool = Field(
        False,
        description="units=stream: while training, a row begins somewhere else in every pass, at most half a row away: "
        "no text is always cut at the same places",
    )
    evaluation_overlap: int = Field(
        0,
        ge=0,
        description="units=stream: so many tokens of a row of an evaluation are those at the end of the row before it, "
        "read again but not asked: at least so much stands before every asked token",
    )


class PermutationLMConfig(Config):
    """How much of an order is asked."""

    name: Literal["permutation_lm"] = Field("permutation_lm", description="the objective (a file in objectives)")
    asked_share: float = Field(
        1 / 6, gt=0, lt=1, description="share of the tokens that are asked: the last of the order"
    )
    units: Literal["documents", "stream"] = Field(
        "documents",
        description="documents: each text by itself, [CLS] text [SEP], cut where too long; stream: all texts one "
        "after another, [SEP] between, cut into full rows of max_length",
    )


class DenoisingConfig(Config):
    """What is damaged, and how much."""

    name: Literal["denoising"] = Field("denoising", description="the objective (a file in objectives)")
    infill_rate: float = Field(0.3, ge=0, lt=1, description="share of the tokens in spans that become one [MASK] each")
    span_length: float = Field(
        3.0, ge=0.5, description="mean length of these spans (Poisson; an empty one adds a [MASK])"
    )
    mask_rate: float = Field(0.0, ge=0, lt=1, description="share of the tokens that become [MASK] one by one")
    delete_rate: float = Field(0.0, ge=0, lt=1, description="share of the tokens that are left out without a trace")
    shuffle_words: float = Field(0.0, ge=0, le=1, description="how often all words of a text are put in another order")
    permute_sentences: float = Field(
        0.0, ge=0, le=1, description="how often the sentences of a text are put in another order"
    )
    rotate: float = Field(0.0, ge=0, le=1, description="how often a text is turned to begin at another token")
    units: Literal["documents", "stream"] = Field(
        "documents",
        description="documents: each text by itself, cut where too long; stream: all texts one after another, [SEP] "
        "between, cut into full rows",
    )


class SpanCorruptionConfig(Config):
    """How much is taken out, and in which pieces."""

    name: Literal["span_corruption"] = Field("span_corruption", description="the objective (a file in objectives)")
    corruption_rate: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are taken out")
    span_length: float = Field(3.0, ge=1, description="mean length of the spans")
    units: Literal["documents", "stream"] = Field(
        "documents",
        description="documents: each text by itself, cut where too long; stream: all texts one after another, [SEP] "
        "between, cut into full rows",
    )


class Seq2SeqConfig(Config):
    """How targets are learned."""

    name: Literal["seq2seq"] = Field("seq2seq", description="the objective (a file in objectives)")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the probability that training spreads over all tokens alike"
    )
    prefix: str = Field("", description="put before every source, so that a model of several tasks can tell them apart")
    too_long: Literal["refuse", "cut"] = Field(
        "refuse", description="pairs of which a side is longer than the model reads: an error, or cut at the end"
    )


class ClassificationConfig(Config):
    """How a text is read."""

    name: Literal["classification"] = Field("classification", description="the objective (a file in objectives)")
    read: Literal["mean", "first"] = Field(
        "mean", description="what the head reads: the mean over all tokens, or the first one, [CLS], as BERT does"
    )
    too_long: Literal["refuse", "cut"] = Field(
        "refuse", description="texts longer than the model reads: an error, or cut at the end"
    )
    class_weights: Literal["none", "balanced"] | tuple[str, ...] = Field(
        "none",
        description="what the loss of a text is multiplied by, by its label: balanced, so that all labels count alike "
        "though some be rare; or a list such as [good=1, bad=2.5], other labels 1. In evaluation all texts count alike",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the probability that training spreads over all labels alike"
    )


class SentencePairConfig(Config):
    """How two texts are read together."""

    name: Literal["sentence_pair"] = Field("sentence_pair", description="the objective (a file in objectives)")
    read: Literal["first", "mean"] = Field(
        "first", description="what the head reads: the first token, [CLS], as BERT does, or the mean over all tokens"
    )
    too_long: Literal["refuse", "cut"] = Field(
        "refuse", description="pairs longer than the model reads: an error, or cut at the end, the longer text first"
    )


class SimilarityConfig(Config):
    """How alike two texts are, each read by itself."""

    name: Literal["similarity"] = Field("similarity", description="the objective (a file in objectives)")
    loss: Literal["squared", "contrastive"] = Field(
        "squared",
        description="squared: the cosine of both vectors is held against the number / scale; contrastive: the second "
        "text of a row should be nearer to the first than all other texts of the batch",
    )
    scale: float = Field(
        1.0, gt=0, description="loss=squared: the number of two texts that say the same; a cosine of 1"
    )
    positive_from: float = Field(
        1.0,
        description="loss=contrastive: rows with at least this number belong together; of all others each text only "
        "stands by as one that does not",
    )
    vector_size: int = Field(64, ge=1, description="numbers of the vector of a text")
    too_long: Literal["refuse", "cut"] = Field(
        "refuse", description="texts longer than half of what the model reads: an error, or cut at the end"
    )


class TaggingConfig(Config):
    """How a word is read."""

    name: Literal["tagging"] = Field("tagging", description="the objective (a file in objectives)")
    read: Literal["mean", "first"] = Field(
        "mean",
        description="what the head reads of a word: the mean of its tokens, which small models learn more from, or its "
        "first token, as BERT does",
    )


class SpanExtractionConfig(Config):
    """How a long text is read, and how long an answer may be."""

    name: Literal["span_extraction"] = Field("span_extraction", description="the objective (a file in objectives)")
    stride: int = Field(
        64,
        ge=1,
        description="a text that is longer than the model reads is read in windows, of which each begins so many "
        "tokens behind the one before; at most half of what a window holds, so that they overlap",
    )
    max_answer_tokens: int = Field(30, ge=1, description="tokens of an answer that is given, at most")


class ImageClassificationConfig(Config):
    """How a picture is cut and read."""

    name: Literal["image_classification"] = Field(
        "image_classification", description="the objective (a file in objectives)"
    )
    patch: int = Field(7, ge=1, description="height and width of a patch in pixels; must divide those of the picture")
    read: Literal["mean", "first"] = Field(
        "first", description="what the head reads: a [CLS] before the patches, or the mean over all patches"
    )


class MixtureConfig(Config):
    """Which objectives, and how much of each."""

    name: Literal["mixture"] = Field("mixture", description="the objective (a file in objectives)")
    members: tuple[Member, ...] = Field(
        default_factory=lambda: tuple(
            Member.model_validate({"objective": {"name": name}}) for name in ("masked_lm", "causal_lm")
        ),
        min_length=2,
        description="a list of {objective: {name: ...}, weight: 1, label: NAME, data: {train: ...}}",
    )

    @field_validator("members")
    @classmethod
    def _no_mixture(cls, members: tuple[Member, ...]) -> tuple[Member, ...]:
        if any(isinstance(member.objective, cls) for member in members):
            raise UsageError("a mixture cannot be a member of a mixture", "name its members beside the others")
        return members


SHIPPED = {
    "masked_lm": Needs(MaskedLMConfig),
    "next_sentence": Needs(NextSentenceConfig, segments=2),
    "causal_lm": Needs(CausalLMConfig, "decoder"),
    "permutation_lm": Needs(PermutationLMConfig),
    "denoising": Needs(DenoisingConfig, "encoder_decoder"),
    "span_corruption": Needs(SpanCorruptionConfig, "encoder_decoder"),
    "seq2seq": Needs(Seq2SeqConfig, "encoder_decoder", columns=PAIR),
    "classification": Needs(ClassificationConfig, columns=("text", "label")),
    "sentence_pair": Needs(SentencePairConfig, segments=2, columns=("text", "second", "label")),
    "similarity": Needs(SimilarityConfig, columns=("text", "second", "number")),
    "tagging": Needs(TaggingConfig, columns=("text", "tags")),
    "span_extraction": Needs(SpanExtractionConfig, segments=2, columns=("text", "second", "spans")),
    "image_classification": Needs(ImageClassificationConfig, columns=("array", "label")),
    "mixture": Needs(MixtureConfig),
}
"""Of those with a configuration above; a test holds this against the classes themselves."""

"""A mixture: several objectives teach one model, each batch made by one of them, as often as its weight says
(GPT beside BERT on one body; or text-to-text tasks told apart by a prefix, as T5; Raffel et al. 2020, section 2.4).

    objective:
      name: mixture
      members:
        - {weight: 1, objective: {name: masked_lm}}
        - {weight: 2, objective: {name: causal_lm}}

Each member makes its own examples and scores its own logits. Heads of the same name are one head. A person who asks
the model asks the first member that can do what is wanted; of members with a prefix, the one whose prefix begins the
text.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64
from pydantic import Field, field_validator
from torch import Tensor

from glassformer.config import Config
from glassformer.data.batch import Batch, Example, HeadSpec
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import UsageError
from glassformer.objectives import Blank, Loss, Member, Objective, Prompt, Terms, Units, find_objective


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


class Mixture(Objective[MixtureConfig]):
    """Several objectives on one model; see the module's example."""

    Config = MixtureConfig

    def __init__(
        self,
        config: MixtureConfig,
        tokenizer: Tokenizer,
        max_length: int,
        target_tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__(config, tokenizer, max_length, target_tokenizer)
        self.names = [member.name for member in config.members]
        for name in self.names:
            if self.names.count(name) > 1:
                raise UsageError(f"two members of the mixture are called {name}", "give each a label: of its own")
        weights = [member.weight for member in config.members]
        self.proportions = tuple(weight / sum(weights) for weight in weights)
        self.members: list[Objective] = [
            find_objective(str(member.objective.model_dump()["name"]))(
                member.objective, tokenizer, max_length, target_tokenizer
            )
            for member in config.members
        ]
        self.heads()  # refuses heads that do not fit together

    @classmethod
    def members_of(cls, config: MixtureConfig) -> Sequence[Member]:
        """The members."""
        return config.members

    @property
    def row_length(self) -> int:
        """The longest of the members'."""
        return max(member.row_length for member in self.members)

    @property
    def opening(self) -> str:
        """The prefix of the first member that has one."""
        return next((prefix for member in self.members if (prefix := member.prefix_of(member.config))), "")

    def for_evaluation(self) -> "Mixture":
        """Every member as it is for evaluation."""
        other = copy.copy(self)
        other.members = [member.for_evaluation() for member in self.members]
        return other

    def units(self, corpus: Corpus) -> Units:
        """Those of all members, one member after another."""
        own = zip(self.members, corpus.members, strict=True)
        return MixedUnits([member.units(texts) for member, texts in own], self.proportions)

    def heads(self) -> list[HeadSpec]:
        """Those of all members; of several by one name, one. Raises UsageError where they differ."""
        found: dict[str, HeadSpec] = {}
        for number, head in self._heads():
            if found.setdefault(head.name, head) != head:
                raise UsageError(
                    f"{self.names[number]} wants another head {head.name} than the members before it",
                    "train them apart",
                )
        return list(found.values())

    # ------------------------------------------------------------------------------------------------- training

    def _named(self, number: int, head: str) -> str:
        """What the numbers of a member's head are called."""
        name = self.names[number]
        return name if len(self.members[number].heads()) == 1 else f"{name}.{head}"

    def _heads(self) -> Iterator[tuple[int, HeadSpec]]:
        """Every head of every member, with the member's number."""
        return ((number, head) for number, member in enumerate(self.members) for head in member.heads())

    def weights(self) -> dict[str, float]:
        """By member and head."""
        return {self._named(number, head.name): head.weight for number, head in self._heads()}

    def shares(self) -> dict[str, float]:
        """Each member's share, at all of its heads."""
        return {self._named(number, head.name): self.proportions[number] for number, head in self._heads()}

    def counts(self, batch: Batch) -> dict[str, int]:
        """Those of the member that made the batch."""
        return {self._named(batch.member, head): asked.number for head, asked in batch.asked.items()}

    def loss(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Loss]:
        """That of the member that made the batch."""
        found = self.members[batch.member].loss(logits, batch)
        return {self._named(batch.member, head): loss for head, loss in found.items()}

    def scores(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Loss]:
        """Those of the member that made the batch."""
        found = self.members[batch.member].scores(logits, batch)
        renamed: dict[str, Loss] = {}
        for key, value in found.items():
            head, _, what = key.rpartition("/")
            renamed[f"{self._named(batch.member, head)}/{what}"] = value
        return renamed

    def terms(self, logits: dict[str, Float[Tensor, "_ _"]], batch: Batch) -> dict[str, Terms]:
        """Those of the member that made the batch."""
        found = self.members[batch.member].terms(logits, batch)
        return {self._named(batch.member, head): terms for head, terms in found.items()}

    def words_of(self, example: Example) -> tuple[int, int]:
        """As the member has it that made the example."""
        return self.of(example).words_of(example)

    def asked_share(self, units: Units, seed: int, limit: int = 256) -> float:
        """Of the member that asks most."""
        assert isinstance(units, MixedUnits)
        own = zip(self.members, units.parts, strict=True)
        return max(member.asked_share(part, seed, limit) for member, part in own)

    # ------------------------------------------------------------------------------------------------ answering

    @property
    def generates(self) -> bool:
        """Whether a member does."""
        return any(member.generates for member in self.members)

    @property
    def fills(self) -> bool:
        """Whether a member does."""
        return any(member.fills for member in self.members)

    def of(self, made: Example | Batch) -> Objective:
        """The member that made it."""
        return self.members[made.member]

    def prompt_for(self, what: Literal["fill", "generate", "read"], text: str) -> Prompt:
        """The text as a prompt of the first member that can do what is wanted: fill blanks, generate, or read the text
        (whichever of the two there is something for). Raises UsageError where none can, or where members with prefixes
        are meant and none is named."""
        if what == "read":
            blanks = self.tokenizer.mask_id in self.tokenizer.encode(text, allow_mask=True).ids
            what = "fill" if self.fills and (blanks or not self.generates) else "generate"
        able = [n for n, m in enumerate(self.members) if (m.fills if what == "fill" else m.generates or m.any_order)]
        if not able:
            names = ", ".join(self.names)
            raise UsageError(f"no member of this mixture can {what}: {names}", "ask for what its members do")
        number, rest = self._addressed(able, text)
        try:
            prompt = self.members[number].prompt(rest)
        except UsageError as error:
            prefixes = [
                prefix for n in able if n != number and (prefix := self.members[n].prefix_of(self.members[n].config))
            ]
            if rest != text or not prefixes:
                raise
            meant = f"or, if another member is meant than {self.names[number]}, begin it with "
            raise UsageError(error.what, f"{error.mend}; {meant}{' or '.join(map(repr, prefixes))}") from None
        return prompt._replace(text=text, example=prompt.example._replace(member=number))

    def _addressed(self, able: list[int], text: str) -> tuple[int, str]:
        """Whom a text is for, and the text without the prefix that says so."""
        prefixes = {n: self.members[n].prefix_of(self.members[n].config) for n in able}
        for number, prefix in prefixes.items():
            if prefix and text.startswith(prefix):
                return number, text.removeprefix(prefix)
        plain = [number for number, prefix in prefixes.items() if not prefix]
        if not plain:
            raise UsageError(
                f"{text!r} does not say which task is meant",
                "begin it with " + " or ".join(repr(prefix) for prefix in prefixes.values()),
            )
        return plain[0], text

    def texts_in(self, text: str) -> list[str]:
        """As the first member has it that finds several."""
        found = (member.texts_in(text) for member in self.members)
        return next((texts for texts in found if len(texts) > 1), [text])

    def prompt(self, text: str) -> Prompt:
        """The text as whichever member can read it."""
        return self.prompt_for("read", text)

    def scored(self, text: str) -> list[Example]:
        """The examples of the first member that scores texts. Raises UsageError where none does."""
        for number, member in enumerate(self.members):
            if type(member).scored is not Objective.scored:
                return [example._replace(member=number) for example in member.scored(text)]
        return self.members[0].scored(text)

    def answer(self, example: Example, logits: dict[str, Float[Tensor, "_ _"]], top: int = 5) -> list[Blank]:
        """The answer of the member that made the example."""
        return self.of(example).answer(example, logits, top)


class MixedUnits(Units):
    """The units of all members, numbered through."""

    members: Int64[np.ndarray, "units"]

    def __init__(self, parts: Sequence[Units], shares: tuple[float, ...]) -> None:
        self.parts = parts
        self.shares = shares
        self.lengths = np.concatenate([part.lengths for part in parts])
        self.members = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self.starts = np.cumsum([0, *(len(part) for part in parts)])

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Unit `index` of the member that it belongs to."""
        member = int(self.members[index])
        made = self.parts[member].example(index - int(self.starts[member]), rng)
        return made._replace(member=member)

    def in_turn(self, index: int, rng: np.random.Generator) -> list[Example]:
        """As the member has it that the unit belongs to."""
        member = int(self.members[index])
        made = self.parts[member].in_turn(index - int(self.starts[member]), rng)
        return [example._replace(member=member) for example in made]

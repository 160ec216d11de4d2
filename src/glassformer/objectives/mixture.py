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
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int64

from glassformer.answers import FillsBlanks, FillsInAnyOrder, Generates, PredictsLabels
from glassformer.data.batch import Example, OutputSpec
from glassformer.data.corpus import Corpus
from glassformer.errors import UsageError
from glassformer.objective_configs import MixtureConfig
from glassformer.objectives import Dataset, Objective, Prompt, find_objective


class Mixture(Objective[MixtureConfig]):
    """Several objectives on one model; see the module's example."""

    Config = MixtureConfig
    direction = "as its members"
    question = "what its members ask, batch by batch"
    good_for = "one model for several tasks"

    def check(self) -> None:
        """Makes the members. Raises UsageError where two have one name, or heads that do not fit together."""
        self.names = [member.name for member in self.config.members]
        for name in self.names:
            if self.names.count(name) > 1:
                raise UsageError(f"two members of the mixture are called {name}", "give each a label: of its own")
        weights = [member.weight for member in self.config.members]
        self.proportions = [weight / sum(weights) for weight in weights]
        self.members = [
            find_objective(str(member.objective.model_dump()["name"]))(
                member.objective, self.tokenizer, self.max_length, self.target_tokenizer, self.labels, self.arrays
            )
            for member in self.config.members
        ]
        self.outputs()

    def settled(self, data: Corpus) -> MixtureConfig:
        """Each member by its own data."""
        own = zip(self.config.members, self.members, data.members, strict=True)
        settled = [member.model_copy(update={"objective": made.settled(texts)}) for member, made, texts in own]
        return self.config.model_copy(update={"members": tuple(settled)})

    @property
    def row_length(self) -> int:
        """The longest of the members'."""
        return max(member.row_length for member in self.members)

    def for_evaluation(self) -> "Mixture":
        """Every member as it is for evaluation."""
        other = copy.copy(self)
        other.members = [member.for_evaluation() for member in self.members]
        return other

    def dataset(self, corpus: Corpus) -> Dataset:
        """Those of all members, one member after another."""
        own = zip(self.members, corpus.members, strict=True)
        return MixedDataset([member.dataset(texts) for member, texts in own], tuple(self.proportions))

    def outputs(self) -> list[OutputSpec]:
        """Those of all members; of several by one name, one. Raises UsageError where they differ."""
        found: dict[str, OutputSpec] = {}
        heads = ((number, head) for number, member in enumerate(self.members) for head in member.outputs())
        for number, head in heads:
            if found.setdefault(head.name, head) != head:
                raise UsageError(
                    f"{self.names[number]} wants another head {head.name} than the members before it",
                    "train them apart",
                )
        return list(found.values())

    def prompt_for(self, what: Literal["fill", "generate", "label", "read"], text: str) -> Prompt:
        """The text as a prompt of the first member that can do what is wanted: fill blanks, generate, say a label, or
        read the text (fill or generate, whichever of them there is something for). Raises UsageError where none can, or
        where members with prefixes are meant and none is named."""
        if what == "read":
            blanks = self.tokenizer.mask_id in self.tokenizer.encode(text, allow_mask=True).ids
            what = "fill" if self.can(FillsBlanks) and (blanks or not self.can(Generates)) else "generate"
        wanted = {"fill": (FillsBlanks,), "label": (PredictsLabels,)}.get(what, (Generates, FillsInAnyOrder))
        able = [number for number, member in enumerate(self.members) if isinstance(member, wanted)]
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

    def prompt(self, text: str) -> Prompt:
        """The text as whichever member can read it."""
        return self.prompt_for("read", text)


class MixedDataset(Dataset):
    """The units of all members, numbered through."""

    members: Int64[np.ndarray, "units"]

    def __init__(self, parts: Sequence[Dataset], shares: tuple[float, ...]) -> None:
        self._parts = parts
        self.shares = shares
        self.lengths = np.concatenate([part.lengths for part in parts])
        self.members = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self.starts = np.cumsum([0, *(len(part) for part in parts)])

    @property
    def parts(self) -> Sequence[Dataset]:
        """Those of each member."""
        return self._parts

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """Unit `index` of the member that it belongs to."""
        member = int(self.members[index])
        made = self._parts[member].example(index - int(self.starts[member]), rng)
        return made._replace(member=member)

    def in_turn(self, index: int, rng: np.random.Generator) -> list[Example]:
        """As the member has it that the unit belongs to."""
        member = int(self.members[index])
        made = self._parts[member].in_turn(index - int(self.starts[member]), rng)
        return [example._replace(member=member) for example in made]

"""Which texts are held out to measure on: a draw that depends on nothing but the texts, the share and the seed."""

import hashlib
import re
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, UInt8, UInt64

from glassformer.errors import UsageError
from glassformer.randomness import Purpose, generator

T = TypeVar("T", bound=Hashable)


def split(
    documents: list[T], share: float, seed: int, key: Callable[[T], Hashable] = lambda document: document
) -> tuple[list[T], list[T]]:
    """(train, validation): a random share of the documents (or pairs) held out, at least one on each side, both in the
    order of the text. Documents with an equal `key` stay on one side: a held-out text that was also trained on would be
    no test. The same for equal arguments. Raises UsageError for fewer than two different documents."""
    numbers: dict[Hashable, int] = {}
    keys = [numbers.setdefault(key(document), len(numbers)) for document in documents]
    apart = held_out(np.array(keys, dtype=np.uint64), share, seed)
    train = [document for document, is_held_out in zip(documents, apart, strict=True) if not is_held_out]
    return train, [document for document, is_held_out in zip(documents, apart, strict=True) if is_held_out]


def held_out(keys: UInt64[np.ndarray, "n"], share: float, seed: int) -> Bool[np.ndarray, "n"]:
    """Which of n documents are held out, as `split` does it. All that it must know of a document is a number that is
    equal for equal ones, such as `key_of` gives: a text larger than memory can be split. Raises UsageError."""
    if not 0 < share < 1:
        raise UsageError(f"the share of documents to hold out is {share}", "give a number between 0 and 1")
    different, first, which, copies = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    if len(different) < 2:
        raise UsageError(
            f"a text too short: {len(different)} document, and at least 2 different ones are needed to hold one out",
            "give more text, a separate validation source, or data.document=line",
        )
    in_order = np.argsort(first)  # as they come in the text
    drawn = in_order[generator(seed, Purpose.SPLIT).permutation(len(different))[:-1]]
    enough = int(np.searchsorted(np.cumsum(copies[drawn]), round(share * len(keys))))
    apart = np.zeros(len(different), dtype=bool)
    apart[drawn[: enough + 1]] = True
    return apart[which]


def nested_draw(labels: Sequence[str], number: int, seed: int) -> frozenset[int]:
    """The places of `number` rows, drawn so that labels have the shares that they have in all rows, as far as whole
    rows can, and each at least one row where there are enough. A smaller number draws some of the same rows: all rows
    are laid in one order, of which these are the first. Raises UsageError where there are fewer rows."""
    if number > len(labels):
        raise UsageError(
            f"data.train_rows={number}, and there are {len(labels)} training rows", "ask for fewer, or leave it out"
        )
    by_label: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        by_label.setdefault(label, []).append(place)
    ranked: list[tuple[float, int, int]] = []
    for which, label in enumerate(sorted(by_label)):
        places = generator(seed, Purpose.TRAIN_ROWS, which).permutation(by_label[label])
        for n, place in enumerate(places.tolist()):
            # Row n of a label stands where that share of its rows has been taken; the first of each label before all.
            ranked.append((-1.0 if n == 0 else (n + 0.5) / len(places), which, place))
    return frozenset(place for *_, place in sorted(ranked)[:number])


def key_of(value: str | UInt8[np.ndarray, "..."]) -> int:
    """64 bits of a text or picture, equal for equal ones, and for others only by a chance that can be left out of
    account."""
    content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value.tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def split_end(text: str, share: float) -> tuple[str, str]:
    """(train, validation): of a single text its end is held out, about that share of its characters. It is cut where a
    line begins, else a word, if one begins near by; nothing is lost. Raises UsageError for a text of one character."""
    wanted = round(len(text) * (1 - share))
    near = max(1, round(len(text) * min(share, 1 - share) / 4))
    first, last = max(1, wanted - near), min(len(text) - 1, wanted + near)
    for space in (r"\n(?=\S)", r"\s(?=\S)"):
        borders = [first + found.end() for found in re.finditer(space, text[first : last + 1])]
        if borders:
            border = min(borders, key=lambda place: abs(place - wanted))
            break
    else:
        border = min(max(wanted, 1), len(text) - 1)
    train, validation = text[:border], text[border:]
    if not train.strip() or not validation.strip():
        raise UsageError(
            f"a text too short: {text[:40]!r} is all, and its end cannot be held out",
            "give more text, or a separate validation source",
        )
    return train, validation

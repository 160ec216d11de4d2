"""How numbers and tokens are said to people, in terminals and in pictures alike."""

import re

NATS = "0.69 nats, or 1 bit, halve a probability"
"""What a difference in nats means; written where nats stand."""


def percent(share: float) -> str:
    """`0.973` as `97.3%`, `0.0004` as `<0.1%`: never a rounded-off 0% or 100% that is not one."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share:.1%}"


def share_within(share: float, interval: list[float] | tuple[float, float] | None) -> str:
    """A share and the interval that it lies in: `63.2% (58.1 to 68.0)`."""
    return (
        percent(share) if interval is None else f"{percent(share)} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
    )


def loss_within(loss: float, interval: list[float] | tuple[float, float] | None) -> str:
    """A loss and the interval that it lies in: `4.213 (4.012 to 4.414)`."""
    return f"{loss:.3f}" if interval is None else f"{loss:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


_BETWEEN = re.compile(r"(?<=\w)▁+(?=\w)")
_AT_AN_END = re.compile(r"▁+(?=[^\s▁])|(?<=[^\s▁])▁+|(?<![\w#])##(?=\w)|(?<=\w)</w>")


def without_marks(text: str) -> str:
    """Tokens as words: without the marks by which a vocabulary says that a piece begins or goes on with a word. A mark
    that stands alone is a token of its own, and stays. Programs get the tokens as they are.

    >>> without_marks("▁red"), without_marks("photo ##sphere"), without_marks("M a r s ▁ i s"), without_marks("of▁the")
    ('red', 'photo sphere', 'M a r s ▁ i s', 'of the')
    """
    return _AT_AN_END.sub("", _BETWEEN.sub(" ", text))

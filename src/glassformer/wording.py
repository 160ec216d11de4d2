"""How numbers are said to people, in terminals and in pictures alike."""

NATS = "0.69 nats, or 1 bit, are a factor of 2 in probability"
"""What a difference in nats means; written where nats stand."""


def percent(share: float) -> str:
    """`0.973` as `97.3%`, `0.0004` as `<0.1%`: never a rounded-off 0% or 100% that is not one."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share:.1%}"

"""The signs by which byte-level vocabularies write bytes."""

N_BYTES = 256


def byte_characters() -> list[str]:
    """The printable character that stands for each byte (Radford et al. 2019, GPT-2's `bytes_to_unicode`):
    itself where it is printable, else one from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(N_BYTES) if b not in printable]
    return [chr(b) if b in printable else chr(N_BYTES + others.index(b)) for b in range(N_BYTES)]


BYTES = {character: byte for byte, character in enumerate(byte_characters())}


def show_bytes(raw: str) -> str:
    """A token of a byte-level vocabulary as text; bytes that are no whole character as <0xE2>."""
    if not all(c in BYTES for c in raw):  # a token that somebody added to the vocabulary
        return raw
    text = bytes(BYTES[c] for c in raw).decode("utf-8", errors="surrogateescape")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)

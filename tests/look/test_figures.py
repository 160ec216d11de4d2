"""Files that do not change by chance, and text that shows what is there."""

import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hostile import HOSTILE

from glassformer.errors import GlassformerError, UsageError
from glassformer.formatting import percent
from glassformer.look.pictures.figures import (
    FORMATS,
    GLASS,
    fitted,
    has_glyph,
    new_figure,
    oklab_to_srgb,
    rendered,
    right_to_left,
    save,
    styled,
    text_width,
    visible,
)


@styled
def small_figure(words: str = "a picture"):
    figure = new_figure(2.0, 1.0)
    axes = figure.add_axes((0.2, 0.2, 0.7, 0.7))
    axes.imshow(np.arange(6.0).reshape(2, 3), aspect="auto")
    axes.text(0, 0, words, clip_on=True, parse_math=False)
    return figure


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_input_gives_equal_bytes_in_another_process_too(suffix: str, tmp_path: Path) -> None:
    here = rendered(small_figure(), suffix)
    assert here == rendered(small_figure(), suffix)
    assert here != rendered(small_figure("another"), suffix)
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from test_figures import rendered, small_figure
sys.stdout.buffer.write(rendered(small_figure(), {suffix!r}))
"""
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=120)
    assert there.stdout == here


def test_saving_twice_or_beside_other_settings_changes_nothing(tmp_path: Path) -> None:
    figure = small_figure()
    first = save(figure, tmp_path / "new" / "folder" / "a.PNG").read_bytes()
    with mpl.rc_context({"font.size": 30.0, "svg.fonttype": "none", "savefig.bbox": "tight", "text.color": "red"}):
        assert save(figure, tmp_path / "b.png").read_bytes() == first
        assert rendered(small_figure(), ".svg") == rendered(figure, ".svg")
        assert mpl.rcParams["font.size"] == 30.0
    assert first.startswith(b"\x89PNG")


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_suffix_chooses_the_format(suffix: str, start: bytes, tmp_path: Path) -> None:
    assert save(small_figure(), tmp_path / f"a{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.exe"])
def test_another_suffix_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        save(small_figure(), tmp_path / "folder" / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GlassformerError, match="cannot write the picture"):
        save(small_figure(), tmp_path / "file" / "a.png")


def test_svg_has_no_text_of_a_stranger_as_markup() -> None:
    document = rendered(small_figure("</svg><script>alert(1)</script>&'\""), ".svg")
    tags = {element.tag.split("}")[1] for element in ElementTree.fromstring(document).iter()}
    assert "script" not in tags and "text" not in tags


# ------------------------------------------------------------------------------------------------ safe text


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("planet", "planet"),
        ("##ing", "ing"),
        ("$x^2$", "$x^2$"),
        ("<script>", "<script>"),
        ("", "<empty>"),
        (" ", "␣"),
        ("  ", "␣␣"),
        (" the", "␣the"),
        ("New York", "New York"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x00", "<U+0000>"),
        ("\x7f", "<U+007F>"),
        ("\u202eevil", "<U+202E>evil"),
        ("a\u200bb", "a<U+200B>b"),
        ("\u00a0", "<U+00A0>"),
        ("\ud800", "<U+D800>"),
        ("\U000e0041", "<U+E0041>"),
        ("مرحبا", "مرحبا"),
        ("\u0301", "◌\u0301"),
        ("e\u0301", "e\u0301"),
        ("e" + "\u0301" * 5, "e\u0301\u0301\u0301<U+0301><U+0301>"),
        ("a" * 200, "a" * 23 + "…"),
        ("a" * 24, "a" * 24),
        ("a" * 25, "a" * 23 + "…"),
        ("\x00" * 200, "<U+0000><U+0000>…"),
    ],
)
def test_visible(token: str, shown: str) -> None:
    assert visible(token) == shown


def test_a_character_without_a_glyph_is_shown_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_glyph("\U0001fae8")  # younger than every font listed
    assert visible("a\U0001fae8") == "a<U+1FAE8>"


def test_every_hostile_token_is_drawn_without_a_warning() -> None:
    for token in HOSTILE:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert 0 < text_width(visible(token), 9.0) < 4
            assert len(visible(token)) <= 25
            rendered(small_figure(visible(token)), ".png")


def test_fitted_uses_the_room_and_no_more() -> None:
    words = "the quick brown fox jumps over the lazy dog " * 5
    for room in (0.7, 2.0, 5.0):
        shown = fitted(words, 10.0, room)
        assert 0.8 * room < text_width(shown, 10.0) <= room
        assert shown.endswith("…")
    assert fitted("$x$ \u202e", 10.0, 3.0) == "$x$ <U+202E>"


def test_text_width_is_that_of_the_drawn_text() -> None:
    assert text_width("mmmm", 20.0) == pytest.approx(2 * text_width("mm", 20.0), rel=0.01)
    assert text_width("mm", 20.0) == pytest.approx(2 * text_width("mm", 10.0), rel=0.02)
    assert text_width("m" * 10, 72.0) == pytest.approx(9.74, rel=0.01)  # DejaVu Sans: the m is 0.974 em wide
    assert text_width("$x$", 10.0) > text_width("x", 10.0) * 1.5  # no formula


def test_right_to_left() -> None:
    assert right_to_left(["المريخ", "[MASK]", "الكوكب"])
    assert not right_to_left(["mars", "المريخ", "planet"])
    assert not right_to_left(["1", "?"])


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0.0%"),
        (0.00004, "<0.1%"),
        (0.5, "50.0%"),
        (0.9997, ">99.9%"),
        (1.0, "100.0%"),
        (0.9994, "99.9%"),
    ],
)
def test_percent_never_rounds_to_certainty(share: float, words: str) -> None:
    assert percent(share) == words


# ------------------------------------------------------------------------------------------------ colour


def test_oklab_against_its_published_pairs() -> None:
    pairs = {(1, 1, 1): (1.0, 0, 0), (1, 0, 0): (0.628, 0.225, 0.126), (0, 0, 1): (0.452, -0.032, -0.312)}
    for srgb, lab in pairs.items():
        np.testing.assert_allclose(oklab_to_srgb(np.array(lab)), srgb, atol=0.03)


def test_the_colour_map_gets_darker_in_equal_steps() -> None:
    linear = np.array([GLASS(share)[:3] for share in np.linspace(0, 1, 11)])
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(luminance) - 16  # CIE L*
    steps = -np.diff(lightness)
    assert lightness[0] == pytest.approx(100, abs=0.5)
    assert steps.min() > 0.7 * steps.mean() and steps.max() < 1.3 * steps.mean()

"""Surprisal: what a model gives each word of a text, from what it may see."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from trained import command, generator_folder, refused, run_folder

from glassformer.ask.run import load
from glassformer.data.batch import collate
from glassformer.look.pictures.figures import save
from glassformer.look.pictures.overlay import surprisal

TEXT = "Mars is called the red planet"


def test_a_causal_model_is_asked_from_left_to_right() -> None:
    """Each number against the probabilities after the tokens before it, asked one by one."""
    run = load(generator_folder())
    scored = run.score(TEXT)
    ids = run.tokenizer.encode(TEXT).ids
    assert scored.tokens == [run.tokenizer.token(id) for id in ids] and len(ids) > 3
    prompt = run.objective.prompt(TEXT).example
    for n, id in enumerate(ids):
        start = prompt.streams["decoder"]._replace(values=prompt.streams["decoder"].values[: n + 1])
        targets = {name: one._replace(positions=np.array([n])) for name, one in prompt.targets.items()}
        with torch.no_grad():
            [logits] = run.model(collate([[prompt._replace(streams={"decoder": start}, targets=targets)]], 0)).values()
        assert scored.surprisal[n] == pytest.approx(-float(logits[0].log_softmax(-1)[id]), abs=1e-5)
    assert scored.perplexity == pytest.approx(math.exp(sum(scored.surprisal) / len(ids)), rel=1e-6)


def test_a_masked_model_is_asked_each_word_from_all_the_others() -> None:
    """Each number is -ln of what `fill` gives the word at its blank; unknown words have none."""
    run = load(run_folder())
    words = [*TEXT.split(), "qwertz"]
    scored = run.score(" ".join(words))
    assert scored.tokens[:6] == [word.lower() for word in words[:6]] and scored.surprisal[6] is None
    for n in range(6):
        blanked = " ".join("[MASK]" if i == n else word for i, word in enumerate(words))
        [blank] = run.fill(blanked, top=10_000).blanks
        given = {candidate.token: candidate.probability for candidate in blank.candidates}
        assert scored.surprisal[n] == pytest.approx(-math.log(given[scored.tokens[n]]), abs=1e-4)


def test_the_command(tmp_path: Path) -> None:
    """Words with their numbers, JSON, and a picture of one text."""
    for folder, kind in ((run_folder(), "pseudo-perplexity"), (generator_folder(), "perplexity")):
        scored = load(folder).score(TEXT)
        said = command("score", folder, TEXT)
        assert said.out.splitlines()[1] == f"{kind} {scored.perplexity:,.2f}"
        assert f"{scored.tokens[0]} {scored.surprisal[0]:.2f}" in said.out
        assert said.out.splitlines()[-1].startswith("surprisal in nats: ") and "1 bit" in said.out
        assert command("score", folder, TEXT, "--json").json["surprisal"] == pytest.approx(scored.surprisal)
        picture = tmp_path / f"{kind}.png"
        assert command("score", folder, TEXT, "--output", picture).code == 0
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert "2 texts do not fit into one picture" in refused(
        "score", run_folder(), TEXT, TEXT, "--output", tmp_path / "a.png"
    )
    assert "no word of" in refused("score", run_folder(), "qwertz asdf")


def test_the_picture_takes_any_token(tmp_path: Path) -> None:
    """Dollar signs, empty tokens, right-to-left words, and unknown ones."""
    tokens = ["$x^2$", "", "שלום", "a" * 99, "\x00"]
    assert save(surprisal(tokens, [1.0, None, 3.0, 0.0, 20.0], "title"), tmp_path / "a.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="5 tokens and 1 numbers"):
        surprisal(tokens, [1.0])

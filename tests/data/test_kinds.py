"""What a tokenizer says of itself is what it does."""

from typing import get_args

import pytest
import tokenizers

from glassformer.data.kinds import changes, config_of, kind_of
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.data.tokenizer_config import SPECIALS

KINDS = get_args(TokenizerConfig.model_fields["kind"].annotation)
PROBES = {
    "line ends, indents": "x:\n    Ab  cd\n",
    "a space at the beginning": " Ab",
    "capital letters": "Ab",
    "accents": "é",
    "one character or two": "e\u0301",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [False, True])
def test_what_is_said_to_be_lost_is_lost_and_nothing_else(kind: str, lowercase: bool) -> None:
    config = TokenizerConfig(kind=kind, lowercase=lowercase, vocab_size=300)
    tokenizer = Tokenizer.train(["x: Ab cd é e\u0301\n Ab", "Ab cd"], config)
    said = changes(config)
    for what, text in PROBES.items():
        if what == "a space at the beginning" and "indents" in said:
            continue  # it is one of those
        back = tokenizer.decode(tokenizer.encode(text).ids)
        others_aside = {text, text.lower()} if what != "capital letters" and lowercase else {text}
        assert (what in said) == (back not in others_aside), (what, back, said)


def test_nothing_is_said_where_nothing_is_lost() -> None:
    assert changes(TokenizerConfig(kind="bpe")) == changes(TokenizerConfig(kind="byte")) == ""
    assert changes(TokenizerConfig(kind="character"), composed=True) == ""
    assert "one character or two" in changes(TokenizerConfig(kind="character"))
    assert changes(TokenizerConfig(kind="bpe", lowercase=True)) == (
        "this bpe tokenizer does not give back capital letters; tokenizer.lowercase=false does"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [False, True])
def test_a_file_is_what_it_was_trained_as(kind: str, lowercase: bool, tmp_path) -> None:
    config = TokenizerConfig(kind=kind, lowercase=lowercase, vocab_size=300)
    tokenizer = Tokenizer.train(["Mars is red, the planet that is called red"], config)
    tokenizer.save(tmp_path / "t.json")
    assert kind_of(tokenizer) == kind
    found = config_of(tokenizer)
    assert (found.kind, found.lowercase, found.vocab_size) == (kind, lowercase, tokenizer.vocab_size)
    assert changes(TokenizerConfig(path=str(tmp_path / "t.json"))) == changes(config)


def test_a_file_made_elsewhere_is_read_by_its_steps(tmp_path) -> None:
    other = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    other.normalizer = tokenizers.normalizers.BertNormalizer()
    other.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=60, special_tokens=list(SPECIALS), show_progress=False)
    other.train_from_iterator(["mars is called the red planet"] * 3, trainer)
    other.save(str(tmp_path / "t.json"))
    config = config_of(Tokenizer.load(tmp_path / "t.json"))
    assert (config.kind, config.lowercase) == ("bpe", True)
    assert config.vocab_size == other.get_vocab_size()
    said = changes(TokenizerConfig(path=str(tmp_path / "t.json")))
    assert said.startswith("this bpe tokenizer does not give back line ends")
    for what in ("capital letters", "the accents", "invisible joiners"):
        assert what in said

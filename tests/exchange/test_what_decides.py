"""What decides an answer in a folder of Hugging Face is kept, refused by name, or said; and absurd folders are refused
before anything of them is built."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file, save_file
from trained import answering_folder, command, generator_folder, refused

from glassformer.ask.run import load
from glassformer.data.batch import OutputSpec
from glassformer.data.tokenizer import Tokenizer
from glassformer.errors import GlassformerError, UsageError
from glassformer.exchange import export_run, frame_of, import_run, read, write
from glassformer.model.config import ModelConfig, preset
from glassformer.model.kinds.transformer import Transformer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A causal model as transformers would find it."""
    return export_run(load(generator_folder()), tmp_path / "folder")


def change(file: Path, **settings: Any) -> None:
    file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"forced_bos_token_id": 0}, "forced_bos_token_id=0 decides what its model writes"),
        ({"forced_eos_token_id": 3}, "forced_eos_token_id=3"),
        ({"suppress_tokens": [7]}, r"suppress_tokens=\[7\]"),
        ({"bad_words_ids": [[7]]}, "bad_words_ids"),
        ({"guidance_scale": 1.5}, "guidance_scale=1.5"),
        ({"eos_token_id": [3, 4]}, r"eos_token_id=\[3, 4\] in generation_config.json, and 3 in config.json"),
    ],
)
@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_what_forces_or_forbids_tokens_is_refused(folder: Path, tmp_path: Path, settings, said, file) -> None:
    if "eos_token_id" in settings and file == "config.json":
        said = "eos_token_id="
    change(folder / file, **settings)
    with pytest.raises(GlassformerError, match=said):
        import_run(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_decides_nothing_is_let_through(folder: Path, tmp_path: Path) -> None:
    neutral = {"forced_bos_token_id": None, "suppress_tokens": [], "guidance_scale": 1.0, "eos_token_id": 3}
    change(folder / "generation_config.json", **neutral, num_beams=1, transformers_version="5")
    notes = list[str]()
    run = import_run(folder, tmp_path / "run", say=notes.append)
    assert notes == []
    assert run.generate("Mars is", max_tokens=5) == load(generator_folder()).generate("Mars is", max_tokens=5)


def test_how_tokens_are_chosen_is_said(folder: Path, tmp_path: Path) -> None:
    change(folder / "generation_config.json", num_beams=4, no_repeat_ngram_size=3, do_sample=False)
    said = command("import", folder, tmp_path / "run")
    assert said.code == 0
    assert "are not taken: num_beams=4, no_repeat_ngram_size=3" in said.err


@pytest.mark.parametrize("key", ["bos_token_id", "eos_token_id"])
def test_a_token_that_is_left_out_is_their_own(folder: Path, tmp_path: Path, key: str) -> None:
    settings = json.loads((folder / "config.json").read_text())
    del settings[key]
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=f"{key}=50256 in config.json"):
        import_run(folder, tmp_path / "run")


# ------------------------------------------------------------------------------------------------------- the frame


def framed(folder: Path, single: str) -> None:
    """Let the folder's tokenizer make this of a text A."""
    ids = {token: id for id, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    words = single.split()
    parts = [
        {"Sequence": {"id": "A", "type_id": 0}} if word == "A" else {"SpecialToken": {"id": word, "type_id": 0}}
        for word in words
    ]
    special = {word: {"id": word, "ids": [ids[word]], "tokens": [word]} for word in words if word != "A"}
    pair = [*parts, {"Sequence": {"id": "B", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": parts, "pair": pair, "special_tokens": special}
    change(folder / "tokenizer.json", post_processor=template if single else None)


def test_another_frame_of_special_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    framed(folder, "[CLS] A [SEP]")
    said = refused("import", folder, tmp_path / "run")
    assert "its tokenizer makes [CLS] A [SEP] of a text A, and causal_lm reads [SEP] A" in said
    assert not (tmp_path / "run").exists()


def test_the_same_frame_is_kept(folder: Path, tmp_path: Path) -> None:
    notes = list[str]()
    framed(folder, "[SEP] A")
    import_run(folder, tmp_path / "run", say=notes.append)
    assert notes == []


def test_no_frame_at_all_is_said(folder: Path, tmp_path: Path) -> None:
    change(folder / "tokenizer.json", post_processor=None)
    assert "adds nothing to a text A; here the model reads [SEP] A" in command("import", folder, tmp_path / "run").err


# ------------------------------------------------------------------------------------------------------- the bias


def test_a_bias_on_the_logits_is_refused_or_is_nothing(tmp_path: Path) -> None:
    tokenizer, folder = Tokenizer.load(answering_folder() / "tokenizer.json"), tmp_path / "folder"
    sizes = {"n_layers": 1, "d_model": 12, "n_heads": 3, "d_ff": 7, "max_length": 16}
    config = ModelConfig(**(preset("bart") | sizes))
    made = Transformer(
        config, tokenizer.vocab_size, [OutputSpec("seq2seq", tokenizer.vocab_size, tied=True, bias=False)]
    )
    write(made, tokenizer, folder, "bart", frame_of(load(answering_folder()).objective))
    assert import_run(folder, tmp_path / "run").generate("sun", max_tokens=3)
    tensors = load_file(folder / "model.safetensors")
    tensors["final_logits_bias"][0, 7] = 5.0
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UsageError, match="adds a bias to its logits"):
        import_run(folder, tmp_path / "other")
    assert read(folder).head.bias  # the weights alone have it


# -------------------------------------------------------------------------------------------------- absurd folders


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_layer": 10**9}, "numbers, and the model that config.json describes"),
        ({"vocab_size": 10**12}, "numbers, and the model that config.json describes"),
        ({"n_positions": 10**15}, "numbers, and the model that config.json describes"),
        ({"n_embd": 10**6 + 1}, "does not divide"),
        ({"n_embd": "12"}, 'n_embd="12"'),
        ({"n_layer": 2.5}, "n_layer=2.5"),
        ({"n_layer": True}, "n_layer=true"),
        ({"vocab_size": None}, "vocab_size=null"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"activation_function": ["relu"]}, "activation_function"),
        ({"eos_token_id": "3"}, "eos_token_id"),
        ({"n_head": 0}, "n_heads=0"),
    ],
)
def test_an_absurd_folder_is_refused_before_it_is_built(folder: Path, settings: dict[str, Any], said: str) -> None:
    change(folder / "config.json", **settings)
    before = psutil.Process().memory_info().rss
    with pytest.raises(GlassformerError, match=said) as error:
        read(folder)
    assert "\n" not in error.value.what
    assert psutil.Process().memory_info().rss - before < 100 * 2**20

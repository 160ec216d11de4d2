"""Folders that transformers reads, and those that it writes: equal logits, in both directions, on padded batches."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recipe
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from trained import command, generator_folder, refused, run_folder

from glassformer import exchange
from glassformer.ask.run import Run, load
from glassformer.data.batch import Batch, Example, OutputSpec, Stream, Targets, collate
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import GlassformerError, UsageError
from glassformer.model.config import ModelConfig, preset
from glassformer.model.kinds.transformer import Transformer
from glassformer.plugins import plugin_names

FORMATS = plugin_names("glassformer.exchange.formats")
HEADS = {"gpt2": "causal_lm", "bart": "seq2seq", "bert": "masked_lm"}
VOCAB, LENGTH = 23, 17
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
WORDS = [chr(97 + n) for n in range(VOCAB - 5)]


def auto(name: str) -> Any:
    return {
        "gpt2": transformers.GPT2LMHeadModel,
        "bart": transformers.BartForConditionalGeneration,
        "bert": transformers.BertForMaskedLM,
    }[name]


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    """18 letters and the five special tokens."""
    return Tokenizer.train([" ".join(WORDS)], TokenizerConfig(kind="word", vocab_size=VOCAB))


def disturb(module: nn.Module) -> None:
    """Every number random, those of norms, biases and unused rows too: nothing is zero or one by chance."""
    generator = torch.Generator().manual_seed(5)
    for tensor in [*module.parameters(), *(b for n, b in module.named_buffers() if n.endswith("final_logits_bias"))]:
        tensor.data = 0.4 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)


def make(name: str, dtype: torch.dtype = torch.float64, head_bias: bool = False, **changes: Any) -> Transformer:
    sizes = {"n_layers": 2, "d_model": 12, "n_heads": 3, "d_ff": 7, "max_length": LENGTH, "attention_dropout": 0.1}
    config = ModelConfig(**(preset(name) | sizes | changes))
    of_bert = {"bias": True, "transform": "dense"} if name == "bert" else {"bias": head_bias}
    model = Transformer(config, VOCAB, [OutputSpec(HEADS[name], VOCAB, tied=True, **of_bert)])
    disturb(model)
    model.tie()
    return model.to(dtype).eval()


def padded(name: str) -> Batch:
    """Texts of 3, 11 and 7 tokens, asked everywhere; sources are two tokens longer."""
    rng, rows = np.random.default_rng(2), []
    for length in (3, 11, 7):
        ids = rng.integers(1, VOCAB, length)
        streams = {"decoder": Stream(ids, causal=True)}
        if name == "bart":
            streams = {"encoder": Stream(rng.integers(1, VOCAB, length + 2)), **streams}
        if name == "bert":
            streams = {"encoder": Stream(ids, segment_ids=np.arange(length) % 2)}
        rows.append([Example(streams, {HEADS[name]: Targets(np.arange(length), ids, [*streams][-1])})])
    return collate(rows, 0)


@torch.no_grad()
def their_logits(name: str, model: Any, batch: Batch) -> torch.Tensor:
    """At the real places of the decoder, in our order."""
    ids = {stream: part.input_ids for stream, part in batch.streams.items()}
    real = {stream: (part != 0).long() for stream, part in ids.items()}
    if name == "gpt2":
        logits = model(input_ids=ids["decoder"], attention_mask=real["decoder"]).logits
    elif name == "bert":
        segments = batch.streams["encoder"].segment_ids
        logits = model(input_ids=ids["encoder"], attention_mask=real["encoder"], token_type_ids=segments).logits
    else:
        logits = model(
            input_ids=ids["encoder"],
            attention_mask=real["encoder"],
            decoder_input_ids=ids["decoder"],
            decoder_attention_mask=real["decoder"],
        ).logits
    return logits.flatten(0, 1)[batch.targets[HEADS[name]].flat_index]


@torch.no_grad()
def assert_equal_logits(name: str, ours: Transformer, theirs: Any, dtype: torch.dtype) -> None:
    batch = padded(name)
    a, b = ours(batch)[HEADS[name]], their_logits(name, theirs.eval(), batch)
    assert a.dtype == b.dtype == dtype
    assert a.std() > 0.1 and len(a) == 21
    torch.testing.assert_close(a, b, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


CASES = [
    ("gpt2", {}),
    ("gpt2", {"activation": "relu", "tied": False, "n_kv_heads": 3}),
    ("gpt2", {"activation": "gelu"}),
    ("bart", {"n_decoder_layers": 3}),
    ("bart", {"activation": "gelu_tanh", "d_embedding": 12}),
    ("bart", {"activation": "silu"}),
    ("bert", {}),
    ("bert", {"activation": "relu", "head_activation": "relu", "norm_eps": 1e-5, "segments": 3}),
    ("gpt2", {"norm_eps": 1e-3}),
]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("name", "changes"), CASES)
def test_what_we_write_they_read(name: str, changes: dict, dtype: torch.dtype, letters: Tokenizer, tmp_path: Path):
    """No name is missing or left over, and the logits are equal; what we read back is what we wrote, bit for bit."""
    ours = make(name, dtype, **changes)
    folder = exchange.write(ours, letters, tmp_path / "out", name)
    theirs, report = auto(name).from_pretrained(folder, output_loading_info=True, dtype=dtype)
    assert not any(report.values()), report
    assert_equal_logits(name, ours, theirs, dtype)
    again = exchange.read(folder)
    wanted = ours.state_dict()
    assert again.weights.keys() == wanted.keys()
    assert all(torch.equal(again.weights[key], wanted[key]) for key in wanted)
    assert again.tokenizer().encode("a c b").ids.tolist() == letters.encode("a c b").ids.tolist()
    assert_equal_logits(name, again.model(), theirs, dtype)


def their_model(name: str, dtype: torch.dtype, **changes: Any) -> Any:
    if name == "gpt2":
        sizes = {"n_positions": LENGTH, "n_embd": 12, "n_layer": 2, "n_head": 3, "n_inner": 7}
        config = transformers.GPT2Config(vocab_size=VOCAB, **(sizes | changes))
    elif name == "bert":
        sizes = {"max_position_embeddings": LENGTH, "hidden_size": 12, "num_hidden_layers": 2}
        sizes |= {"num_attention_heads": 3, "intermediate_size": 7}
        config = transformers.BertConfig(vocab_size=VOCAB, **(sizes | changes))
    else:
        both = {f"{s}_{k}": n for s in ("encoder", "decoder") for k, n in (("ffn_dim", 7), ("attention_heads", 3))}
        sizes = {"max_position_embeddings": LENGTH, "d_model": 12, "encoder_layers": 2, "decoder_layers": 3} | both
        config = transformers.BartConfig(vocab_size=VOCAB, **(sizes | {"pad_token_id": 0} | changes))
    model = auto(name)(config)
    disturb(model)
    return model.to(dtype).eval()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gpt2", {}),
        ("gpt2", {"n_inner": None, "activation_function": "gelu", "tie_word_embeddings": False}),
        ("bart", {}),
        ("bart", {"activation_function": "relu"}),
        ("bert", {}),
        ("bert", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3}),
    ],
)
def test_what_they_write_we_read(name: str, changes: dict, dtype: torch.dtype, tmp_path: Path):
    """With a bias of BART's head that is not zero."""
    theirs = their_model(name, dtype, **changes)
    theirs.save_pretrained(tmp_path)
    found = exchange.read(tmp_path)
    assert (found.format, found.vocab_size, found.config.max_length) == (name, VOCAB, LENGTH)
    assert found.head.bias == (name != "gpt2")
    assert_equal_logits(name, found.model(), theirs, dtype)
    again = exchange.write(found.model(), tokenizer_of_size(VOCAB), tmp_path / "again")
    first, second = (load_file(file / "model.safetensors") for file in (tmp_path, again))
    for key in ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"):
        if key in first:  # two rows that nobody reads
            first[key][:2] = 0
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def tokenizer_of_size(size: int) -> Tokenizer:
    return Tokenizer.train([" ".join(WORDS)], TokenizerConfig(kind="word", vocab_size=size))


COPIES = ("lm_head.weight", "encoder.embed_tokens.weight", "cls.predictions.decoder.weight")


def test_files_of_a_model_without_a_head_and_files_that_repeat_weights_are_read(tmp_path: Path):
    """As the first GPT-2 and BART were stored: no prefix, causal masks, copies of the token table."""
    for name in FORMATS:
        theirs = their_model(name, torch.float64)
        theirs.save_pretrained(tmp_path / name)
        file = tmp_path / name / "model.safetensors"
        stored = load_file(file)
        if name == "gpt2":
            bare = {key.removeprefix("transformer."): tensor for key, tensor in stored.items()}
            bare |= {"h.0.attn.bias": torch.ones(1, 1, 3, 3), "lm_head.weight": bare["wte.weight"].clone()}
        elif name == "bert":
            bare = {key.removeprefix("bert."): tensor for key, tensor in stored.items()}
            words = bare["embeddings.word_embeddings.weight"]
            bare |= {"cls.predictions.decoder.weight": words.clone()}
            bare |= {"embeddings.position_ids": torch.arange(LENGTH)[None]}
        else:
            bare = {key.removeprefix("model."): tensor for key, tensor in stored.items()}
            bare |= {"encoder.embed_tokens.weight": bare["shared.weight"].clone()}
            bare.pop("final_logits_bias")
            theirs.final_logits_bias.zero_()
        save_file(bare, file)
        assert_equal_logits(name, exchange.read(tmp_path / name).model(), theirs, torch.float64)
        copy = next(key for key in bare if key in COPIES)
        save_file(bare | {copy: bare[copy] + 1}, file)
        with pytest.raises(GlassformerError, match=f"{copy}, and it is not equal to"):
            exchange.read(tmp_path / name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_in_several_files_is_read(name: str, tmp_path: Path):
    """As large ones are stored, with a list of which tensor is where."""
    theirs = their_model(name, torch.float64)
    theirs.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and not (tmp_path / "model.safetensors").exists()
    assert_equal_logits(name, exchange.read(tmp_path).model(), theirs, torch.float64)


def test_a_damaged_list_of_files_is_refused(tmp_path: Path):
    their_model("gpt2", torch.float32).save_pretrained(tmp_path, max_shard_size="4KB")
    index = tmp_path / "model.safetensors.index.json"
    whole = json.loads(index.read_text())
    first = next(iter(whole["weight_map"]))
    other = next(file for file in whole["weight_map"].values() if file != whole["weight_map"][first])
    for weight_map, message in [
        (None, "weight_map is no list"),
        ({first: 3}, "weight_map is no list"),
        ({first: "../model.safetensors"}, "is no file of its folder"),
        ({first: "model.bin"}, "is no file of its folder"),
        ({first: "none.safetensors"}, "none.safetensors is missing"),
        ({first: other}, f"lists {first}, and {other} has it not"),
    ]:
        index.write_text(json.dumps({"weight_map": {**whole["weight_map"], **weight_map} if weight_map else None}))
        with pytest.raises(GlassformerError, match=message):
            exchange.read(tmp_path)


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "gpt2",
            {"positions": "rotary"},
            "gpt2 has learned positions, and model.positions=rotary\n.*positions=learned",
        ),
        ("gpt2", {"norm": "post"}, "gpt2 has norms before each part, and model.norm=post\n.*model.norm=pre"),
        ("gpt2", {"embedding_norm": True}, "no norm after the embeddings, and model.embedding_norm=true"),
        ("gpt2", {"norm_kind": "rms"}, "gpt2 has LayerNorm, and model.norm_kind=rms"),
        ("gpt2", {"bias": False}, "gpt2 has biases in every layer, and model.bias=false"),
        ("gpt2", {"activation": "swiglu"}, "without a gate, and model.activation=swiglu\n.*gelu_tanh"),
        ("gpt2", {"n_kv_heads": 1}, "for every head, and model.n_kv_heads=1"),
        ("gpt2", {"d_embedding": 4}, "as wide as the model, and model.d_embedding=4"),
        ("gpt2", {"segments": 2}, "gpt2 has no segments, and model.segments=2"),
        ("gpt2", {"share_layers": True}, "of its own in every layer, and model.share_layers=true"),
        ("gpt2", {"attention_scale": 1.0}, "scaled by the width of a head, and model.attention_scale=1.0"),
        ("gpt2", {"family": "encoder"}, "gpt2 has one stack, which is a decoder, and model.family=encoder"),
        ("gpt2", {"head_bias": True}, "gpt2 has no place for heads.causal_lm.output.bias"),
        ("bart", {"norm": "pre"}, "bart has norms behind each part, and model.norm=pre"),
        ("bart", {"positions": "sinusoidal"}, "bart has learned positions, and model.positions=sinusoidal"),
        ("bart", {"tied": False}, "bart has a head tied to the embeddings, and model.tied=false"),
        ("bart", {"shared_embeddings": False}, "one token table for both stacks, and model.shared_embeddings=false"),
    ],
)
def test_a_part_that_cannot_be_said_is_refused(name, changes, message, letters: Tokenizer, tmp_path: Path):
    with pytest.raises(UsageError, match=message):
        exchange.write(make(name, **changes), letters, tmp_path / "x", name)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=true in config.json"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights=false in config.json, and only true"),
        ("gpt2", {"activation_function": "mish"}, "activation_function=mish in config.json\n.*gelu_new"),
        ("bert", {"hidden_act": "mish"}, "hidden_act=mish in config.json\n.*gelu_new"),
        ("gpt2", {"n_embd": -3}, "config.json is damaged"),
        ("gpt2", {"model_type": "gtp2"}, "there is no format 'gtp2'.*\n.*gpt2"),
        ("gpt2", {"n_layer": 3}, "numbers, and the model that config.json describes"),
        ("gpt2", {"n_layer": 1}, "has transformer.h.1.attn.c_attn.bias, and a model here has no place for it"),
        ("gpt2", {"n_inner": 5}, "another shape"),
        ("bart", {"scale_embedding": True}, "scale_embedding=true in config.json"),
        ("bart", {"decoder_ffn_dim": 9}, "encoder_ffn_dim and decoder_ffn_dim differ"),
    ],
)
def test_a_folder_that_we_cannot_say_is_refused(name, changes, message, tmp_path: Path):
    their_model(name, torch.float32).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(GlassformerError, match=message):
        exchange.read(tmp_path).model()


def test_folders_that_are_none(tmp_path: Path):
    with pytest.raises(UsageError, match=r"is no model: it has no config\.json"):
        exchange.read(tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(GlassformerError, match=r"config.json is damaged"):
        exchange.read(tmp_path)
    their_model("gpt2", torch.float32).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(GlassformerError, match=r"model.safetensors is damaged"):
        exchange.read(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"has no model\.safetensors"):
        exchange.read(tmp_path)


def test_a_folder_that_is_not_empty_is_left_as_it_is(letters: Tokenizer, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there already, and is not empty"):
        exchange.write(make("gpt2"), letters, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


# ------------------------------------------------------------------------------------------- runs, out and in again


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of BART's parts that has learned a little."""
    folder = tmp_path_factory.mktemp("denoiser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        recipe = tiny_recipe.recipe(
            tiny_recipe.text_file(folder),
            objective={"name": "denoising"},
            model={"preset": "bart"},
            training={"steps": 20, "evaluate_every": 10, "checkpoint_every": 10},
        )
        yield tiny_recipe.train(recipe, folder / "run")


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_a_run_there_and_back_says_the_same(name: str, denoiser: Run, tmp_path: Path):
    """Ours, transformers with the tokenizer of the folder, and the run made of the folder: the same tokens."""
    run, text = (load(generator_folder()), "Mars is") if name == "gpt2" else (denoiser, "sun [MASK] red blue")
    folder, back = tmp_path / "folder", tmp_path / "back"
    assert command("export", run.path, folder).out == f"{folder}\n"
    more = ["objective.name=denoising"] if name == "bart" else []
    assert command("import", folder, back, *more).out == f"{back}\n"
    answer = command("generate", run.path, text, "--max-tokens", "9", "--beam", "3", "--json")
    assert answer.code == 0 and command("generate", back, text, "--max-tokens", "9", "--beam", "3", "--json") == answer
    assert command("info", back).code == 0
    if name == "gpt2":  # nothing of an imported run was trained: its vocabulary is the same
        compared = command("compare", run.path, back, "--output", tmp_path / "both.png")
        assert compared.code == 0 and "vocabular" not in compared.err

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    asked = tokenizer(text, return_tensors="pt")
    prompt = run.objective.prompt(text).example.streams["decoder" if name == "gpt2" else "encoder"].values
    assert asked["input_ids"][0].tolist() == prompt.tolist()
    theirs = auto(name).from_pretrained(folder).eval()
    ids = theirs.generate(**asked, max_new_tokens=9, do_sample=False)[0]
    said = ids[len(prompt) :] if name == "gpt2" else ids[1:]
    assert (
        run.objective.text_of(run.objective.prompt(text), said.tolist())
        == run.generate(text, max_tokens=9).outputs[0].text
    )


def test_a_run_that_fills_blanks_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command writes it in the one format of its family, and transformers gives the same candidates."""
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    short = {"steps": 20, "evaluate_every": 10, "checkpoint_every": 10}
    bert = {"preset": "bert"}
    text = tiny_recipe.text_file(tmp_path)
    run = tiny_recipe.train(tiny_recipe.recipe(text, model=bert, training=short), tmp_path / "run")
    folder, back = tmp_path / "folder", tmp_path / "back"
    assert command("export", run.path, folder).out == f"{folder}\n"
    assert command("import", folder, back).out == f"{back}\n"
    text = "sun [MASK] red blue"
    assert load(back).fill(text) == run.fill(text)

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    asked = tokenizer(text, return_tensors="pt")
    assert asked["input_ids"][0].tolist() == run.objective.prompt(text).example.streams["encoder"].values.tolist()
    place = asked["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    logits = auto("bert").from_pretrained(folder).eval()(**asked).logits[0, place]
    wanted = [(one.token, one.probability) for one in run.fill(text).blanks[0].candidates]
    for token, probability in wanted:
        assert logits.softmax(0)[tokenizer.convert_tokens_to_ids(token)].item() == pytest.approx(probability, rel=1e-4)


def test_what_is_exported_is_what_comes_back(letters: Tokenizer, tmp_path: Path):
    """Every key of a model, at another value than the format's: either the folder that is written gives it back, or it
    is refused by its name."""
    other = {
        "n_layers": 3, "n_decoder_layers": 1, "d_model": 24, "n_heads": 2, "n_kv_heads": 1, "d_ff": 5,
        "d_embedding": 6, "max_length": 9, "dropout": 0.2, "attention_dropout": 0.3, "norm_kind": "rms",
        "norm_eps": 1e-3, "activation": "relu", "head_activation": "silu", "bias": False, "positions": "sinusoidal",
        "attention_scale": 0.3, "share_layers": True, "segments": 5, "tied": False, "shared_embeddings": False,
    }  # fmt: skip
    for name in FORMATS:
        exported = set()
        for key, value in other.items():
            config = make(name, **{key: value}).config
            try:
                folder = exchange.write(make(name, **{key: value}), letters, tmp_path / name / key, name)
            except UsageError as error:
                named = "head_activation" if (name, key) == ("bert", "activation") else key  # one key over there
                assert f"model.{named}=" in error.what and f"model.{named}=" in error.mend
            else:
                exported.add(key)
                wanted = config.model_copy(update={"preset": name})
                assert exchange.read(folder).config.spelled_out() == wanted.spelled_out()
        assert {"n_layers", "d_model", "d_ff", "max_length", "dropout"} <= exported
        assert exported.isdisjoint({"positions", "norm_kind", "bias", "share_layers", "attention_scale"})


def test_the_command_refuses_in_a_line(tmp_path: Path):
    there = str(tmp_path / "there")
    assert "no format for model.family=encoder" in refused("export", run_folder(), there)
    assert "bart has an encoder and a decoder, and model.family=decoder" in refused(
        "export", generator_folder(), there, "--format", "bart"
    )
    assert "there is no format 'gpt3'" in refused("export", generator_folder(), there, "--format", "gpt3")
    command("export", generator_folder(), there)
    assert "is not empty" in refused("export", generator_folder(), there)
    assert "would change what was imported" in refused("import", there, tmp_path / "run", "model.norm=post")
    assert "causal_lm" in refused("import", there, tmp_path / "run", "objective.name=causal")
    settings = json.loads(Path(there, "config.json").read_text())
    Path(there, "config.json").write_text(json.dumps(settings | {"eos_token_id": 1}))
    assert "eos_token_id=1 in config.json, and a run here has 3 there, which is [SEP]" in refused(
        "import", there, tmp_path / "run"
    )
    Path(there, "tokenizer.json").unlink()
    assert "there is no tokenizer" in refused("import", there, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["mixture", "next_sentence"])
def test_an_objective_of_several_heads_is_refused(name: str, tmp_path: Path):
    """A folder has weights for one."""
    there = tmp_path / "there"
    command("export", generator_folder(), there)
    said = refused("import", there, tmp_path / "run", f"objective.name={name}")
    assert "has one head, and what is asked for has 2" in said and "objective.name=causal_lm" in said
    assert not (tmp_path / "run").exists()


def test_the_present_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Empty as it is: a folder is written aside and renamed, and who stands in it would stand nowhere."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for here in (".", "../empty", tmp_path / "empty"):
        assert "the present one cannot be" in refused("export", generator_folder(), here)
    assert not list((tmp_path / "empty").iterdir())
    assert command("export", generator_folder(), "new").code == 0 and (tmp_path / "empty/new/config.json").is_file()


def test_nothing_of_transformers_is_needed(tmp_path: Path):
    """In a process that cannot import it."""
    program = (
        "import sys; sys.modules['transformers'] = None\n"
        "from glassformer import exchange; from glassformer.ask.run import load\n"
        f"exchange.import_run(exchange.export_run(load({str(generator_folder())!r}), {str(tmp_path / 'out')!r}), "
        f"{str(tmp_path / 'run')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

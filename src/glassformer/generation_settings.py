"""What a Hugging Face folder says about generation, in generation_config.json or, in older folders, in config.json.

What forces or forbids tokens decides answers and has no place here: such a folder is refused. How tokens are chosen is
said anew at each call here (`generate --beam 4`): such settings are not taken, and that is said.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from glassformer.errors import UsageError
from glassformer.reading import NoSuchFile, json_object

DECIDING: dict[str, Any] = {
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "forced_decoder_ids": None,
    "force_words_ids": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "constraints": None,
    "guidance_scale": 1.0,
    "watermarking_config": None,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "exponential_decay_length_penalty": None,
}
"""What has no counterpart here, and the value that decides nothing; null and an empty list never do."""
USUAL: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "max_length": 20,
    "min_new_tokens": None,
    "max_new_tokens": None,
    "early_stopping": False,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "penalty_alpha": None,
    "stop_strings": None,
}
"""How tokens are chosen, and the value that changes nothing or is transformers' own."""


def check(folder: Path, config: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Hold the settings of a folder, whose config.json is `config`, against what generation here can do. Raises
    UsageError for one that forces or forbids tokens, GlassformerError where a file is damaged."""
    try:
        settings = {**_of(config), **json_object(folder / "generation_config.json", what="generation_config.json")}
    except NoSuchFile:
        settings = _of(config)
    _refuse_other_tokens(folder, config, settings)
    for key, neutral in DECIDING.items():
        given = settings.get(key)
        if given is not None and given != [] and given != neutral:
            raise UsageError(
                f"{folder}: {key}={str(given)[:100]} decides what its model writes, and generation here has no "
                "such setting",
                f"remove {key} if you do not want it, or read the weights alone with glassformer.exchange.read",
            )
    taken = [f"{key}={str(settings[key])[:50]}" for key, usual in USUAL.items() if settings.get(key, usual) != usual]
    if taken:
        say(f"note: settings of generation are given at each call here, the folder's are not taken: {', '.join(taken)}")


def _of(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in (*DECIDING, *USUAL) if key in config}


def _refuse_other_tokens(folder: Path, config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """generation_config.json may begin and end texts otherwise than config.json, which a run here has."""
    for key in ("bos_token_id", "eos_token_id", "decoder_start_token_id"):
        given = settings.get(key)
        if given is not None and key in config and given != config[key]:
            raise UsageError(
                f"{folder}: {key}={str(given)[:100]} in generation_config.json, and {config[key]} in config.json",
                "make them equal: a run here begins and ends all texts alike",
            )

"""What many tests share: a tiny tokenizer, corpus, objective and model, and a cache that belongs to one test."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from tiny_recipe import text_file

from glassformer.data.batch import Batch, BatchConfig, collate, plan
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.model.config import ModelConfig
from glassformer.model.kinds.transformer import Transformer
from glassformer.objectives.masked_lm import MaskedLM, MaskedLMConfig
from glassformer.training.engine import threads

TEXTS = (
    "mars is called the red planet",
    "the moon turns around the earth",
    "transformers use self attention",
    "the earth turns around the sun",
    "saturn has bright rings and many moons",
    "water is made of hydrogen and oxygen",
    "a noun is a word for a person or a thing",
    "the heart pumps blood through the body",
    "bees make honey",
    "the capital of japan is tokyo and the capital of france is paris",
    "light is faster than sound",
    "plants make sugar out of light and water and air",
    "ice is frozen water",
)
MAX_LENGTH = 13

settings.register_profile("glassformer", deadline=None)  # a slow machine is no fault of the code
settings.load_profile("glassformer")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing that a test caches outlives it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GLASSFORMER_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def threads_of_a_worker() -> None:
    """The same number of threads on every machine, and no more than one for each of pytest's workers: two programs with
    two threads each on two cores wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny tensors are fastest on one thread, and do not suffer where other programs use the other cores."""
    with threads(1):
        yield


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text file with a short sentence in each line."""
    return text_file(tmp_path)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return list(TEXTS)


@pytest.fixture(scope="session")
def tokenizer(texts: list[str]) -> Tokenizer:
    """Word level; knows every word of `texts`."""
    return Tokenizer.train(texts, TokenizerConfig(kind="word", vocab_size=97))


@pytest.fixture(scope="session")
def corpus(texts: list[str], tokenizer: Tokenizer) -> Corpus:
    return Corpus.from_texts(texts, tokenizer)


@pytest.fixture(scope="session")
def objective(tokenizer: Tokenizer) -> MaskedLM:
    return MaskedLM(MaskedLMConfig(), tokenizer, MAX_LENGTH)


@pytest.fixture(scope="session")
def model_config() -> ModelConfig:
    """Two layers, no dropout."""
    return ModelConfig(n_layers=2, d_model=12, n_heads=3, d_ff=17, max_length=MAX_LENGTH, dropout=0.0)


@pytest.fixture
def model(model_config: ModelConfig, objective: MaskedLM) -> Transformer:
    """Fresh weights, the same in every test; in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return Transformer(model_config, objective.tokenizer.vocab_size, objective.outputs()).eval()


@pytest.fixture
def batch(objective: MaskedLM, corpus: Corpus) -> Batch:
    """Five texts of different lengths, hidden words and padding included."""
    units = objective.dataset(corpus)
    [rows, *_] = plan(units.lengths, BatchConfig(size=5, layout="padded"), MAX_LENGTH, np.random.default_rng(3))
    examples = [[units.example(u, np.random.default_rng((3, u))) for u in row] for row in rows]
    return collate(examples, objective.tokenizer.pad_id)

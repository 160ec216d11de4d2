"""Two texts read together (`sentence_pair`) and apart (`similarity`): what is read, who sees whom, what is asked."""

import numpy as np
import pytest
import tiny_recipe
import torch
from scipy import stats
from trained import alike_folder, command, run_folder

from glassformer.ask.run import Run, load
from glassformer.data.batch import collate
from glassformer.data.builtin import paired_sentences
from glassformer.data.codecs import Codecs
from glassformer.data.labels import Labels
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.losses import find_loss
from glassformer.objectives.sentence_pair import SentencePair, shortened
from glassformer.objectives.similarity import Similarity
from glassformer.training.evaluation import evaluate


@pytest.fixture(scope="module")
def codecs() -> Codecs:
    texts = ["mars is red", "the red planet is mars"]
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind="word", vocab_size=64))
    return Codecs(tokenizer, label=Labels(("same", "different")))


@pytest.fixture(scope="module")
def run() -> Run:
    return load(alike_folder())


def test_a_pair_is_framed_with_two_segments(codecs):
    objective = SentencePair.from_codecs(SentencePair.Config(), codecs, 16)
    prompt = objective.prompt("mars is red ||| the red planet")
    assert prompt.tokens == ["[CLS]", "mars", "is", "red", "[SEP]", "the", "red", "planet", "[SEP]"]
    assert prompt.example.streams["encoder"].segment_ids.tolist() == [0] * 5 + [1] * 4
    for text in ("mars is red", "mars ||| ", "a ||| b ||| c"):
        with pytest.raises(UsageError, match="is not two texts"):
            objective.prompt(text)


@pytest.mark.parametrize(
    ("lengths", "kept"), [((3, 4), (3, 4)), ((9, 2), (8, 2)), ((2, 9), (2, 8)), ((9, 9), (5, 5)), ((6, 5), (5, 5))]
)
def test_the_longer_text_is_cut_first(lengths, kept):
    assert shortened(lengths, 10) == kept


def test_two_texts_of_one_row_do_not_see_each_other(codecs):
    objective = Similarity.from_codecs(Similarity.Config(), codecs, 32)
    prompt = objective.prompt("mars is red ||| the red planet")
    seen = collate([[prompt.example]], objective.pad_id).streams["encoder"].mask.dense()[0, 0]
    first = torch.arange(10) < 5
    assert torch.equal(seen, first[:, None] == first)
    assert prompt.example.streams["encoder"].positions.tolist() == [0, 1, 2, 3, 4] * 2


def test_a_vector_is_the_same_beside_any_text(run):
    one, other = run.embed(["mars is the red planet", "water boils when it is hot"])
    prompt = run.objective.prompt("mars is the red planet ||| water boils when it is hot")
    both = run.model(run.collate([prompt]))["vector"].detach().numpy()
    assert np.allclose(both, [one, other], atol=1e-5)


def test_the_loss_is_the_squared_error_of_the_cosine():
    outputs = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    found = find_loss("cosine_squared_error").of_each(outputs, torch.tensor([0.5, 0.5, 0.0, 0.0]))
    assert torch.allclose(found, torch.tensor([(0.5**0.5 - 0.5) ** 2] * 2 + [1.0] * 2))


def test_its_correlation_is_that_of_scipy(run):
    questions = run.questions("validation")
    found = evaluate(run.model, questions)
    dataset = questions.dataset
    examples = [dataset.example(n, np.random.default_rng(0)) for n in range(len(dataset))]
    vectors = run.model(collate([[example] for example in examples], run.objective.pad_id))["vector"]
    said = torch.cosine_similarity(vectors[::2], vectors[1::2]).tolist()
    assert found.value("spearman_correlation") == pytest.approx(stats.spearmanr(said, dataset.numbers).statistic)


def test_a_scale_that_is_too_small_is_refused(codecs, tmp_path):
    rows = ["text,second,number", *(f"a{n},b{n},{n % 6}" for n in range(40))]
    tree = tiny_recipe.tree(tiny_recipe.text_file(tmp_path, rows, "two.csv"), objective={"name": "similarity"})
    del tree["data"]["document"]
    with pytest.raises(UsageError, match=r"go up to 5") as error:
        tiny_recipe.train(tiny_recipe.parse(tree), tmp_path / "run")
    assert error.value.mend == "use objective.scale=5"


def test_built_in_pairs_that_are_held_out_are_of_facts_never_seen():
    seen, held_out = (
        {text for pair in paired_sentences(f"builtin:wordings/{part}") for text in pair[:2]}
        for part in ("train", "heldout")
    )
    assert held_out and not seen & held_out


def test_any_run_that_reads_text_makes_vectors_in_the_order_given(run, tmp_path):
    other = load(run_folder())
    texts = ["the sun", "a red planet is far away from the sun", "mars", "the sun"]
    found = other.embed(texts)
    assert np.allclose(found[0], found[3], atol=1e-6) and not np.allclose(found[0], found[2], atol=1e-3)
    assert np.allclose(found[1], other.embed([texts[1]])[0], atol=1e-5)
    near = run.nearest("mars", texts, top=2)
    assert near[0].line == 3 and near[0].cosine == pytest.approx(1)
    with pytest.raises(UsageError, match="not trained for similarity"):
        other.similarity("a", "b")


def test_vectors_are_written_and_pairs_are_read_from_a_file(run, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("mars is red\nthe sun\n")
    said = command("embed", run.path, lines, "--output", tmp_path / "v.npz")
    assert said.code == 0, said.err
    with np.load(tmp_path / "v.npz", allow_pickle=False) as arrays:
        assert arrays["texts"].tolist() == ["mars is red", "the sun"] and arrays["vectors"].shape == (2, 64)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("mars\tmars\nmars ||| the sun\n")
    shown = command("similarity", run.path, "--file", pairs).out.splitlines()
    assert len(shown) == 2 and shown[0].startswith("1.000")
    pairs.write_text("mars is red\nthe sun\n")
    alone = command("similarity", run.path, "--file", pairs)
    assert alone.code == 2 and "text 1 is not two texts" in alone.err, "two lines of a file are no pair"


def test_it_is_judged_by_correlations_with_their_intervals(run):
    found = run.judged()
    assert [score.name for score in found.scores] == ["spearman_correlation", "pearson_correlation"]
    measured = evaluate(run.model, run.questions("validation"))
    for score in found.scores:
        assert score.value == pytest.approx(measured.value(score.name), abs=1e-6)
    assert command("evaluate", run.path).code == 0

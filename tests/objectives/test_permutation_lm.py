"""Permutation language modelling: who sees whom, exactly; what is asked, and how often."""

import numpy as np
import pytest
import torch

from glassformer.data.batch import collate
from glassformer.data.corpus import Corpus
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.model.config import ModelConfig
from glassformer.model.kinds.transformer import Transformer
from glassformer.objectives.permutation_lm import HEAD, PermutationLM, PermutationLMConfig

LENGTH = 13


@pytest.fixture(scope="module")
def plm(tokenizer) -> PermutationLM:
    return PermutationLM(PermutationLMConfig(asked_share=0.4), tokenizer, LENGTH)


def test_the_mask_is_the_order(plm):
    """Asked 5, 2, 4 in this order: a word sees what is before it in the order and itself, a query only what is before;
    what is not asked sees all that is not asked."""
    ids = plm.tokenizer.encode("mars is called the red planet").ids
    stream = plm.asking(ids, np.array([5, 2, 4])).streams["encoder"]
    context = {0, 1, 3}
    sees = {0: context, 1: context, 3: context, 5: context | {5}, 2: context | {5, 2}, 4: context | {5, 2, 4}}
    queries = [context, context | {5}, context | {5, 2}]
    for row, allowed in enumerate([*(sees[n] for n in range(6)), *queries]):
        assert set(np.flatnonzero(stream.pair_mask[row])) == allowed
    assert stream.positions.tolist() == [0, 1, 2, 3, 4, 5, 5, 2, 4] and stream.n_query_only == 3
    assert (stream.values[6:] == plm.tokenizer.mask_id).all()


def test_no_target_sees_itself_or_what_comes_later(plm, corpus: Corpus):
    """By noise in the embeddings of a real batch: an answer changes with every word before it in the order, and with
    none after it or itself."""
    dataset = plm.dataset(corpus)
    example = max(
        (dataset.example(i, np.random.default_rng(i)) for i in range(len(dataset))),
        key=lambda e: len(e.targets[HEAD].values),
    )
    targets = example.streams["encoder"].positions[example.targets[HEAD].positions]
    assert len(targets) >= 3
    config = ModelConfig(n_layers=2, d_model=12, n_heads=3, d_ff=17, max_length=LENGTH, dropout=0.0)
    torch.manual_seed(1)
    model = Transformer(config, plm.tokenizer.vocab_size, plm.outputs()).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    batch = collate([[example]], 0)
    before = model(batch)[HEAD]
    for place in range(example.streams["encoder"].n_keys):
        noise = torch.randn(12, generator=torch.Generator().manual_seed(place), dtype=torch.float64)

        def disturb(module, args, output, place=place, noise=noise):
            output = output.clone()
            output[0, place] = noise
            return output

        handle = model.encoder.embeddings.register_forward_hook(disturb)
        after = model(batch)[HEAD]
        handle.remove()
        rank = list(targets).index(place) if place in targets else -1
        for n in range(len(targets)):
            assert torch.equal(after[n], before[n]) == (n <= rank), (place, n)


def test_the_last_part_of_the_order_is_asked(tokenizer, corpus):
    """A share of the tokens, on average; every ordinary place as often, in every order; never a special token."""
    plm = PermutationLM(PermutationLMConfig(asked_share=0.25), tokenizer, LENGTH)
    ids = np.concatenate(
        [[tokenizer.cls_id], tokenizer.encode("the moon turns around the earth").ids, [tokenizer.sep_id]]
    )
    n, firsts, numbers = 6_000, np.zeros(8), []
    for seed in range(n):
        targets = plm.example(ids, np.random.default_rng(seed)).targets[HEAD]
        stands = plm.example(ids, np.random.default_rng(seed)).streams["encoder"].positions[targets.positions]
        numbers.append(len(stands))
        firsts[stands[0]] += 1
        assert (ids[stands] == targets.values).all()
    assert np.mean(numbers) == pytest.approx(2.0, abs=1e-9)  # a quarter of eight
    assert firsts[0] == firsts[7] == 0
    expected = n / 6
    assert (np.abs(firsts[1:7] - expected) < 4.5 * np.sqrt(expected * 5 / 6)).all()


def test_a_prompt_asks_every_blank_from_the_words_that_are_there(plm):
    """No blank is seen by anybody; each query stands at its blank, and answers say where."""
    prompt = plm.prompt("mars [MASK] called the [MASK] planet")
    stream = prompt.example.streams["encoder"]
    assert stream.n_keys == 6 and stream.n_query_only == 2 and plm.tokenizer.mask_id not in stream.values[:6]
    assert stream.positions.tolist() == [0, 1, 3, 4, 6, 7, 2, 5]
    logits = {HEAD: torch.randn(2, plm.tokenizer.vocab_size)}
    assert [blank.position for blank in plm.answer(prompt.example, logits)] == [2, 5]


KINDS = ("word", "wordpiece", "bpe", "unigram", "character", "byte")


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_keeps_what_the_person_wrote(texts, kind, lowercase):
    """Whatever is blanked, one token or two neighbours, and filled with what stood there: the very text comes back,
    words that the vocabulary lacks, capitals and odd spaces too."""
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind=kind, vocab_size=330, lowercase=lowercase))
    plm = PermutationLM(PermutationLMConfig(), tokenizer, 99)
    whole = "mars : Zörblax, the red planet (the  moon) turns around the earth ! "
    encoded, tried = tokenizer.encode(whole), 0
    for number in (1, 2):
        for n in range(len(encoded.ids) + 1 - number):
            spans = [without_space(whole, span) for span in encoded.offsets[n : n + number]]
            (begin, _), (_, end) = spans[0], spans[-1]
            between = whole[spans[0][1] : spans[-1][0]] if number == 2 else ""
            if number == 2 and between != " " and kind in ("word", "wordpiece", "unigram"):
                continue  # which spaces stand between two words is for the decoder to say
            blanks = between.join(["[MASK]"] * number)
            prompt = plm.prompt(whole[:begin] + blanks + whole[end:])
            read = tokenizer.encode(prompt.text, allow_mask=True).ids
            others = np.r_[encoded.ids[:n], [tokenizer.mask_id] * number, encoded.ids[n + number :]]
            unknown = set(encoded.ids[n : n + number].tolist()) & tokenizer.special_ids
            if not np.array_equal(read, others) or unknown or (lowercase and not whole[begin:end].islower()):
                continue  # cut otherwise without these tokens, or nobody could fill them in
            tried += 1
            ids = [tokenizer.cls_id, *encoded.ids.tolist(), tokenizer.sep_id]
            assert plm.text_of(prompt, ids) == whole, prompt.text
    assert tried > 10


def without_space(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """A token's characters without the space that it carries before a word."""
    start, end = span
    token = text[start:end]
    return (end - len(token.lstrip()) if token.strip() else start), end


def test_a_piece_goes_on_with_the_word_before(texts):
    """What has no space of its own is joined; half characters that stand together are one."""
    pieces = Tokenizer.train(["photo photosphere sphere"], TokenizerConfig(kind="wordpiece", vocab_size=40))
    plm = PermutationLM(PermutationLMConfig(), pieces, 13)
    end = next(i for i in range(pieces.vocab_size) if pieces.token(i).startswith("##"))
    shown = pieces.token(end).removeprefix("##")
    ids = [pieces.cls_id, *pieces.encode("photo").ids.tolist(), end, pieces.sep_id]
    assert plm.text_of(plm.prompt("photo [MASK]"), ids) == f"photo{shown}"
    half = Tokenizer.train(texts, TokenizerConfig(kind="byte", vocab_size=261))
    plm = PermutationLM(PermutationLMConfig(), half, 29)
    ids = [half.cls_id, *half.encode("é is é").ids.tolist(), half.sep_id]
    assert plm.text_of(plm.prompt("[MASK][MASK] is é"), ids) == "é is é"

"""Relations of a parsed text against heads: the reader with its errors, scores by hand, and a whole run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from trained import TREE, command, generator_folder, refused, run_folder

from glassformer.ask.run import Run, load
from glassformer.errors import UsageError
from glassformer.look.pictures.figures import rendered
from glassformer.look.views import dependencies as view
from glassformer.look.views.dependencies import (
    Count,
    Relation,
    all_rows,
    dependencies,
    figure,
    frequent,
    most_attended,
    pairs_of,
    read_conllu,
    rows,
)

CAT = """# sent_id = 1
# text = The cat sat.
1\tThe\tthe\tDET\t_\t_\t2\tdet\t_\t_
2\tcat\tcat\tNOUN\t_\t_\t3\tnsubj\t_\t_
3\tsat\tsit\tVERB\t_\t_\t0\troot\t_\tSpaceAfter=No
4\t.\t.\tPUNCT\t_\t_\t3\tpunct\t_\t_
"""


def file_of(folder: Path, content: str) -> Path:
    file = folder / "trees.conllu"
    file.write_text(content, encoding="utf-8")
    return file


# ------------------------------------------------------------------------------------------------------ reading


def test_a_sentence_with_its_characters(tmp_path: Path) -> None:
    [first, second] = read_conllu(file_of(tmp_path, f"{CAT}\n\n{TREE}"))
    assert [first.text[a:b] for a, b in first.spans] == ["The", "cat", "sat", "."]
    assert first.relations == [(0, 1, "det"), (1, 2, "nsubj"), (3, 2, "punct")]
    assert second.text == "Mars is called the red planet"
    assert second.spans[-1] == (23, 29)


def test_space_after_is_heeded_where_there_is_no_text(tmp_path: Path) -> None:
    [found] = read_conllu(file_of(tmp_path, CAT.replace("# text = The cat sat.\n", "")))
    assert found.text == "The cat sat."


def test_multiword_tokens_are_one_word_and_empty_nodes_none(tmp_path: Path) -> None:
    """im = in + dem: the relation between them is inside a word. 3.1 stands for nothing that is written."""
    [found] = read_conllu(
        file_of(
            tmp_path,
            "# text = er sitzt im Haus\n"
            "1\ter\t_\t_\t_\t_\t2\tnsubj\t_\t_\n"
            "2\tsitzt\t_\t_\t_\t_\t0\troot\t_\t_\n"
            "3-4\tim\t_\t_\t_\t_\t_\t_\t_\t_\n"
            "3\tin\t_\t_\t_\t_\t5\tcase\t_\t_\n"
            "3.1\tnichts\t_\t_\t_\t_\t_\t_\t_\t_\n"
            "4\tdem\t_\t_\t_\t_\t3\tdet\t_\t_\n"
            "5\tHaus\t_\t_\t_\t_\t2\tobl\t_\t_\n",
        )
    )
    assert [found.text[a:b] for a, b in found.spans] == ["er", "sitzt", "im", "Haus"]
    assert found.relations == [(0, 1, "nsubj"), (2, 3, "case"), (3, 1, "obl")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2\tcat\tcat", "2 cat\tcat", r"line 4 has 9 columns, and CoNLL-U has 10\nmend or remove"),
        ("2\tcat", "3\tcat", r"line 4: the id '3' is not 2\nnumber words"),
        ("2\tcat", "x\tcat", "line 4: the id 'x' is not 2"),
        ("\t2\tdet", "\t9\tdet", r"line 3: the head '9' is no word of the sentence\nit has the words 1 to 4"),
        ("\t2\tdet", "\t_\tdet", "line 3: the head '_'"),
        ("2\tcat", "2\tdog", "line 4: 'dog' does not come next in the sentence's text, 'cat' does"),
        ("The cat sat.\n", "The cat sat\n", "line 6: '.' does not come next in the sentence's text, '' does"),
    ],
)
def test_what_is_no_conllu_is_said_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CAT
    with pytest.raises(UsageError, match=rf"trees.conllu, {message}"):
        list(read_conllu(file_of(tmp_path, CAT.replace(old, new))))


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n\n"])
def test_a_file_without_a_sentence_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match="holds no sentence"):
        list(read_conllu(file_of(tmp_path, content)))


# ------------------------------------------------------------------------------------------------------- scores

RELATIONS = [Relation(0, 1, "det"), Relation(1, 2, "nsubj"), Relation(3, 2, "punct"), Relation(4, 2, "punct")]
ALL = np.ones((5, 5), dtype=bool)


def looking(*targets: list[int]) -> np.ndarray:
    """One layer; each head's most attended word, for each word."""
    return np.array([targets])


def scored(looked: np.ndarray, seen: np.ndarray = ALL) -> dict[tuple[str, str], view.Scores]:
    found = {}
    for key, pairs in pairs_of(RELATIONS).items():
        count = Count()
        count.add(looked, pairs, seen)
        found[key] = count.scores(*key)
    return found


def test_a_perfect_head_and_one_that_looks_elsewhere() -> None:
    found = scored(looking([1, 2, 4, 2, 2], [2, 3, 1, 4, 3]))
    for name in ("det", "nsubj", "punct"):
        np.testing.assert_array_equal(found[name, "dependent to head"].accuracy, [[1, 0]])
    assert found["punct", "dependent to head"].occurrences == 2
    assert found["punct", "dependent to head"].best == (0, 0)


def test_a_head_word_may_look_at_any_of_its_dependents() -> None:
    """`punct` twice below word 2 is one question: either answer is right."""
    for target, right in ((3, 1), (4, 1), (1, 0)):
        found = scored(looking([4, 4, target, 4, 0]))["punct", "head to dependent"]
        assert (found.occurrences, found.right.tolist()) == (1, [[right]])


def test_the_baseline_is_the_best_fixed_distance() -> None:
    found = scored(looking([0] * 5))
    punct = found["punct", "dependent to head"]  # -1 and -2, once each: the nearer
    assert (punct.offset, punct.baseline) == (-1, 0.5)
    assert (found["nsubj", "dependent to head"].offset, found["nsubj", "dependent to head"].baseline) == (1, 1.0)
    back = found["punct", "head to dependent"]
    assert (back.offset, back.baseline) == (1, 1.0)


def test_what_a_causal_model_cannot_see_is_not_asked() -> None:
    seen = np.tril(ALL)
    count = Count()
    count.add(looking([-1, 0, 1, 2, 2]), pairs_of(RELATIONS)["det", "dependent to head"], seen)
    assert count.number == 0
    found = Count()
    found.add(looking([-1, 0, 1, 2, 2]), pairs_of(RELATIONS)["det", "head to dependent"], seen)
    assert found.scores("det", "head to dependent").baseline == found.number == 1


def test_the_most_attended_other_word() -> None:
    weights = np.array([[[[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2]]]])
    assert most_attended(weights).tolist() == [[[1, 2, 0]]]
    causal = np.where(np.tril(np.ones((3, 3), bool)), weights, np.nan)
    assert most_attended(causal).tolist() == [[[-1, 0, 0]]]


# --------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def encoder() -> Run:
    return load(run_folder())


def test_every_score_of_a_run_by_hand(encoder: Run, tmp_path: Path) -> None:
    """All words are one token each: the attention's own cells, without [CLS] and [SEP]."""
    found = dependencies(encoder, read_conllu(file_of(tmp_path, TREE)))
    weights = encoder.attention("Mars is called the red planet").weights[:, :, 1:-1, 1:-1].copy()
    weights[:, :, range(6), range(6)] = -1
    looked = weights.argmax(-1)
    names = [(0, 2, "nsubj"), (1, 2, "aux"), (3, 5, "det"), (4, 5, "amod"), (5, 2, "obj")]
    assert len(found.scores) == 10
    for score in found.scores:
        [(dependent, head, _)] = [each for each in names if each[2] == score.relation]
        a, b = (dependent, head) if score.direction == "dependent to head" else (head, dependent)
        np.testing.assert_array_equal(score.right, looked[:, :, a] == b)
        assert (score.occurrences, score.offset, score.baseline) == (1, b - a, 1.0)
    assert (found.sentences, found.unread, found.unknown) == (1, 0, 0)


def test_unknown_words_and_long_sentences_are_counted(encoder: Run, tmp_path: Path) -> None:
    strange = TREE.replace("red", "zzz")
    long = "".join(f"{n}\tred\t_\t_\t_\t_\t{n - 1}\tdep\t_\t_\n" for n in range(1, 40))
    found = dependencies(encoder, read_conllu(file_of(tmp_path, f"{strange}\n{long}\n{TREE}")))
    assert (found.sentences, found.unread, found.unknown) == (3, 1, 1)
    assert {each.occurrences for each in found.scores if each.relation == "amod"} == {1}
    assert {each.occurrences for each in found.scores if each.relation == "det"} == {2}
    head = dependencies(encoder, read_conllu(file_of(tmp_path, TREE.replace("planet", "zzz"))))
    assert head.unknown == 3  # below it the and red, above it called
    with pytest.raises(UsageError, match="39 tokens, the model reads at most"):
        dependencies(encoder, read_conllu(file_of(tmp_path, long)))
    with pytest.raises(UsageError, match="knows both words of no relation"):
        dependencies(encoder, read_conllu(file_of(tmp_path, "1\tzzz\t_\t_\t_\t_\t0\troot\t_\t_\n")))


def test_a_decoder_in_pieces_of_words(tmp_path: Path) -> None:
    found = dependencies(load(generator_folder()), read_conllu(file_of(tmp_path, TREE)))
    ways = {(each.relation, each.direction) for each in found.scores}
    assert ways == {
        ("nsubj", "head to dependent"),
        ("aux", "head to dependent"),
        ("det", "head to dependent"),
        ("amod", "head to dependent"),
        ("obj", "dependent to head"),
    }
    assert all(each.offset < 0 for each in found.scores)


def test_the_relations_that_are_worth_a_line(encoder: Run, tmp_path: Path) -> None:
    found = dependencies(encoder, read_conllu(file_of(tmp_path, TREE)))
    assert {each.relation for each in frequent(found, 1, "det")} == {"det"}
    with pytest.raises(UsageError, match=r"no relation has 20 occurrences; the most frequent has 1"):
        frequent(found)
    with pytest.raises(UsageError, match=r"related by 'dat'\nthe relations are: amod, aux, det"):
        frequent(found, 1, "dat")
    scores = frequent(found, 1)
    assert len(all_rows(scores)) == len(scores) * 6
    assert [row["accuracy"] for row in rows(scores)] == [each.right.max() for each in scores]


def test_the_picture_says_each_relation_once_in_each_direction(encoder: Run, tmp_path: Path) -> None:
    scores = frequent(dependencies(encoder, read_conllu(file_of(tmp_path, TREE))), 1)
    picture = figure(scores)
    assert len(picture.axes) == 2
    for axes, direction in zip(picture.axes, view.DIRECTIONS, strict=True):
        part = [each for each in scores if each.direction == direction]
        assert [label.get_text() for label in axes.get_yticklabels()] == [f"{each.relation} (1)" for each in part]
        assert [bar.get_width() for bar in axes.patches] == [each.accuracy.max() for each in part]
    assert rendered(picture, ".png")


# ------------------------------------------------------------------------------------------------- the commands


def test_dependencies_on_the_command_line(tmp_path: Path) -> None:
    file = file_of(tmp_path, f"{TREE}\n{TREE}")
    said = command("look", "dependencies", run_folder(), file, "--least", "2", "--json").json
    assert said["sentences"] == 2
    assert {each["occurrences"] for each in said["scores"]} == {2}
    assert np.shape(said["scores"][0]["right"]) == (2, 3)
    shown = command("look", "dependencies", run_folder(), file, "--least", "1", "--limit", "1", "--relation", "det")
    assert (shown.code, shown.err) == (0, "")
    assert len(shown.out.splitlines()) == 3
    for name in ("a.png", "a.csv", "a.json", "a.html"):
        said = command("look", "dependencies", run_folder(), file, "--least", "1", "--output", tmp_path / name)
        assert (said.code, said.out) == (0, f"{tmp_path / name}\n")
    table = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(table) == 10 * 6
    assert json.loads((tmp_path / "a.json").read_text())["unread"] == 0
    wrong = refused("look", "dependencies", run_folder(), file, "--output", tmp_path / "a.doc")
    assert "cannot write a view as '.doc'" in wrong
    assert "cannot be read" in refused("look", "dependencies", run_folder(), tmp_path / "none.conllu")

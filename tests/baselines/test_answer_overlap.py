"""Answers by the words that a text shares with the question."""

from glassformer.baselines.answer_overlap import LONGEST, best_sentence, sliding_window

TEXT = "The sun is a star. Mars is called the red planet. Phobos, a moon of Mars, is small!"


def test_the_sentence_with_most_of_the_questions_words():
    assert best_sentence(TEXT, "Which planet is called red?") == "Mars is called the red planet."
    assert best_sentence(TEXT, "What is a moon of Mars?") == "Phobos, a moon of Mars, is small!"
    assert best_sentence(TEXT, "Who?") == "The sun is a star."
    assert best_sentence("no sentence at all", "what") == "no sentence at all"


def test_a_rare_word_says_more_than_a_frequent_one():
    assert best_sentence("is is is is. phobos was.", "is phobos") == "phobos was."


def test_the_window_answers_with_words_that_the_question_has_not():
    found = sliding_window(TEXT, "Which planet is called red?")
    assert found in TEXT and 1 <= len(found.split()) <= LONGEST
    assert not {"planet", "is", "called", "red"} & set(found.lower().split())
    assert sliding_window("red planet", "red planet") == "red planet"


def test_characters_stay_as_they_are():
    text = "Ésperanza naïve Straße liegt am Fluß. Zwei"
    assert best_sentence(text, "am fluß") in text and sliding_window(text, "am fluß") in text

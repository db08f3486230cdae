from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.config.run import FeatureSettings, TaskName
from compressor.data import demo
from compressor.data.demo import teacher, vocabulary
from compressor.errors import TaskError
from compressor.tasks import make_task
from compressor.tasks.examples import QuestionExample, TextExample, TokenExample


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return vocabulary.tokenizer()


@pytest.mark.parametrize("task", demo.LABELS)
def test_the_same_seed_gives_the_same_examples_and_others_share_none(task: TaskName) -> None:
    first = demo.examples(task, "train", 60, 0)
    assert first == demo.examples(task, "train", 60, 0)
    assert len(first) == 60
    assert first[:20] == demo.examples(task, "train", 20, 0)
    texts = {_text(example) for example in first}
    for part, seed in (("dev", 0), ("train", 1)):
        assert not texts & {_text(example) for example in demo.examples(task, part, 60, seed)}


def test_there_is_none_for_regression() -> None:
    for ask in (lambda: demo.examples("text-regression", "dev", 1, 0), lambda: teacher.shape("text-regression")):
        with pytest.raises(TaskError, match="nothing for text-regression: give data=files data.train=FILE"):
            ask()


def _text(example: Any) -> Any:
    if isinstance(example, QuestionExample):
        return example.context
    return example.text if isinstance(example, TextExample) else example.words


@pytest.mark.parametrize(
    ("task", "fewest", "most"),
    [("question-answering", 90, 300), ("text-classification", 45, 128), ("token-classification", 25, 110)],
)
def test_examples_are_long_enough_and_fit(task: TaskName, fewest: int, most: int, tokenizer: Any) -> None:
    made = make_task(task, FeatureSettings(), demo.LABELS[task])
    features = made.features(demo.examples(task, "dev", 200, 0), tokenizer, labelled=True)
    lengths = [feature.length for feature in features]
    assert len(features) == 200
    assert fewest <= min(lengths) and max(lengths) <= most
    assert np.median(lengths) > 55
    unknown = tokenizer.unk_token_id
    assert not any(unknown in feature.inputs["input_ids"] for feature in features)


def test_every_answer_stands_where_it_says_and_is_told_of_one_person_only() -> None:
    for example in demo.examples("question-answering", "train", 200, 0):
        assert isinstance(example, QuestionExample)
        (answer,) = example.answers
        assert example.context[answer.start :].startswith(answer.text)


def test_all_labels_occur_and_some_names_are_of_two_kinds() -> None:
    letters = demo.examples("text-classification", "train", 300, 0)
    counts = {label: 0 for label in demo.LABELS["text-classification"]}
    for letter in letters:
        assert isinstance(letter, TextExample)
        counts[letter.labels[0]] += 1
    assert min(counts.values()) > 30
    kinds: dict[str, set[str]] = {}
    for sentence in demo.examples("token-classification", "train", 300, 0):
        assert isinstance(sentence, TokenExample) and len(sentence.words) == len(sentence.tags)
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            kinds.setdefault(word, set()).add(tag)
    assert {"B-LOC", "B-ORG"} <= kinds["Oslo"]
    assert set().union(*kinds.values()) == set(demo.LABELS["token-classification"])


def test_names_are_of_several_word_pieces_and_other_words_fall_into_letters(tokenizer: Any) -> None:
    assert tokenizer.tokenize("Lindberg 1984 zq") == ["lind", "##berg", "19", "##84", "z", "##q"]
    assert len(vocabulary.vocabulary()) < 1000

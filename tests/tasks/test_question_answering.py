from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.config.run import FeatureSettings
from compressor.errors import CheckpointError, DataError, RequestError
from compressor.tasks import make_task
from compressor.tasks.base import Feature
from compressor.tasks.examples import Answer, QuestionExample, TextExample
from compressor.tasks.question_answering import best_span

CONTEXT = "Maria lives in Oslo. The cat sat on a mat in Bergen, and Holmberg works where the cat sat. " * 3
ANSWER = Answer("Holmberg", CONTEXT.index("Holmberg"))
EXAMPLE = QuestionExample("q1", "who works where the cat sat ?", CONTEXT, (ANSWER,))


def task(**settings: Any) -> Any:
    return make_task("question-answering", FeatureSettings(**settings))


@pytest.mark.parametrize("kind", ["bert_tokenizer", "roberta_tokenizer"])
def test_windows_cover_the_context_and_overlap_by_the_stride(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    features = task(max_length=32, doc_stride=6).features([EXAMPLE], tokenizer, labelled=False)
    assert len(features) > 2
    assert all(feature.length <= 32 and not feature.labels for feature in features)
    spans = []
    for feature in features:
        first, last = feature.extra["context"]
        spans.append([tuple(span) for span in feature.extra["offsets"][first:last].tolist()])
    for before, after in itertools.pairwise(spans):
        assert before[-6:] == after[:6]
    whole = tokenizer(CONTEXT, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    assert spans[0] + [span for part in spans[1:] for span in part[6:]] == whole


def test_inputs_have_the_names_that_the_tokenizer_gives(bert_tokenizer: Any, roberta_tokenizer: Any) -> None:
    settings = {"max_length": 48, "doc_stride": 6}
    bert = task(**settings).features([EXAMPLE], bert_tokenizer, labelled=False)[0]
    roberta = task(**settings).features([EXAMPLE], roberta_tokenizer, labelled=False)[0]
    assert list(bert.inputs) == ["input_ids", "token_type_ids", "attention_mask"]
    assert list(roberta.inputs) == ["input_ids", "attention_mask"]
    first, last = bert.extra["context"]
    assert bert.inputs["token_type_ids"][first:last] == [1] * (last - first)


@pytest.mark.parametrize("kind", ["bert_tokenizer", "roberta_tokenizer"])
def test_labels_point_at_the_answer_or_at_the_first_token(kind: str, request: pytest.FixtureRequest) -> None:
    features = task(max_length=48, doc_stride=12).features([EXAMPLE], request.getfixturevalue(kind), labelled=True)
    inside = 0
    for feature in features:
        start, end = feature.labels["start_positions"], feature.labels["end_positions"]
        first, last = feature.extra["context"]
        offsets = feature.extra["offsets"]
        if (start, end) == (0, 0):
            whole = offsets[first, 0] <= ANSWER.start and offsets[last - 1, 1] >= ANSWER.start + len(ANSWER.text)
            assert not whole
        else:
            assert CONTEXT[offsets[start, 0] : offsets[end, 1]] == "Holmberg"
            inside += 1
    assert inside


def test_a_very_long_question_is_cut_and_the_context_is_not(bert_tokenizer: Any) -> None:
    long = QuestionExample("q1", "where does maria live " * 100, CONTEXT, (ANSWER,))
    features = task(max_length=48).features([long, EXAMPLE], bert_tokenizer, labelled=True)
    assert {feature.example for feature in features} == {0, 1}
    first, last = features[0].extra["context"]
    assert first <= 48 // 2 and last - first >= 20
    assert max(int(f.extra["offsets"][f.extra["context"][1] - 1, 1]) for f in features) == len(CONTEXT.rstrip())


def test_decode_takes_the_best_window_and_keeps_inside_the_context(bert_tokenizer: Any) -> None:
    made = task(max_length=48, doc_stride=12)
    features = made.features([EXAMPLE], bert_tokenizer, labelled=True)
    outputs = []
    for feature in features:
        start, end = np.zeros(feature.length, np.float32), np.zeros(feature.length, np.float32)
        start[0] = end[0] = 50.0  # the first token is no answer
        start[1] = end[1] = 40.0  # nor is the question
        if feature.labels["start_positions"]:
            start[feature.labels["start_positions"]] = 5.0
            end[feature.labels["end_positions"]] = 5.0
        outputs.append({"start_logits": start, "end_logits": end})
    predictions = made.decode([EXAMPLE], features, outputs)
    assert predictions == ["Holmberg"]
    assert made.score([EXAMPLE], predictions) == {"f1": 100.0, "exact_match": 100.0}


def test_an_example_without_a_possible_span_gets_an_empty_answer() -> None:
    feature = Feature({"input_ids": [1, 2]}, {}, 0, {"offsets": np.zeros((2, 2), np.int32), "context": (0, 0)})
    rows = {"start_logits": np.zeros(2, np.float32), "end_logits": np.zeros(2, np.float32)}
    assert task().decode([EXAMPLE], [feature], [rows]) == [""]


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=40),
    st.integers(1, 12),
    st.integers(1, 8),
)
def test_best_span_equals_a_search_of_all_pairs(pairs: list[tuple[int, int]], n_best: int, longest: int) -> None:
    # distinct values, so that "the n best" is one set only
    start = np.array([pair[0] for pair in pairs], np.float64) + np.arange(len(pairs)) / 100
    end = np.array([pair[1] for pair in pairs], np.float64) + np.arange(len(pairs)) / 100
    starts = sorted(range(len(pairs)), key=lambda i: -start[i])[:n_best]
    ends = sorted(range(len(pairs)), key=lambda i: -end[i])[:n_best]
    possible = [start[i] + end[j] for i in starts for j in ends if i <= j < i + longest]
    found = best_span(start, end, n_best=n_best, max_length=longest)
    if not possible:
        assert found is None
    else:
        assert found is not None
        score, first, last = found
        assert score == max(possible) == start[first] + end[last]
        assert first <= last < first + longest


def test_loss_is_that_of_the_stock_model() -> None:
    from transformers import BertConfig, BertForQuestionAnswering

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForQuestionAnswering(BertConfig(vocab_size=20, **sizes)).eval()
    labels = {"start_positions": torch.tensor([3, 0]), "end_positions": torch.tensor([5, 7])}
    outputs = model(input_ids=torch.randint(0, 20, (2, 9)), **labels)
    assert torch.allclose(task().loss(outputs, labels), outputs.loss)


def test_loss_leaves_out_positions_beyond_the_window_and_is_in_float32() -> None:
    logits = torch.randn(2, 6, dtype=torch.bfloat16)
    outputs = {"start_logits": logits, "end_logits": logits}
    beyond = {"start_positions": torch.tensor([2, 6]), "end_positions": torch.tensor([3, -100])}
    inside = {"start_positions": torch.tensor([2]), "end_positions": torch.tensor([3])}
    loss = task().loss(outputs, beyond)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, task().loss({key: value[:1] for key, value in outputs.items()}, inside))
    nothing = {"start_positions": torch.tensor([9, 9]), "end_positions": torch.tensor([9, 9])}
    assert task().loss(outputs, nothing).item() == 0.0


def test_scores_are_the_best_over_the_answers_and_one_an_example() -> None:
    two = QuestionExample("q", "who?", "the red cat", (Answer("red", 4), Answer("red cat", 4)))
    other = QuestionExample("p", "who?", "the red cat", (Answer("cat", 8),))
    made = task()
    assert made.metric_names == ("f1", "exact_match")
    assert made.score([two, other], ["The red cat!", "red"]) == {"f1": 50.0, "exact_match": 50.0}
    assert made.example_scores([two, other], ["red", "red cat"]).tolist() == pytest.approx([100.0, 200 / 3])
    assert made.same("The cat.", "cat") and not made.same("cat", "mat")


def test_errors_name_the_example_and_what_to_do(bert_tokenizer: Any) -> None:
    wrong = QuestionExample("q7", "who ?", "the cat sat", (Answer("cat", 5),))
    with pytest.raises(
        DataError, match=r"example 'q7': the answer 'cat' is not in its context at character 5; it star"
    ):
        task(max_length=48).features([wrong], bert_tokenizer, labelled=True)
    with pytest.raises(DataError, match="'q8' has no answer to train on"):
        task(max_length=48).features([QuestionExample("q8", "who ?", "a")], bert_tokenizer, labelled=True)
    with pytest.raises(DataError, match="needs questions with contexts, not TextExample"):
        task(max_length=48).features([TextExample("a")], bert_tokenizer, labelled=False)
    with pytest.raises(RequestError, match="leave no room for question and context"):
        task(max_length=48, doc_stride=40).features([EXAMPLE], bert_tokenizer, labelled=False)
    with pytest.raises(RequestError, match="max_length = 384 is more than the 64 tokens"):
        task().features([EXAMPLE], bert_tokenizer, labelled=False)


def test_a_slow_tokenizer_is_refused(tmp_path: Any) -> None:
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    with pytest.raises(CheckpointError, match=r"slow one without character offsets: save .* tokenizer\.json"):
        task().features([EXAMPLE], BertTokenizer(str(tmp_path / "vocab.txt")), labelled=False)

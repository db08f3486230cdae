"""Extractive question answering over overlapping windows (SQuAD v1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compressor.errors import DataError, RequestError
from compressor.tasks import squad
from compressor.tasks.base import Feature, Task
from compressor.tasks.examples import Answer, Example, QuestionExample
from compressor.tasks.losses import cross_entropy
from compressor.tasks.tokenize import CHUNK, check_length, model_inputs, require_fast

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Spans = NDArray[np.int32]
MIN_ROOM = 8
"""Tokens that are left to the question, and to the context beyond the overlap, whatever the settings."""


class QuestionAnswering(Task):
    """Finds the span of a context that answers a question. Predictions are answer texts."""

    name = "question-answering"
    auto_class = "AutoModelForQuestionAnswering"
    output_names = ("start_logits", "end_logits")
    label_names = ("start_positions", "end_positions")
    restores_tokens = True

    @property
    def metric_names(self) -> tuple[str, ...]:
        """F1 first: gates and searches use it."""
        return ("f1", "exact_match")

    @property
    def max_length(self) -> int:
        """Longest window in tokens, question and special tokens included; 384 unless set."""
        return self.settings.longest(self.name)

    @property
    def doc_stride(self) -> int:
        """Tokens that two neighbouring windows share: 128, or a third of the window if that is less."""
        return self.settings.doc_stride or min(128, self.max_length // 3)

    def features(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, labelled: bool
    ) -> list[Feature]:
        """Cut each context into windows of at most `max_length` tokens that overlap by `doc_stride`.

        `extra` holds `offsets` (int32 [length, 2], characters of the context) and `context` (first and last + 1 token
        of the context). A window without the answer is labelled with position 0. A question that would leave no room
        for the context is cut at its end. Raises `DataError` for an answer that is not in its context.
        """
        require_fast(tokenizer)
        check_length(self.max_length, tokenizer)
        questions = [as_question(example) for example in examples]
        limit = self._question_limit(tokenizer)
        features: list[Feature] = []
        for first in range(0, len(questions), CHUNK):
            chunk = questions[first : first + CHUNK]
            encoded = tokenizer(
                [_cut(example.question.strip(), limit, tokenizer) for example in chunk],
                [example.context for example in chunk],
                truncation="only_second",
                max_length=self.max_length,
                stride=self.doc_stride,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
                padding=False,
            )
            for row, example in enumerate(encoded["overflow_to_sample_mapping"]):
                offsets = np.asarray(encoded["offset_mapping"][row], dtype=np.int32).reshape(-1, 2)
                context = _context_tokens(encoded.sequence_ids(row))
                labels = window_labels(chunk[example], offsets, context) if labelled else {}
                inputs = model_inputs(encoded, row, tokenizer)
                features.append(Feature(inputs, labels, first + example, {"offsets": offsets, "context": context}))
        return features

    def _question_limit(self, tokenizer: PreTrainedTokenizerBase) -> int:
        room = self.max_length - tokenizer.num_special_tokens_to_add(pair=True)
        limit = min(room // 2, room - self.doc_stride - MIN_ROOM)
        if limit < MIN_ROOM:
            raise RequestError(
                f"recipe.features: windows of max_length = {self.max_length} tokens that overlap by doc_stride = "
                f"{self.doc_stride} leave no room for question and context: raise max_length or lower doc_stride."
            )
        return limit

    def loss(self, outputs: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mean of the cross-entropies of start and end; positions outside of the window count for nothing."""
        start = cross_entropy(outputs["start_logits"], labels["start_positions"])
        end = cross_entropy(outputs["end_logits"], labels["end_positions"])
        return (start + end) / 2

    def decode(
        self, examples: Sequence[Example], features: Sequence[Feature], outputs: Sequence[Mapping[str, np.ndarray]]
    ) -> list[str]:
        """The text of the best span over all windows of an example; empty if no window has a possible one."""
        best: dict[int, tuple[float, int, int]] = {}
        for feature, rows in zip(features, outputs, strict=True):
            first, last = feature.extra["context"]
            span = best_span(
                rows["start_logits"][first:last],
                rows["end_logits"][first:last],
                n_best=self.settings.n_best,
                max_length=self.settings.max_answer_length,
            )
            if span is None:
                continue
            score, start, end = span
            if feature.example not in best or score > best[feature.example][0]:
                offsets = feature.extra["offsets"]
                best[feature.example] = (score, int(offsets[first + start, 0]), int(offsets[first + end, 1]))
        answers = []
        for index, example in enumerate(examples):
            _, start, end = best.get(index, (0.0, 0, 0))
            answers.append(as_question(example).context[start:end])
        return answers

    def score(self, examples: Sequence[Example], predictions: Sequence[Any]) -> dict[str, float]:
        """SQuAD v1.1 F1 and exact match in points: the best over an example's answers, the mean over examples."""
        golden = [_answer_texts(example) for example in examples]
        exact = [squad.exact_match(text, answers) for text, answers in zip(predictions, golden, strict=True)]
        f1 = self.example_scores(examples, predictions)
        return {"f1": float(f1.mean()) if len(f1) else 0.0, "exact_match": 100 * sum(exact) / max(len(exact), 1)}

    def example_scores(self, examples: Sequence[Example], predictions: Sequence[Any]) -> np.ndarray:
        """F1 in points [examples]."""
        pairs = zip(predictions, examples, strict=True)
        return np.array([100 * squad.f1(text, _answer_texts(example)) for text, example in pairs], dtype=np.float64)

    def same(self, first: Any, second: Any) -> bool:
        """Whether two answers are the same after SQuAD's normalization."""
        return squad.normalize(first) == squad.normalize(second)


def as_question(example: Example) -> QuestionExample:
    """The example itself, if it is a question; raises `DataError` otherwise."""
    if not isinstance(example, QuestionExample):
        raise DataError(f"question-answering needs questions with contexts, not {type(example).__name__}.")
    return example


def check_answer(context: str, answer: Answer, example: str, where: str = "the data") -> None:
    """Raise `DataError` unless the answer stands in the context at its offset (in characters)."""
    if answer.text and context[answer.start : answer.start + len(answer.text)] == answer.text and answer.start >= 0:
        return
    found = context.find(answer.text) if answer.text else -1
    hint = f"it starts at {found}: correct answer_start" if found >= 0 else "it is nowhere in it: correct the text"
    raise DataError(
        f"{where}, example '{example}': the answer '{answer.text[:60]}' is not in its context at character "
        f"{answer.start}; {hint} or remove the question."
    )


def window_labels(example: QuestionExample, offsets: Spans, context: tuple[int, int]) -> dict[str, int]:
    """First and last token of the first answer in a window; 0 and 0 if it is not wholly inside."""
    if not example.answers:
        raise DataError(f"example '{example.id}' has no answer to train on: remove it from the training data.")
    answer = example.answers[0]
    check_answer(example.context, answer, example.id)
    first, last = context
    begin, end = answer.start, answer.start + len(answer.text)
    spans = offsets[first:last]
    if last <= first or spans[0, 0] > begin or spans[-1, 1] < end:
        return {"start_positions": 0, "end_positions": 0}
    start_token = first + int(np.searchsorted(spans[:, 1], begin, side="right"))
    end_token = first + int(np.searchsorted(spans[:, 0], end, side="left")) - 1
    return {"start_positions": start_token, "end_positions": max(start_token, end_token)}


def best_span(
    start_logits: np.ndarray, end_logits: np.ndarray, *, n_best: int, max_length: int
) -> tuple[float, int, int] | None:
    """Score, first and last token of the best span among the `n_best` starts and ends; None if none is possible.

    Logits [tokens] of context tokens only. A span has 1 to `max_length` tokens; its score is the sum of both logits.
    """
    if not len(start_logits):
        return None
    starts = _top(start_logits, n_best)
    ends = _top(end_logits, n_best)
    lengths = ends[None, :] - starts[:, None]
    scores = start_logits[starts][:, None] + end_logits[ends][None, :]
    scores = np.where((lengths >= 0) & (lengths < max_length), scores, -np.inf)
    row, column = divmod(int(scores.argmax()), len(ends))
    score = float(scores[row, column])
    return (score, int(starts[row]), int(ends[column])) if np.isfinite(score) else None


def _top(logits: np.ndarray, count: int) -> np.ndarray:
    if len(logits) <= count:
        return np.arange(len(logits))
    return np.sort(np.argpartition(logits, -count)[-count:])


def _answer_texts(example: Example) -> list[str]:
    return [answer.text for answer in as_question(example).answers]


def _context_tokens(sequence_ids: list[int | None]) -> tuple[int, int]:
    if 1 not in sequence_ids:
        return (0, 0)
    first = sequence_ids.index(1)
    return (first, first + sequence_ids.count(1))


def _cut(question: str, limit: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """Cut a question of more than `limit` tokens at a token border."""
    if len(question.encode()) <= limit:  # a token has at least one byte
        return question
    encoded = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = encoded["offset_mapping"]
    return question if len(offsets) <= limit else question[: offsets[limit - 1][1]]

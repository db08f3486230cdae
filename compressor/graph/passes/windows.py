"""A set of examples as padded batches, made once and run through as many graphs or settings as wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from compressor.graph.passes.batches import TOKENS, Feed, by_length, pad

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compressor.tasks.base import Task
    from compressor.tasks.examples import Example

Rows = Mapping[str, NDArray[Any]]


class Windows:
    """Examples tokenized, sorted by length and padded for a graph with the inputs `inputs`."""

    def __init__(
        self,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        examples: Sequence[Example],
        inputs: Sequence[str],
        batch_size: int,
    ) -> None:
        self.task = task
        self.examples = examples
        self.features = task.features(examples, tokenizer, labelled=False)
        self.lengths = [feature.length for feature in self.features]
        names = [name for name in inputs if name in TOKENS]
        pad_id = int(getattr(tokenizer, "pad_token_id", None) or 0)
        self.groups = list(by_length(self.lengths, size=batch_size))
        self.feeds: list[Feed] = [
            pad([self.features[index] for index in group], names, pad_id) for group in self.groups
        ]

    def outputs(
        self, session: onnxruntime.InferenceSession, extra: Mapping[str, NDArray[Any]], also: Sequence[str] = ()
    ) -> list[Rows]:
        """One mapping of unpadded float32 rows a feature; `extra` is fed beside the tokens (the dial).

        `also` names outputs beside the task's own, with one value a row.
        """
        names = [*self.task.output_names, *also]
        rows: list[Rows] = [{}] * len(self.features)
        for group, feed in zip(self.groups, self.feeds, strict=True):
            arrays = session.run(names, {**feed, **extra})
            for position, index in enumerate(group):
                stop = self.lengths[index] if self.task.restores_tokens else None
                rows[index] = {
                    name: np.asarray(array[position] if name in also else array[position][:stop], dtype=np.float32)
                    for name, array in zip(names, arrays, strict=True)
                }
        return rows

    def predictions(self, session: onnxruntime.InferenceSession, extra: Mapping[str, NDArray[Any]]) -> list[Any]:
        """One prediction an example."""
        return self.task.decode(self.examples, self.features, self.outputs(session, extra))

    def metric(self, session: onnxruntime.InferenceSession, extra: Mapping[str, NDArray[Any]]) -> float:
        """The task's primary metric in points."""
        scores = self.task.score(self.examples, self.predictions(session, extra))
        return scores[self.task.metric_names[0]]

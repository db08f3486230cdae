"""The contract of a task: it owns features, loss, decoding and metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compressor.config.run import FeatureSettings, TaskName
from compressor.tasks.examples import Example

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Feature:
    """One row of model input. Question answering makes several of a long example.

    `inputs`: token ids and masks by the tokenizer's names, unpadded, each [length].
    `labels`: by the task's label names, an int or a list [length]; empty for unlabelled data.
    `example`: index of the example that it came from. `extra`: what decoding needs (offsets, word ids).
    """

    inputs: dict[str, list[int]]
    labels: dict[str, Any]
    example: int
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of real tokens."""
        return len(self.inputs["input_ids"])


class Task(ABC):
    """A task with its settings. Metrics are in points: 100 is the best, 0 no better than nothing."""

    name: ClassVar[TaskName]
    auto_class: ClassVar[str]  # transformers' class, e.g. "AutoModelForQuestionAnswering"
    output_names: ClassVar[tuple[str, ...]]  # of the model and of the ONNX graph, in order
    label_names: ClassVar[tuple[str, ...]]  # keyword arguments that stock models take
    restores_tokens: ClassVar[bool]  # heads read every token, so dropped ones must be restored
    right_from: ClassVar[float] = 50.0  # an answer counts as right from this example score on, in points

    def __init__(self, settings: FeatureSettings, labels: Sequence[str] = (), *, multi_label: bool = False) -> None:
        self.settings = settings
        self.labels = tuple(labels)  # label names in the order of the model's outputs; () where they have no names
        self.multi_label = multi_label

    @property
    def problem_type(self) -> str | None:
        """What transformers' `config.json` calls the kind of labels; None for tasks that it has no name for."""
        return None

    @property
    @abstractmethod
    def metric_names(self) -> tuple[str, ...]:
        """Names of all metrics; the first is the primary one, which gates and searches use."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Longest input in tokens, special tokens included."""

    @abstractmethod
    def features(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, labelled: bool
    ) -> list[Feature]:
        """Turn examples into model inputs, with labels if asked (training) or with what decoding needs."""

    @abstractmethod
    def loss(self, outputs: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Task loss of a batch: outputs by `output_names`, labels by `label_names`; a scalar in float32."""

    @abstractmethod
    def decode(
        self, examples: Sequence[Example], features: Sequence[Feature], outputs: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Any]:
        """One prediction an example, from one mapping of unpadded float32 output rows a feature."""

    @abstractmethod
    def score(self, examples: Sequence[Example], predictions: Sequence[Any]) -> dict[str, float]:
        """Metrics in points by `metric_names`."""

    @abstractmethod
    def example_scores(self, examples: Sequence[Example], predictions: Sequence[Any]) -> np.ndarray:
        """One number an example [examples], for paired bootstraps: the primary metric where it is a mean.

        (Micro-F1 and entity F1 are not means; there it is the example's own F1. Nor are correlations; there it is
        how close the number is.)
        """

    def tuned(
        self, examples: Sequence[Example], features: Sequence[Feature], outputs: Sequence[Mapping[str, np.ndarray]]
    ) -> Task:
        """The task with the settings of decoding that give the best primary metric on these labelled examples."""
        return self

    def same(self, first: Any, second: Any) -> bool:
        """Whether two predictions for one example agree."""
        return bool(first == second)

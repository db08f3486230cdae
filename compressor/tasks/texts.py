"""What tasks with one answer a text share: the model's head, and inputs of texts and of pairs of texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from compressor.errors import DataError
from compressor.tasks.base import Feature, Task
from compressor.tasks.examples import Example, Text
from compressor.tasks.tokenize import CHUNK, check_length, model_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T", bound=Text)


class TextTask(Task, Generic[T]):
    """A task of the head that reads a text's first token; subclasses say what an example's target is."""

    auto_class = "AutoModelForSequenceClassification"
    output_names = ("logits",)
    label_names = ("labels",)
    restores_tokens = False

    example_class: ClassVar[type[Text]]  # of the examples that it can read
    needs: ClassVar[str]  # what they are, for errors

    @property
    def max_length(self) -> int:
        """Longest input in tokens; 128 unless set."""
        return self.settings.longest(self.name)

    @abstractmethod
    def targets(self, examples: Sequence[T]) -> list[Any]:
        """What the head is trained to give for each example; raises `DataError` for an example that has none."""

    def features(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, labelled: bool
    ) -> list[Feature]:
        """One row a text; what is longer than `max_length` is cut, of a pair the longer text first.

        Labels are the `targets`. Raises `DataError` for examples of another task.
        """
        check_length(self.max_length, tokenizer)
        texts = self.checked(examples)
        labels = [{"labels": target} for target in self.targets(texts)] if labelled else [{} for _ in texts]
        features: list[Feature] = []
        for first in range(0, len(texts), CHUNK):
            chunk = texts[first : first + CHUNK]
            pairs = [example.pair or "" for example in chunk] if any(example.pair for example in chunk) else None
            encoded = tokenizer([example.text for example in chunk], pairs, truncation=True, max_length=self.max_length)
            for place in range(first, first + len(chunk)):
                features.append(Feature(model_inputs(encoded, place - first, tokenizer), labels[place], place))
        return features

    def checked(self, examples: Sequence[Example]) -> list[T]:
        """The examples themselves, if they are this task's; raises `DataError` otherwise."""
        found: list[Any] = list(examples)
        for example in found:
            if not isinstance(example, self.example_class):
                raise DataError(f"{self.name} needs {self.needs}, not {type(example).__name__}.")
        return found

"""The embedded demo: English-like texts from a closed vocabulary, made from a seed, for every task."""

from __future__ import annotations

from itertools import islice
from random import Random

from compressor.config.run import TaskName
from compressor.data.demo import letters, news, questions
from compressor.tasks.examples import Example

LABELS: dict[TaskName, tuple[str, ...]] = {
    "question-answering": (),
    "text-classification": letters.LABELS,
    "token-classification": news.LABELS,
}


def examples(task: TaskName, part: str, count: int, seed: int) -> list[Example]:
    """`count` examples of a part; the same for the same arguments on every machine, other parts share none."""
    rng = Random(f"{task}/{part}/{seed}")
    if task == "text-classification":
        return [letters.letter(rng) for _ in range(count)]
    if task == "token-classification":
        return [news.sentence(rng) for _ in range(count)]
    made: list[Example] = []
    while len(made) < count:
        made += questions.contexts_with_questions(rng, f"demo-{part}-{len(made)}")
    return list(islice(made, count))

"""The embedded demo: English-like texts from a closed vocabulary, made from a seed, for every task but regression."""

from __future__ import annotations

from itertools import islice
from random import Random

from compressor.config.run import TaskName
from compressor.data.demo import letters, news, questions
from compressor.errors import TaskError
from compressor.tasks.examples import Example

LABELS: dict[TaskName, tuple[str, ...]] = {
    "question-answering": (),
    "text-classification": letters.LABELS,
    "token-classification": news.LABELS,
}


def require(task: TaskName) -> None:
    """Raise `TaskError` for a task that the demo has neither examples nor a teacher for."""
    if task not in LABELS:
        raise TaskError(
            f"the demo has nothing for {task}: give data=files data.train=FILE data.dev=FILE and teacher.path=DIR."
        )


def examples(task: TaskName, part: str, count: int, seed: int) -> list[Example]:
    """`count` examples of a part; the same for the same arguments on every machine, other parts share none.

    Raises `TaskError` for a task that the demo does not have.
    """
    require(task)
    rng = Random(f"{task}/{part}/{seed}")
    if task == "text-classification":
        return [letters.letter(rng) for _ in range(count)]
    if task == "token-classification":
        return [news.sentence(rng) for _ in range(count)]
    made: list[Example] = []
    while len(made) < count:
        made += questions.contexts_with_questions(rng, f"demo-{part}-{len(made)}")
    return list(islice(made, count))

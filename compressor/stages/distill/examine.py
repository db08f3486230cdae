"""What a distillation is given beside the run's own data and teacher, looked at before any work."""

from __future__ import annotations

from pathlib import Path

from compressor.config.run import LABEL_TASKS, FeatureSettings, TaskName
from compressor.data.splits import Splits
from compressor.models import checkpoint as checkpoints
from compressor.models.config_file import labels_of, read_config
from compressor.stages.distill.more_examples import unlabelled_examples
from compressor.stages.distill.settings import DistillSettings
from compressor.stages.teacher import require_pieces
from compressor.tasks import Task, make_task
from compressor.tasks.examples import QuestionExample, ScoredExample, TextExample, TokenExample

_TASKS: dict[type, TaskName] = {
    QuestionExample: "question-answering",
    TextExample: "text-classification",
    ScoredExample: "text-regression",
    TokenExample: "token-classification",
}


def examine(settings: DistillSettings, teacher: Path, data: Splits) -> None:
    """Refuse further texts that the task cannot use, and further teachers that cannot be asked.

    Raises:
        DataError: A file that cannot be read, or a line in it that the task cannot use.
        CheckpointError: A teacher that is not there or has no head for the task, or one for other labels.
        RequestError: Answers are for tokens, and a further teacher does not know all of the run's teacher's.
    """
    task = _task_of(data, teacher)
    if task is None:
        return
    if settings.unlabelled:
        unlabelled_examples(settings.unlabelled, task)
    for path in settings.teachers:
        checkpoints.require_head(path, task)
        if task.restores_tokens:
            require_pieces(checkpoints.load_tokenizer(teacher), checkpoints.load_tokenizer(path), f"teacher {path}")


def _task_of(data: Splits, teacher: Path) -> Task | None:
    """The task that the examples are of, with its labels in the teacher's order if it knows them; None: no examples."""
    example = next(iter((*data.train, *data.dev)), None)
    if example is None:
        return None
    name = _TASKS[type(example)]
    known = labels_of(read_config(teacher))
    labels = known if set(data.labels) <= set(known) else data.labels
    return make_task(name, FeatureSettings(), labels if name in LABEL_TASKS else (), multi_label=data.multi_label)

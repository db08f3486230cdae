"""Distil the teacher into a student: any weighted mix of the losses in `losses`.

Hinton et al. 2015 (logits), TinyBERT (Jiao et al. 2020: hidden states, attention scores), DistilBERT (Sanh et al.
2019: cosine), MiniLM (Wang et al. 2020), MiniLMv2 (Wang et al. 2021).
"""

from __future__ import annotations

from compressor.models import checkpoint as checkpoints
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.kept import KeptDistillation, all_answers, numbered, worth_keeping
from compressor.stages.distill.lesson import lesson, prepare
from compressor.stages.distill.more_examples import learning_examples
from compressor.stages.distill.objective import Distillation
from compressor.stages.distill.parts import Shape
from compressor.stages.distill.settings import DistillSettings
from compressor.stages.distill.student import load_student, new_student
from compressor.training import train


def run(checkpoint: Checkpoint, settings: DistillSettings, context: StageContext) -> Checkpoint:
    """Teach the student on `context.data.train` and what `settings` adds to it.

    It is written to `context.output` without its projections. Where answers are all that is read of the teacher, they
    are read once and kept for other students.

    Raises:
        RequestError: Settings that these two models cannot meet, or different vocabularies.
        CheckpointError: The teacher has no head for the task and `logits` needs one.
    """
    shape = settings.new_student()
    student, tokenizer = new_student(shape, checkpoint, context) if shape else load_student(checkpoint, context)
    examples = learning_examples(settings, context, tokenizer)
    features = context.task.features(examples, tokenizer, labelled=settings.labels > 0)
    objective: Distillation
    if settings.teachers or worth_keeping(settings, len(features)):
        other = Shape.of(checkpoints.read_config(context.teacher.path))
        pupil, matching = prepare(student, settings, other, context.seed)
        kept = all_answers(settings, examples, features, tokenizer, context)
        objective, features = KeptDistillation(kept, context.task, matching, settings.temperature), numbered(features)
    else:
        pupil, objective = lesson(student, settings, context, tokenizer=tokenizer)
    train(pupil, features, context.task, settings, objective, context, tokenizer, title="distill")
    checkpoints.save(student, tokenizer, context.output)
    return Checkpoint(context.output, checkpoint.key)

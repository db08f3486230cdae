"""Distil the teacher into a student: any weighted mix of the losses in `losses`.

Hinton et al. 2015 (logits), TinyBERT (Jiao et al. 2020: hidden states, attention scores), DistilBERT (Sanh et al.
2019: cosine), MiniLM (Wang et al. 2020), MiniLMv2 (Wang et al. 2021).
"""

from __future__ import annotations

from compressor.models import checkpoint as checkpoints
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.distill.lesson import lesson
from compressor.stages.distill.settings import DistillSettings
from compressor.stages.distill.student import load_student, new_student
from compressor.training import train


def run(checkpoint: Checkpoint, settings: DistillSettings, context: StageContext) -> Checkpoint:
    """Teach the student on `context.data.train` and write it to `context.output`, without its projections.

    Raises:
        RequestError: Settings that these two models cannot meet, or different vocabularies.
        CheckpointError: The teacher has no head for the task and `logits` needs one.
    """
    shape = settings.new_student()
    student, tokenizer = new_student(shape, checkpoint, context) if shape else load_student(checkpoint, context)
    pupil, objective = lesson(student, settings, context, tokenizer=tokenizer)
    features = context.task.features(context.data.train, tokenizer, labelled=True)
    train(pupil, features, context.task, settings, objective, context, tokenizer, title="distill")
    checkpoints.save(student, tokenizer, context.output)
    return Checkpoint(context.output, checkpoint.key)

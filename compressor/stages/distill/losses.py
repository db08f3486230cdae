"""The losses of distillation as pure functions: tensors in, a float32 scalar out; padding never counts.

Shapes: `mask` is [batch, length], nonzero for real tokens. Gradients flow into the student's tensors; the teacher's
are taken as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_HIDDEN_SCORE = -1e30  # of padding, in float32: its probability is exactly 0


def class_logits(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher ‖ student) of softened distributions over [..., classes], mean over the rest.

    Hinton et al. 2015, section 2; the gradient is that of the soft cross-entropy.
    """
    log_student = functional.log_softmax(student.float() / temperature, dim=-1)
    log_teacher = functional.log_softmax(teacher.float() / temperature, dim=-1)
    return _divergence(log_student, log_teacher).mean() * temperature**2


def token_logits(student: Tensor, teacher: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """`class_logits` of [batch, length, classes], mean over real tokens."""
    real = mask.bool()
    return class_logits(student[real], teacher[real], temperature)


def span_logits(student: Tensor, teacher: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """`class_logits` of one end of a span, [batch, length]: a distribution over the real positions of each row."""
    hidden = mask == 0
    return class_logits(
        student.float().masked_fill(hidden, _HIDDEN_SCORE),
        teacher.float().masked_fill(hidden, _HIDDEN_SCORE),
        temperature,
    )


def label_logits(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL of one Bernoulli distribution a label, [batch, labels], mean over both (multi-label)."""
    soft_student, soft_teacher = student.float() / temperature, teacher.float() / temperature
    probability = torch.sigmoid(soft_teacher)
    on = functional.logsigmoid(soft_teacher) - functional.logsigmoid(soft_student)
    off = functional.logsigmoid(-soft_teacher) - functional.logsigmoid(-soft_student)
    return (probability * on + (1 - probability) * off).mean() * temperature**2


def numbers(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of outputs [batch, 1] (regression); there is no distribution to soften."""
    return (student.float() - teacher.float()).square().mean()


def hidden_states(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of [batch, length, hidden] over real tokens (TinyBERT 2020, eq. 8 and 9)."""
    squared = (student.float() - teacher.float()).square().mean(dim=-1)
    return _mean_over(squared, mask)


def cosine(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """1 − cosine of [batch, length, hidden], mean over real tokens (DistilBERT 2019, section 2)."""
    return _mean_over(1 - functional.cosine_similarity(student.float(), teacher.float(), dim=-1), mask)


def attention_scores(
    student_query: Tensor, student_key: Tensor, teacher_query: Tensor, teacher_key: Tensor, mask: Tensor, heads: int
) -> Tensor:
    """Mean squared difference of the scores before the softmax (TinyBERT 2020, eq. 7).

    Projections are [batch, length, hidden], each split into `heads`; pairs of which one token is padding are
    zeroed and not counted.
    """
    student = _scores(split_heads(student_query, heads), split_heads(student_key, heads))
    teacher = _scores(split_heads(teacher_query, heads), split_heads(teacher_key, heads))
    squared = (student - teacher).square().mean(dim=1)
    real = mask != 0
    return _mean_over(squared, real.unsqueeze(1) & real.unsqueeze(2))


def attention_distributions(
    student_query: Tensor, student_key: Tensor, teacher_query: Tensor, teacher_key: Tensor, mask: Tensor, heads: int
) -> Tensor:
    """KL(teacher ‖ student) of the attention probabilities, mean over heads and real queries (MiniLM 2020, eq. 5).

    Projections are [batch, length, hidden], each split into `heads`.
    """
    student = _scores(split_heads(student_query, heads), split_heads(student_key, heads))
    teacher = _scores(split_heads(teacher_query, heads), split_heads(teacher_key, heads))
    return _relation_divergence(student, teacher, mask)


def relation(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """KL(teacher ‖ student) of softmax(X·Xᵀ/√d), mean over heads and real queries.

    X is a projection [batch, length, hidden] split into `heads` of size d; the widths of teacher and student may
    differ. Values with the attention heads: MiniLM 2020, eq. 6 and 7. Queries, keys and values with any number of
    relation heads: MiniLMv2 2021, eq. 3 to 6.
    """
    own, other = split_heads(student, heads), split_heads(teacher, heads)
    return _relation_divergence(_scores(own, own), _scores(other, other), mask)


def split_heads(projection: Tensor, heads: int) -> Tensor:
    """[batch, length, hidden] to [batch, heads, length, hidden / heads]."""
    batch, length, hidden = projection.shape
    return projection.view(batch, length, heads, hidden // heads).transpose(1, 2)


def _scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Scaled products [batch, heads, length, length] in float32; each operand is scaled so that none overflows."""
    scale = queries.shape[-1] ** -0.25
    return torch.matmul(queries * scale, (keys * scale).transpose(-1, -2)).float()


def _relation_divergence(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    hidden = (mask == 0)[:, None, None, :]
    log_student = functional.log_softmax(student.masked_fill(hidden, _HIDDEN_SCORE), dim=-1)
    log_teacher = functional.log_softmax(teacher.masked_fill(hidden, _HIDDEN_SCORE), dim=-1)
    return _mean_over(_divergence(log_student, log_teacher).mean(dim=1), mask)


def _divergence(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    return functional.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=-1)


def _mean_over(values: Tensor, mask: Tensor) -> Tensor:
    real = (mask != 0).to(values.dtype)
    return (values * real).sum() / real.sum().clamp(min=1)

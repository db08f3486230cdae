"""What of the student is held against what of the teacher; impossible wishes are refused before training."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.errors import RequestError
from compressor.stages.distill.layer_map import layer_pairs
from compressor.stages.distill.parts import Part, Shape
from compressor.stages.distill.settings import DistillSettings


@dataclass(frozen=True)
class Matching:
    """Layers as (student, teacher), counted from 1; `heads` of each layer, `relation_heads` of the relations."""

    weights: dict[str, float]  # of the losses that are switched on
    pairs: list[tuple[int, int]]  # `attention`
    hidden_pairs: list[tuple[int, int]]  # `hidden`; (0, 0) are the embeddings
    last: tuple[int, int]  # `cosine`
    source: tuple[int, int]  # `minilm`, `relations`
    heads: tuple[int, ...]  # [teacher's layers]
    relation_heads: int

    def parts(self) -> list[tuple[Part, Part]]:
        """(student part, teacher part) that the losses compare."""
        hidden = self.hidden_pairs if "hidden" in self.weights else []
        if "cosine" in self.weights:
            hidden = [*hidden, self.last]
        products = self.pairs if "attention" in self.weights else []
        if {"minilm", "relations"} & self.weights.keys():
            products = [*products, self.source]
        parts = [(Part("hidden", own), Part("hidden", other)) for own, other in hidden]
        for own, other in products:
            parts += [(Part("query", own), Part("query", other)), (Part("key", own), Part("key", other))]
        if {"minilm", "relations"} & self.weights.keys():
            parts.append((Part("value", self.source[0]), Part("value", self.source[1])))
        return parts


def match(settings: DistillSettings, student: Shape, teacher: Shape) -> Matching:
    """Find the partners; raises `RequestError` for what cannot be done with these two models."""
    weights = {name: weight for name, weight in settings.weights().items() if weight > 0}
    inside = sorted(weights.keys() - {"labels", "logits"})
    if inside and not (student.layers and teacher.layers):
        who = "teacher" if student.layers else "student"
        raise RequestError(
            f"distill: '{inside[0]}' compares what happens inside of transformer layers, and the {who} has none: "
            "learn from `logits` and `labels` alone."
        )
    needs_map = {"hidden", "attention"} & weights.keys()
    pairs = layer_pairs(settings.layer_map, student.layers, teacher.layers) if needs_map else []
    source = teacher.layers if settings.teacher_layer == "last" else settings.teacher_layer
    if source > teacher.layers:
        raise RequestError(f"distill: teacher_layer {source} does not exist; the teacher has {teacher.layers} layers.")
    for loss, compared in (("attention", pairs), ("minilm", [(student.layers, source)])):
        for own, other in compared if loss in weights else []:
            if student.heads[own - 1] != teacher.heads[other - 1]:
                raise RequestError(
                    f"distill: '{loss}' compares attention heads one by one, but the student has "
                    f"{student.heads[own - 1]} and the teacher {teacher.heads[other - 1]} (layers {own} and {other}). "
                    "Use `relations`, which needs no match."
                )
    if "cosine" in weights and student.hidden_size != teacher.hidden_size:
        raise RequestError(
            f"distill: 'cosine' needs equal widths, but the student's is {student.hidden_size} and the teacher's "
            f"{teacher.hidden_size}. Use `hidden`, which learns a projection."
        )
    relation_heads = settings.relation_heads or (teacher.heads[source - 1] if teacher.layers else 1)
    if "relations" in weights:
        for who, widths, layer in (
            ("student", student.attention, student.layers),
            ("teacher", teacher.attention, source),
        ):
            width = widths[layer - 1]
            if width % relation_heads:
                raise RequestError(
                    f"distill: relation_heads {relation_heads} does not divide the {who}'s width {width}"
                    + (f" (layers of unlike widths: {widths})." if len(set(widths)) > 1 else ".")
                    + " Give relation_heads that divide the width of one head: then they divide any number of heads."
                )
    return Matching(
        weights=weights,
        pairs=pairs,
        hidden_pairs=[(0, 0), *pairs],
        last=(student.layers, teacher.layers),
        source=(student.layers, source),
        heads=teacher.heads,
        relation_heads=relation_heads,
    )

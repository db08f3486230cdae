"""What a student of uneven width can learn from its teacher, and what is refused before any training."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.errors import RequestError
from compressor.models.kinds.widths import with_widths
from compressor.models.structure import Widths
from compressor.stages.distill.matching import match
from compressor.stages.distill.parts import Shape
from compressor.stages.distill.settings import DistillSettings

TEACHER: dict[str, Any] = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
STUDENT = with_widths(TEACHER, Widths(heads=[4, 3], feed_forward=[64, 8], head_size=8))


@pytest.mark.parametrize("loss", ["attention", "minilm"])
def test_heads_that_have_no_partner_are_refused(loss: str) -> None:
    settings = DistillSettings(**{loss: 1.0})  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"student has 3 and the teacher 4 \(layers 2 and 2\). Use `relations`"):
        match(settings, Shape.of(STUDENT), Shape.of(TEACHER))
    fuller = with_widths(TEACHER, Widths(heads=[4, 4], feed_forward=[64, 8], head_size=8))
    assert match(settings, Shape.of(fuller), Shape.of(TEACHER)).heads == (4, 4)


def test_relations_split_the_width_that_is_left() -> None:
    with pytest.raises(RequestError, match="relation_heads 16 does not divide the student's width 24"):
        match(DistillSettings(relations=1.0, relation_heads=16), Shape.of(STUDENT), Shape.of(TEACHER))
    found = match(DistillSettings(relations=1.0, relation_heads=8), Shape.of(STUDENT), Shape.of(TEACHER))
    assert found.relation_heads == 8 and found.source == (2, 2)


def test_hidden_states_need_no_heads() -> None:
    assert match(DistillSettings(hidden=1.0), Shape.of(STUDENT), Shape.of(TEACHER)).hidden_pairs[-1] == (2, 2)

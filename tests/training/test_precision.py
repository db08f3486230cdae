"""The choice of the number format."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from compressor.training import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "fast"),
    [({"avx512f", "avx512_bf16"}, True), ({"amx_bf16"}, True), ({"asimd", "bf16"}, True), ({"avx2", "f16c"}, False)],
)
def test_bfloat16_is_fast_where_the_cpu_has_instructions_for_it(flags: set[str], fast: bool) -> None:
    assert precision.fast_bfloat16(CPU, frozenset(flags)) is fast


@pytest.mark.parametrize(("fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto(monkeypatch: pytest.MonkeyPatch, fast: bool, expected: torch.dtype) -> None:
    monkeypatch.setattr(precision, "fast_bfloat16", lambda device: fast)
    with precision.autocast("auto", CPU):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == expected


def test_float32_is_left_alone() -> None:
    assert isinstance(precision.autocast("float32", CPU), nullcontext)

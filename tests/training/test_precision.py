"""The choice of the number format."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

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


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16\nbogomips: 1\n", {"fpu", "avx512_bf16"}),
        ("processor\t: 0\nFeatures\t: asimd bf16\n", {"asimd", "bf16"}),
        ("nothing of this kind\n", set()),
    ],
)
def test_flags_of_x86_and_arm(tmp_path: Path, text: str, flags: set[str]) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert precision.cpu_flags(tmp_path / "cpuinfo") == flags


def test_a_system_without_cpuinfo(tmp_path: Path) -> None:
    assert precision.cpu_flags(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(("fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto(monkeypatch: pytest.MonkeyPatch, fast: bool, expected: torch.dtype) -> None:
    monkeypatch.setattr(precision, "fast_bfloat16", lambda device: fast)
    with precision.autocast("auto", CPU):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == expected


def test_float32_is_left_alone() -> None:
    assert isinstance(precision.autocast("float32", CPU), nullcontext)

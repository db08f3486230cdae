"""What the machine multiplies with, found without torch; the GPU is torch's only if torch is built for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compressor import processor
from compressor.config.training import TrainingSettings
from compressor.keys import precision
from compressor.training.precision import training_device

CUDA, CPU = "cuda: Optional[str] = '12.6'\nhip: Optional[str] = None\n", "cuda: Optional[str] = None\nhip = None\n"


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
    assert processor.cpu_flags(tmp_path / "cpuinfo") == flags


def test_a_system_without_cpuinfo(tmp_path: Path) -> None:
    assert processor.cpu_flags(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(
    ("node", "version", "visible", "seen"),
    [
        ("nvidia0", CUDA, None, True),
        ("nvidia0", CUDA, "1", True),
        ("nvidia0", CPU, None, False),
        ("nvidia0", "", None, False),
        ("nvidia0", CUDA, "", False),
        ("nvidia0", CUDA, "-1", False),
        ("nvidiactl", CUDA, None, False),
        ("nvhost-gpu", CUDA, None, True),
        ("kfd", "cuda: Optional[str] = None\nhip: Optional[str] = '6.1'", None, True),
    ],
)
def test_a_gpu_counts_if_torch_can_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str, version: str, visible: str | None, seen: bool
) -> None:
    (tmp_path / node).touch()
    monkeypatch.setattr(processor, "_torch_version", lambda: version)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert processor.torch_sees_gpu(tmp_path) is seen


def test_the_torch_that_is_installed_is_read() -> None:
    assert processor.built_for_gpu(processor._torch_version()) is bool(torch.version.cuda or torch.version.hip)
    assert processor.torch_sees_gpu() is (training_device().type == "cuda")


@pytest.mark.parametrize(
    ("gpu", "flags", "said"),
    [(True, {"bf16"}, "gpu"), (False, {"amx_bf16"}, "bfloat16"), (False, {"avx2"}, "float32")],
)
def test_the_precision_of_a_key(monkeypatch: pytest.MonkeyPatch, gpu: bool, flags: set[str], said: str) -> None:
    monkeypatch.setattr(processor, "torch_sees_gpu", lambda: gpu)
    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset(flags))

    assert precision(TrainingSettings()) == said
    assert precision(TrainingSettings(precision="float32")) == "float32"
    assert precision(object()) is None

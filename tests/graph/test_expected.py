"""The size that is foretold from JSON alone, against files that the passes really write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compressor.config.device import DeviceProfile, NumberFormat, Provider
from compressor.config.run import TaskName
from compressor.config.schema import parse
from compressor.graph.context import PassContext
from compressor.graph.expected import Expected
from compressor.graph.registry import pass_spec, run_pass
from compressor.models import checkpoint as checkpoints
from compressor.models.config_file import read_config
from compressor.models.kinds.low_rank import make_embedding_rank, make_low_rank
from compressor.models.structure import EmbeddingRank, LowRank
from compressor.plan import make_plan
from compressor.progress import Silent
from compressor.stages.context import Checkpoint
from compressor.teacher import teacher_config
from tests.graph.exported import NoTokenizer, config_of, export_model, task_of
from tests.tiny import request

TASK: TaskName = "text-classification"
SIZES = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2, "vocab_size": 8000}
Passes = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints with their exported graphs: stock, and with narrow embeddings and narrow matrices."""
    folder = tmp_path_factory.mktemp("sizes")
    stock = checkpoints.build({**config_of("bert"), **SIZES}, task_of(TASK), seed=3)
    checkpoints.save(stock, NoTokenizer(), folder / "stock")  # type: ignore[arg-type]
    ranks = {f"bert.encoder.layer.{layer}.intermediate.dense": 64 for layer in range(2)}
    narrow = make_low_rank(make_embedding_rank(stock, EmbeddingRank(rank=63)), LowRank(ranks=ranks))
    checkpoints.save(narrow, NoTokenizer(), folder / "narrow")  # type: ignore[arg-type]
    for name in ("stock", "narrow"):
        export_model(folder / name, task_of(TASK))
    return {name: folder / name for name in ("stock", "narrow")}


def device(number_format: NumberFormat = "dynamic_int8") -> DeviceProfile:
    return DeviceProfile(
        name="here", description="", providers=[Provider(name="CPUExecutionProvider")], number_format=number_format
    )


def written(folder: Path, passes: Passes, profile: DeviceProfile, target: Path) -> tuple[float, int]:
    """The bytes that are expected of a graph and those that its file has."""
    context = PassContext(
        task=task_of(TASK), data=SimpleNamespace(calibration=()), tokenizer=SimpleNamespace(),
        checkpoint=Checkpoint(folder, "key"), device=profile, seed=0, progress=Silent(),
    )  # type: ignore[arg-type]  # fmt: skip
    source, parsed = folder / "exported.onnx", []
    for number, (name, values) in enumerate(passes):
        spec = pass_spec(name)
        settings = parse(spec.load_settings(), values, where=f"recipe.passes.{name}")
        parsed.append((name, settings))
        source = run_pass(spec, source, target.with_name(f"{number}.onnx"), settings, context).path
    expected = Expected(read_config(folder), TASK, parsed, profile, opset=17)
    return expected.bytes(), source.stat().st_size


ROWS: Passes = [("fuse", {})]
MERGED: Passes = [("fuse", {"layout": "onnxruntime"})]


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("stock", ROWS),
        ("stock", [*ROWS, ("quantize", {})]),
        ("stock", [*ROWS, ("quantize", {"embeddings": "keep", "per_channel": False})]),
        ("stock", [*ROWS, ("quantize", {"embeddings": "int4"})]),
        ("stock", [*MERGED, ("quantize", {})]),
        ("stock", [*ROWS, ("quantize_weights", {"embeddings": "int4", "block_size": 128})]),
        ("stock", [*ROWS, ("quantize_weights", {"block_size": 32, "symmetric": False})]),
        ("stock", [*ROWS, ("quantize_weights", {"block_size": 32, "backend": "nncf", "embeddings": "keep"})]),
        ("stock", [*ROWS, ("quantize_weights", {"bits": 8})]),
        ("stock", [*MERGED, ("quantize_weights", {})]),
        ("stock", [*ROWS, ("cast", {})]),
        ("narrow", [*ROWS, ("quantize", {"embeddings": "int4"})]),
        ("narrow", [*ROWS, ("quantize_weights", {})]),
    ],
)
def test_a_file_is_as_large_as_foretold(name: str, passes: Passes, folders: dict[str, Path], tmp_path: Path) -> None:
    expected, size = written(folders[name], passes, device(), tmp_path / "out.onnx")
    assert size == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("number_format", ["float16", "float32"])
def test_the_number_format_of_the_device(number_format: NumberFormat, folders: dict[str, Path], tmp_path: Path) -> None:
    passes: Passes = [*ROWS, ("quantize", {})]
    expected, size = written(folders["stock"], passes, device(number_format), tmp_path / "out.onnx")
    assert size == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("embeddings", ["auto", "int4"])
def test_plan_says_it(embeddings: str, tmp_path: Path) -> None:
    words = ["recipe.tasks=[text-classification]", f"recipe.passes.quantize_weights.embeddings={embeddings}"]
    asked = request("int4", tmp_path, "device=x86_avx512", f"task={TASK}", *words)
    passes = [(entry.spec.name, entry.settings) for entry in asked.passes]
    size = Expected(teacher_config(asked), TASK, passes, asked.device, asked.opset).bytes()
    assert f"about {size / 1e6:.1f} MB" in make_plan(asked).facts["artifact"]

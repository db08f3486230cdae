"""Every recipe, end to end on the embedded demo with tiny settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from compressor.artifact.verify import verify
from compressor.models.dial import token_counts
from compressor.pipeline import run
from compressor.report.details import tokens_by_layer
from compressor.request.folders import choices
from tests.tiny import request

DEVICES = {"qualaminilm": "jetson", "int8": "x86_avx512", "minilm": "raspberry_pi_4"}
DIALLED = ("length_adaptive", "power_bert")
TASKS = ["question-answering", "text-classification", "token-classification"]


def pairs() -> list[tuple[str, str]]:
    """Every recipe with every task that it can do and that the demo has."""
    return [
        (recipe, task)
        for recipe, file in sorted(choices("recipe").items())
        for task in yaml.safe_load(file.read_text()).get("tasks", TASKS)
        if task in TASKS and (recipe, task) != ("deformer", "text-classification")  # the demo's texts are no pairs
    ]


@pytest.mark.parametrize(("recipe", "task"), pairs())
def test_a_recipe_gives_a_sound_artifact_of_every_task(recipe: str, task: str, exports: Path) -> None:
    device = DEVICES.get(recipe, "host")
    asked = request(recipe, exports, f"task={task}", f"device={device}", "export_each_stage=false")

    outcome = run(asked)

    manifest = verify(outcome.artifact).manifest
    assert outcome.artifact == exports / asked.place
    assert manifest.task == task
    assert [row.name for row in manifest.stages] == ["teacher", "artifact"]
    assert list(manifest.request["recipe"]["stages"]) == [entry.key for entry in asked.stages]
    assert (manifest.dial is not None) == any(entry.spec.name in DIALLED for entry in asked.stages)
    assert (manifest.depth is not None) == any(entry.spec.name == "adaptive_depth" for entry in asked.stages)
    assert manifest.parity is not None and manifest.parity["max_abs"] <= asked.export.parity_tolerance
    if manifest.dial is not None:
        assert manifest.dial.examples
        for example in manifest.dial.examples:
            counts = token_counts(len(example.tokens), manifest.dial.default, manifest.dial.minimum)
            assert tokens_by_layer(example, manifest.dial.layers) == counts
    if manifest.depth is not None:
        assert manifest.depth.full_macs is not None and manifest.depth.mean_macs is not None
        assert manifest.depth.full_macs >= manifest.depth.mean_macs == manifest.stages[-1].macs
    assert (manifest.halves is not None) == (recipe == "deformer")
    if manifest.halves is not None:
        assert (
            manifest.halves.same >= 0.5
            and sum(manifest.halves.sizes.values()) < 1.1 * (outcome.artifact / "model.onnx").stat().st_size
        )
        (found,) = [entry for entry in manifest.measurements if entry.name.startswith("latency p50 where")]
        assert found.value is not None and found.value > 0
    teacher, artifact = manifest.stages
    assert artifact.size_bytes is not None and teacher.size_bytes is not None
    assert artifact.size_bytes < teacher.size_bytes

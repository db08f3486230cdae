"""Every recipe, end to end on the embedded demo with tiny settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.artifact.manifest import read
from compressor.artifact.verify import verify
from compressor.pipeline import run
from compressor.request.folders import choices
from tests.tiny import request

DEVICES = {"qualaminilm": "jetson", "int8": "x86_avx512", "minilm": "raspberry_pi_4"}
TASKS = {"length_adaptive": "token-classification", "distilbert": "text-classification"}


@pytest.mark.parametrize("recipe", sorted(choices("recipe")))
def test_a_recipe_gives_a_sound_artifact(recipe: str, exports: Path) -> None:
    more = [f"device={DEVICES.get(recipe, 'host')}", "export_each_stage=false"]
    if recipe in TASKS:
        more.append(f"task={TASKS[recipe]}")
    asked = request(recipe, exports, *more)

    outcome = run(asked)

    manifest = verify(outcome.artifact).manifest
    assert outcome.artifact == exports / asked.place
    assert [row.name for row in manifest.stages] == ["teacher", "artifact"]
    assert list(manifest.request["recipe"]["stages"]) == [entry.key for entry in asked.stages]
    assert (manifest.dial is not None) == any(entry.spec.name == "length_adaptive" for entry in asked.stages)
    assert manifest.parity is not None and manifest.parity["max_abs"] <= asked.export.parity_tolerance


@pytest.mark.parametrize("task", ["question-answering", "text-classification", "token-classification"])
def test_int8_does_every_task(task: str, exports: Path) -> None:
    outcome = run(request("int8", exports, f"task={task}", "device=host", "export_each_stage=false"))

    manifest = read(outcome.artifact)
    teacher, artifact = manifest.stages
    assert manifest.task == task
    assert artifact.size_bytes is not None and teacher.size_bytes is not None
    assert artifact.size_bytes < teacher.size_bytes

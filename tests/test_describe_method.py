"""The verb `describe` of stages, passes and recipes, and what it reads out of their settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from compressor.cli import main
from compressor.config.fields import SettingLine, setting_lines
from compressor.graph.registry import PASSES
from compressor.stages.adaptive_depth.settings import AdaptiveDepthSettings
from compressor.stages.distill.settings import DistillSettings
from compressor.stages.registry import STAGES
from tests.test_describe import said


def line(cls: type, name: str) -> SettingLine:
    return next(entry for entry in setting_lines(cls) if entry.name == name)


def test_type_default_and_the_comment_beside_it() -> None:
    assert line(AdaptiveDepthSettings, "method") == SettingLine("method", "dact | deebert | pabee", "dact", "")
    assert line(AdaptiveDepthSettings, "exits") == SettingLine(
        "exits", "list of (whole number at least 1) | null", "null",
        "behind which layers, from 1; null: every one but the last. Fewer cost less",
    )  # fmt: skip
    assert line(AdaptiveDepthSettings, "warmup").kind == "number at least 0, at most 1"
    assert line(AdaptiveDepthSettings, "epochs").default == "3.0", "its own default, not that of all training"
    assert line(AdaptiveDepthSettings, "learning_rate").comment == "of the encoder and its head"
    assert line(DistillSettings, "learning_rate").comment == "peak", "inherited"
    assert line(DistillSettings, "teachers").default == "[]"
    assert line(DistillSettings, "augment.mask").default == "0.1", "what a mapping holds"


@pytest.mark.parametrize("spec", [*STAGES.values(), *PASSES.values()], ids=lambda spec: spec.name)
def test_every_setting_of_every_method_is_told(spec) -> None:
    cls = spec.load_settings()
    lines = list(setting_lines(cls))
    assert {field.name for field in dataclasses.fields(cls)} <= {entry.name for entry in lines}
    assert len({entry.name for entry in lines}) == len(lines)
    assert all(entry.kind and "[" not in entry.kind for entry in lines), [entry.kind for entry in lines]


def test_a_stage_and_a_pass(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "describe", "adaptive_depth")
    for words in ("stage adaptive_depth: exits", "for text-classification, text-regression",
                  "tau number at least 0 0.03", "recipe.stages.adaptive_depth.SETTING=VALUE"):  # fmt: skip
        assert words in text
    text = said(capsys, "describe", "search_lengths")
    assert "pass search_lengths: evolutionary search" in text and "recipe.passes.search_lengths.SETTING" in text


def test_a_name_that_a_stage_and_a_recipe_share(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "describe", "length_adaptive")
    assert "stage length_adaptive:" in text and "recipe length_adaptive:" in text


def test_a_recipe_of_ours_and_one_of_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "describe", "tinybert")
    assert "recipe tinybert: " in text and "stage prediction learn from the teacher" in text and "tinybert.yaml" in text
    assert "keep: every_other # student layer i is teacher layer 2i" in said(capsys, "describe", "qualaminilm")
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("description: my own\nstages:\n  odd: {stage: none}  # a note\n")
    text = said(capsys, "describe", "mine", "--config-dir", str(tmp_path))
    assert "recipe mine: my own" in text and "# a note" in text
    (tmp_path / "recipe" / "mine.yaml").write_text("a: [")
    assert main(["describe", "mine", "--config-dir", str(tmp_path)]) == 2
    assert "cannot be read as YAML" in capsys.readouterr().err

"""What an artifact says of its exits, and how its depth dial is turned."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline

from compressor.artifact import card
from compressor.artifact.depth_table import EXAMPLES, make_depth
from compressor.artifact.manifest import read
from compressor.artifact.predictor import Predictor
from compressor.errors import DialError, RequestError
from compressor.models.structure import AdaptiveDepth
from compressor.pipeline import run
from compressor.progress import Silent
from compressor.report.page import render_run
from compressor.revalidate import revalidate
from tests.tiny import request


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(
        request("pabee", tmp_path_factory.mktemp("exports"), "device=host", "export_each_stage=false", "measure.runs=8")
    ).artifact


def test_the_manifest_counts_the_layers_of_every_text(artifact: Path) -> None:
    depth = read(artifact).depth
    assert depth is not None
    assert (depth.method, depth.input, depth.kind) == ("pabee", "patience", "optional")
    assert depth.default in [row.setting for row in depth.settings]
    texts = sum(depth.histogram)
    assert texts == read(artifact).data["examples"]["dev"]
    blocks = [number * count for number, count in enumerate(depth.histogram, start=1)]
    assert depth.mean_blocks == pytest.approx(sum(blocks) / texts)
    assert len(depth.late) == EXAMPLES and len(depth.early) == min(EXAMPLES, sum(depth.histogram[:-1]))
    assert all(example.blocks < depth.layers for example in depth.early)


def test_speed_is_that_of_texts_of_all_depths(artifact: Path) -> None:
    manifest = read(artifact)
    speed, depth = manifest.speed["artifact"], manifest.depth
    assert depth is not None
    assert speed["inputs"] == speed["runs"] == 8  # each of the held-out texts
    assert speed["layers_run"] == pytest.approx(depth.mean_blocks)
    assert manifest.speed["teacher"]["inputs"] == 8 and manifest.speed["teacher"]["length"] == speed["length"]
    how = next(one.how for one in manifest.measurements if one.name == "latency p50")
    assert how.startswith(
        f"8 held-out texts in turn ({speed['length']} tokens in the mean) that ran {speed['layers_run']:.2f} layers"
    )
    assert f"ran {speed['layers_run']:.2f} layers" in (artifact / "README.md").read_text(encoding="utf-8")
    report = (artifact / "report.html").read_text(encoding="utf-8")
    assert f"measured with ran\n  {speed['layers_run']:.2f}" in report


def test_measuring_anew_takes_the_same_texts(artifact: Path) -> None:
    mean = f"{read(artifact).depth.mean_blocks:.2f}"  # type: ignore[union-attr]
    lines = revalidate(artifact, [], [], Silent()).lines
    assert ("layers run by what was timed", mean, mean) in lines


def test_card_and_report_tell_of_it(artifact: Path) -> None:
    depth = read(artifact).depth
    assert depth is not None
    for name in ("README.md", "report.html"):
        text = (artifact / name).read_text(encoding="utf-8")
        assert "The depth dial" in text and "patience" in text
    assert depth.late[0].text[:20] in (artifact / "report.html").read_text(encoding="utf-8")


def test_the_dial_is_turned_at_every_call_or_for_all(artifact: Path) -> None:
    text = read(artifact).depth.late[0].text  # type: ignore[union-attr]
    predictor = Predictor(artifact)
    layers = predictor.manifest.depth.layers  # type: ignore[union-attr]
    assert predictor(text, depth=1)["blocks_run"] <= predictor(text)["blocks_run"]
    assert predictor(text, depth=100)["blocks_run"] == layers
    assert Predictor(artifact, depth=100)(text)["blocks_run"] == layers


@pytest.mark.parametrize("value", [0, 1.5, -1, float("nan"), "often"])
def test_impossible_values_are_refused(artifact: Path, value: object) -> None:
    with pytest.raises(DialError, match="depth ="):
        Predictor(artifact, depth=value)  # type: ignore[arg-type]


def test_the_sample_takes_it(artifact: Path) -> None:
    command = [sys.executable, str(artifact / "sample.py"), "--text", "a fine film", "--depth"]
    done = subprocess.run([*command, "100"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["blocks_run"] == read(artifact).depth.layers  # type: ignore[union-attr]
    wrong = subprocess.run([*command, "0.5"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "patience" in wrong.stderr


def test_pipeline_cuts_a_long_text_as_predictor_does_and_onnxruntime_turns_the_dial(artifact: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(artifact)
    model = ORTModelForSequenceClassification.from_pretrained(artifact)
    long = "where is my parcel and when does it come " * 200
    (theirs,) = pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True)(long)
    ours = Predictor(artifact)(long)
    assert theirs["label"] == ours["label"] and theirs["score"] == pytest.approx(ours["score"], abs=1e-4)
    session = onnxruntime.InferenceSession(artifact / "model.onnx")
    inputs = tokenizer("where is my parcel", return_tensors="np")
    names = [value.name for value in session.get_outputs()]
    for patience in (1.0, 100.0):
        outputs = session.run(None, {**inputs, "patience": np.array([patience], np.float32)})
        expected = Predictor(artifact)("where is my parcel", depth=patience)["blocks_run"]
        assert outputs[names.index("blocks_run")].tolist() == [expected]


def test_short_texts_come_first_among_equals_and_long_ones_are_cut() -> None:
    depth = make_depth(
        AdaptiveDepth(method="dact", setting=0),
        kind="optional",
        default=0.5,
        rows=[{"setting": 0.5, "metric": 90.0, "mean_blocks": 1.5}],
        layers=3,
        blocks=[3, 1, 1],
        texts=["c", "b" * 300, "a"],
    )
    assert [example.text[0] for example in depth.early] == ["a", "b"], "c ran all layers"
    assert depth.saves
    assert depth.late[0].text == "c"
    assert len(depth.early[1].text) == 160
    assert depth.default == 0.5 and depth.settings[0].mean_blocks == 1.5
    assert depth.histogram == [2, 0, 1]
    assert depth.mean_blocks == pytest.approx(5 / 3)


def test_a_dial_that_saves_nothing_says_so(artifact: Path) -> None:
    manifest = read(artifact)
    depth = make_depth(
        AdaptiveDepth(method="pabee", setting=2),
        kind="optional", default=2.0, rows=[], layers=3, blocks=[3, 3], texts=["one", "two"],
    )  # fmt: skip
    assert depth.early == [] and not depth.saves and depth.mean_blocks == 3
    manifest = dataclasses.replace(manifest, depth=depth)
    assert "Nothing stopped early at this value: every held-out text ran all layers." in card.render(manifest, 1)
    page = render_run(manifest)
    assert "Nothing stopped early" in page and "Stopped early" not in page and "Ran the most layers" in page
    older = dataclasses.replace(depth, early=depth.late)  # as pages of earlier versions had it
    assert "Stopped early" not in render_run(dataclasses.replace(manifest, depth=older))


def test_stages_that_would_ignore_the_exits_are_refused_before_any_work(tmp_path: Path) -> None:
    asked = request("pabee", tmp_path, "+recipe.stages.finetune={stage: finetune, epochs: 1}")
    with pytest.raises(RequestError, match="Put adaptive_depth behind"):
        run(asked)

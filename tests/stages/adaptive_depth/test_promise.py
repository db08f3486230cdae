"""DACT's promise on real traces: a trained classifier that stops early predicts what all of its layers predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from compressor.config.run import DataSettings, FeatureSettings
from compressor.data import demo_teacher, load
from compressor.graph.dial import NEVER
from compressor.graph.export import export
from compressor.models import checkpoint
from compressor.progress import Silent
from compressor.stages.adaptive_depth import stage
from compressor.stages.adaptive_depth.settings import AdaptiveDepthSettings
from compressor.stages.context import Checkpoint, StageContext
from compressor.tasks import make_task
from tests.stages.distill.conftest import make_context

SEED = 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The demo's teacher with exits, trained at a high price: the model, its graph, and held-out texts as ids."""
    folder = tmp_path_factory.mktemp("promise")
    data = load(DataSettings(source="demo", demo_train=400, demo_dev=120), "text-classification", SEED)
    task = make_task("text-classification", FeatureSettings(max_length=64), data.labels)
    teacher = Checkpoint(demo_teacher("text-classification", folder / "teacher"), "teacher")
    profile = make_context(folder / "unused", task, teacher).device
    output, work = folder / "student", folder / "work"
    for place in (output, work):
        place.mkdir()
    context = StageContext(task, data, teacher, profile, SEED, output, work, Silent())
    settings = AdaptiveDepthSettings(method="dact", tau=0.3, epochs=3.0, batch_size=16, learning_rate=3e-4)
    student = stage.run(teacher, settings, context)
    export(student, task, folder / "model.onnx", opset=17, dial="optional")
    tokenizer = checkpoint.load_tokenizer(student.path)
    texts = [feature.inputs["input_ids"] for feature in task.features(data.dev, tokenizer, labelled=False)]
    return checkpoint.load(student.path, task), folder / "model.onnx", texts


def answers(model: Any, texts: list[list[int]], setting: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits [texts, classes] and layers run [texts], each text by itself."""
    with torch.no_grad():
        said = [model(torch.tensor([text]), setting=setting) for text in texts]
    return np.concatenate([each.logits for each in said]), np.concatenate([each.blocks_run for each in said])


def graph_answers(path: Path, texts: list[list[int]], setting: float) -> tuple[np.ndarray, np.ndarray]:
    """The same from the graph."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    known = {entry.name for entry in session.get_inputs()}
    logits, blocks = [], []
    for text in texts:
        ids = np.asarray([text])
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        feed = {name: value for name, value in feed.items() if name in known}
        said = session.run(["logits", "blocks_run"], {**feed, "margin": np.asarray([setting], np.float32)})
        logits.append(said[0])
        blocks.append(said[1])
    return np.concatenate(logits), np.concatenate(blocks)


def test_margin_0_predicts_what_all_layers_predict(trained: Any) -> None:
    model, path, texts = trained
    for run, source in ((answers, model), (graph_answers, path)):
        early, blocks = run(source, texts, 0.0)
        full, all_blocks = run(source, texts, NEVER["dact"])
        assert early.argmax(-1).tolist() == full.argmax(-1).tolist()
        assert blocks.mean() < all_blocks.mean() == all_blocks.max()  # or nothing was promised


@pytest.mark.parametrize("margin", [0.0, 0.5, 0.9])
def test_the_graph_stops_where_pytorch_stops(trained: Any, margin: float) -> None:
    model, path, texts = trained
    expected, blocks = answers(model, texts, margin)
    logits, graph_blocks = graph_answers(path, texts, margin)
    same = graph_blocks == blocks
    assert same.mean() > 0.98  # the others lie within rounding of the bound
    np.testing.assert_allclose(logits[same], expected[same], atol=1e-4)
    assert onnx.load(path).graph.output[-1].name == "blocks_run"

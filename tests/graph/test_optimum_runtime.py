"""A length-adaptive graph in Optimum's classes and transformers' pipeline, which know nothing of the dial."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertTokenizerFast, pipeline

from compressor.graph import dial
from compressor.graph.export import export
from compressor.models import checkpoint
from compressor.models.kinds.adaptive_depth import make_adaptive_depth
from compressor.models.structure import AdaptiveDepth
from compressor.stages.context import Checkpoint
from tests.graph.exported import (
    NoTokenizer,
    adaptive_settings,
    config_of,
    export_model,
    fuse,
    inputs_of,
    masks,
    run_graph,
    save_model,
    task_of,
)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "a", "mat", "who", "?", "."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as an artifact has it: the graph, a stock `config.json` and a tokenizer."""
    work, task = tmp_path_factory.mktemp("work"), task_of("question-answering")
    save_model(work, "bert", task, adaptive_settings("question-answering"))
    fused = fuse(export_model(work, task), work).path
    target = tmp_path_factory.mktemp("artifact")
    shutil.copy(fused, target / "model.onnx")
    config = {**config_of("bert"), "architectures": ["BertForQuestionAnswering"]}
    (target / "config.json").write_text(json.dumps(config))
    (target / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(target / "vocab.txt")).save_pretrained(str(target))
    return target


def test_optimum_runs_the_default_setting(folder: Path) -> None:
    from optimum.onnxruntime import ORTModelForQuestionAnswering

    inputs = inputs_of(masks()["padding on the right"])
    results = []
    for keep in ([1.0, 1.0, 1.0], [0.6, 0.4, 0.2]):
        dial.set_default(folder / "model.onnx", keep)
        model = ORTModelForQuestionAnswering.from_pretrained(str(folder))
        outputs = model(**inputs)
        results.append(np.asarray(outputs["start_logits"]))
    expected = run_graph(folder / "model.onnx", inputs, [1.0, 1.0, 1.0])[0]
    assert np.abs(results[0] - expected).max() < 1e-5
    assert np.abs(results[0] - results[1]).max() > 1e-3


def test_a_pipeline_answers(folder: Path) -> None:
    from optimum.onnxruntime import ORTModelForQuestionAnswering

    model = ORTModelForQuestionAnswering.from_pretrained(str(folder))
    tokenizer = BertTokenizerFast.from_pretrained(str(folder))
    context = "the cat sat on a mat ."
    answer = pipeline("question-answering", model=model, tokenizer=tokenizer)(question="who ?", context=context)
    assert answer["answer"] in context and answer["answer"]


def test_a_pipeline_classifies_with_a_graph_that_stops_early(tmp_path: Path) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification

    task = task_of("text-classification")
    save_model(tmp_path, "bert", task, None)
    model = make_adaptive_depth(checkpoint.load(tmp_path, task), AdaptiveDepth(method="deebert", setting=9.0))
    checkpoint.save(model, NoTokenizer(), tmp_path)  # type: ignore[arg-type]
    target = tmp_path / "artifact"
    export(Checkpoint(tmp_path, "key"), task, target / "model.onnx", opset=17, dial="optional")
    labels = {str(number): label for number, label in enumerate(task.labels)}
    config = {**config_of("bert"), "architectures": ["BertForSequenceClassification"], "id2label": labels}
    (target / "config.json").write_text(json.dumps(config))
    (target / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast(str(target / "vocab.txt"))

    run = pipeline(
        "text-classification",
        model=ORTModelForSequenceClassification.from_pretrained(str(target)),
        tokenizer=tokenizer,
        top_k=None,
    )

    found = {entry["label"]: entry["score"] for entry in run(["the cat sat"])[0]}
    with torch.no_grad():
        expected = model(**tokenizer("the cat sat", return_tensors="pt"))
    assert expected.blocks_run.tolist() == [1]
    chances = torch.softmax(expected.logits, -1)[0].tolist()
    assert found == pytest.approx(dict(zip(task.labels, chances, strict=True)), abs=1e-4)

"""Wishes that a pass could not meet are refused before any work, by JSON files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.errors import RequestError
from compressor.foretell import refuse_the_impossible
from tests.graph.exported import config_of
from tests.tiny import request

HEADS = {
    "question-answering": "ForQuestionAnswering",
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
}


def refuse(recipe: str, folder: Path, *words: str, **changes: Any) -> None:
    """Check a request against a tiny teacher; `changes` are to its `config.json`."""
    asked = request(recipe, folder, *words)
    teacher = {
        **config_of("bert"),
        "max_position_embeddings": 512,
        "architectures": [f"Bert{HEADS[asked.task]}"],
        **changes,
    }
    refuse_the_impossible(asked, teacher, to_measure=False)


@pytest.mark.parametrize(
    ("recipe", "words", "message"),
    [
        (
            "int8",
            ["recipe.passes.fuse.layout=rows", "device.runtime_version='1.15'"],
            "layout rows needs ONNX Runtime 1",
        ),
        ("int8", ["recipe.passes.fuse.layout=rows", "export.opset=15"], "layout rows needs opset 17"),
        ("int8", ["recipe.passes.quantize.op_types=[]"], "no product of the model is left to quantize: check op_types"),
        ("int4", ["recipe.passes.quantize_weights.smallest_width=4096"], "has smallest_width = 4096 rows and columns"),
        ("int8", ["device=cuda_server", "recipe.passes.quantize.embeddings=int4"], "embeddings would have no effect"),
        ("int8", ["recipe.passes.quantize.backend=nncf", "recipe.passes.quantize.calibration=mse"], "NNCF chooses"),
        (
            "int4",
            ["device=cuda_server", "recipe.passes.quantize_weights.embeddings=int4"],
            "quantize_weights: embeddings: int4 needs word embeddings with a node of their own",
        ),
        (
            "int8",
            ["recipe.passes.fuse.layout=onnxruntime", "recipe.passes.quantize.embeddings=int8"],
            "fuse merges them with others for the device 'x86_avx512'",
        ),
    ],
)
def test_what_no_graph_could_be(recipe: str, words: list[str], message: str, tmp_path: Path) -> None:
    device = [] if words[0].startswith("device=") else ["device=x86_avx512"]
    with pytest.raises(RequestError, match=message):
        refuse(recipe, tmp_path, *device, *words)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("int8", ["recipe.passes.fuse.layout=rows"]),
        ("length_adaptive", ["recipe.passes.fuse.layout=rows", "device.runtime_version='1.15'"]),
        ("int8", ["recipe.passes.quantize.embeddings=int4"]),
        ("albert_share", ["recipe.passes.quantize.embeddings=int4", "recipe.stages.factorize_embeddings.ratio=0.3"]),
    ],
)
def test_what_can_be_is_not_refused(recipe: str, words: list[str], tmp_path: Path) -> None:
    refuse(recipe, tmp_path, "device=x86_avx512", *words)


@pytest.mark.parametrize("kind", ["bilstm", "cnn"])
@pytest.mark.parametrize("task", ["token-classification", "text-classification"])
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_student_without_a_product_that_becomes_int8(kind: str, task: str, mode: str, tmp_path: Path) -> None:
    """For texts there is the layer before the head; of tokens only a dynamic LSTM is left, and no convolution."""
    words = ["recipe.stages.distill.student.hidden_size=30", f"recipe.stages.distill.student.kind={kind}"]
    asked = ["device=x86_avx512", f"task={task}", "recipe.tasks=[token-classification,text-classification]"]
    asked += [*words, f"recipe.passes.quantize.mode={mode}"]
    if task == "text-classification" or (kind, mode) == ("bilstm", "dynamic"):
        refuse("bilstm", tmp_path, *asked)
        return
    instead = "use the pass quantize with mode: dynamic" if kind == "bilstm" else "take it out"
    with pytest.raises(RequestError, match=f"for token-classification has no product whose weights .*: {instead}"):
        refuse("bilstm", tmp_path, *asked)


def test_a_head_of_many_labels_is_a_product(tmp_path: Path) -> None:
    words = ["task=token-classification", "recipe.tasks=[token-classification]", "recipe.passes.quantize.mode=static"]
    labels = {str(number): f"label{number}" for number in range(20)}
    refuse("bilstm", tmp_path, "device=x86_avx512", *words, id2label=labels)

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


def stages(*entries: tuple[str, str]) -> list[str]:
    """Words that put stages into `int8`, which has none: name and settings in Hydra's grammar, in their order."""
    words = []
    for place, (name, values) in enumerate(entries):
        after = [f"after=s{place - 1}"] if place else []
        words += [f"recipe.stages.s{place}.{value}" for value in (f"stage={name}", *after, *values.split())]
    return words


UNEVEN = ("prune_widths", "heads=0.5 feed_forward=0.5 uneven=true")
TINIER = ("prune_vocabulary", "coverage=0.9")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([UNEVEN, ("finetune", ""), ("share_layers", "")], "layers 0 and 1 are of different widths"),
        (
            [UNEVEN, ("distill", "relations=1 logits=0 relation_heads=16")],
            r"relation_heads 16 does not divide the student's width 12 \(layers of unlike widths: ",
        ),
        ([TINIER, ("low_rank", "budget=10 weighting=none")], "a budget of 10 parameters is not possible"),
        ([("low_rank", "budget=40000 weighting=none")], "a budget of 40000 parameters is not possible"),
        ([("deformer", "layers=2 second_position=2")], "second_position = 2 is not possible: .* each text needs 3"),
        ([("deformer", "layers=2 second_position=510")], "second_position = 510 is not possible"),
        ([("deformer", "layers=3"), ("drop_layers", "keep=importance layers=1")], "at least one must"),
        (
            [("dynabert", "widths=[1.0,0.5]"), ("dynabert", "widths=[0.75] depths=[0.5]")],
            "the dynabert before did not train it at width 0.75",
        ),
        (
            [("dynabert", "widths=[1.0,0.5] depths=[0.5]"), ("dynabert", "widths=[0.5] depths=[0.5]")],
            "the dynabert before did not train it at its full depth",
        ),
    ],
    ids=str,
)
def test_what_a_stage_before_makes_impossible(entries: list[Any], message: str, tmp_path: Path) -> None:
    large = {"vocab_size": 2000, "num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 8}
    with pytest.raises(RequestError, match=message):
        refuse("int8", tmp_path, "device=x86_avx512", "task=text-classification", *stages(*entries), **large)


@pytest.mark.parametrize(
    "entries",
    [
        [TINIER, ("low_rank", "budget=40000 weighting=none")],  # possible with few enough word pieces
        [("deformer", "layers=1"), ("drop_layers", "keep=importance layers=2")],
        [UNEVEN, ("prune_widths", "heads=0.3")],
        [("prune_widths", "heads=0.5 uneven=true minimum_heads=4"), ("share_layers", "")],  # it leaves four in each
        [("deformer", "layers=3"), ("drop_layers", "keep=importance layers=2")],
        [("dynabert", "widths=[1.0,0.5]"), ("dynabert", "widths=[1.0,0.5] depths=[1.0,0.5]")],
    ],
    ids=str,
)
def test_what_a_stage_before_leaves_possible(entries: list[Any], tmp_path: Path) -> None:
    large = {"vocab_size": 2000, "num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 8}
    refuse("int8", tmp_path, "device=x86_avx512", "task=text-classification", *stages(*entries), **large)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (("drop_layers", "importance=loss"), "drop_layers: importance would have no effect"),
        (("drop_layers", "one_by_one=false samples=8"), "one_by_one and samples would have no effect"),
        (("distill", "layer_map=[9,9]"), "layer_map would have no effect: hidden and attention"),
        (("distill", "relation_heads=7"), "relation_heads would have no effect: relations"),
        (("squeeze", "teacher_layer=1"), "teacher_layer would have no effect"),
        (("distill", "teacher_layer=1"), "teacher_layer would have no effect: minilm and relations"),
        (("prune_widths", "heads=[2,2] uneven=true"), "`uneven` ranks the heads or units of all layers together"),
        (("low_rank", "energy=1"), "energy 1 keeps all of every matrix"),
        (("factorize_embeddings", "energy=1.0"), "energy 1 keeps all of the table"),
    ],
    ids=str,
)
def test_settings_that_nothing_would_read(stage: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message):
        refuse("int8", tmp_path, "device=x86_avx512", "task=text-classification", *stages(stage))


@pytest.mark.parametrize(
    "word",
    ["per_channel=false", "weight_type=uint8", "op_types=[LSTM]", "smallest_width=1000", "samples=3",
     "activation_symmetric=true", "percentile=99", "batch_size=2"],
)  # fmt: skip
def test_what_a_training_for_int8_has_settled(word: str, tmp_path: Path) -> None:
    name = word.partition("=")[0]
    with pytest.raises(RequestError, match=f"{name} cannot be set for a model that the stage qat trained for int8"):
        refuse("qat", tmp_path, "device=x86_avx512", f"recipe.passes.quantize.{word}")


@pytest.mark.parametrize(
    "words",
    [
        ["mode=dynamic", "layout=qdq"], ["mode=dynamic", "activation_symmetric=true"],
        ["mode=static", "calibration=minmax", "percentile=99.9"],
        ["backend=nncf", "activation_signed=true"],
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_another_quantization(words: list[str], tmp_path: Path) -> None:
    name = words[-1].partition("=")[0]
    with pytest.raises(RequestError, match=f"quantize: {name} would have no effect"):
        refuse("int8", tmp_path, "device=x86_avx512", *(f"recipe.passes.quantize.{word}" for word in words))
    if words[0] == "mode=dynamic":  # which of them is refused depends on the mode alone
        words = ["mode=static", *words[1:]]
        refuse("int8", tmp_path, "device=x86_avx512", *(f"recipe.passes.quantize.{word}" for word in words))

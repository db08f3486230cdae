"""The model card, and the dial's table."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
from huggingface_hub import ModelCard

from compressor.artifact import card
from compressor.artifact.depth_table import make_depth
from compressor.artifact.dial_table import make_dial
from compressor.artifact.formats import weight_formats
from compressor.models.structure import AdaptiveDepth


@pytest.fixture
def manifest(parts):
    return parts["question-answering"].manifest


def test_the_hub_understands_the_card(manifest):
    hub = dataclasses.replace(
        manifest, teacher={"name": "org/t", "hub": "org/t"}, data={"name": "squad", "hub": "squad"}
    )
    data = ModelCard(card.render(hub, 1_000_000)).data
    assert data.pipeline_tag == "question-answering" and "onnx" in data.tags
    assert data.base_model == "org/t" and data.datasets == ["squad"]
    assert [(result.metric_type, result.metric_value) for result in data.eval_results] == [("f1", 89.5)]


def test_the_card_shows_where_figures_come_from_and_no_folders(manifest):
    text = card.render(manifest, 1_250_000)
    assert "`my-teacher`" in text and "/home/somebody" not in text
    assert "1.2 MB" in text or "1.3 MB" in text
    assert "this machine (a cpu), not jetson" in text and "not measured" in text
    assert "| macs_60 | 0.8, 0.6, 0.5 |" in text
    assert "97.0 % of 100 examples; 3 right answers became wrong, 1 wrong ones right" in text
    assert "-0.50 points (95 % interval -1.20 to +0.10)" in text
    assert "not judged" in text and "sample.py" in text and "ORTModelForQuestionAnswering" in text


def test_the_card_says_what_the_file_holds_and_what_the_device_prefers(artifacts, manifest):
    text = (artifacts["question-answering"] / "README.md").read_text()
    assert "of its weights' bytes" in text and "% float32" in text
    assert "What the device is fast at: float32. it is | simple" in text


def test_number_formats_count_the_bodies_of_branches(tmp_path):
    def graph(name, kind, size, *nodes):
        value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
        weights = onnx.numpy_helper.from_array(np.zeros(size, kind), f"{name}_weights")
        return onnx.helper.make_graph(list(nodes), name, [], [value], [weights])

    branches = {"then_branch": graph("a", np.int8, 100), "else_branch": graph("b", np.float16, 50)}
    whole = graph("whole", np.float32, 50, onnx.helper.make_node("If", ["c"], ["y"], **branches))
    onnx.save(onnx.helper.make_model(whole), tmp_path / "m.onnx")
    assert weight_formats(tmp_path / "m.onnx") == {"float32": 0.5, "int8": 0.25, "float16": 0.25}


def test_a_card_without_dial_stages_and_measurements(parts):
    bare = dataclasses.replace(
        parts["text-classification"].manifest, stages=[], gates=[], measurements=[], agreement=None, dial=None
    )
    text = card.render(bare, 10)
    assert "dial" not in text and "From teacher" not in text and "No speed was measured." in text
    assert ModelCard(text).data.pipeline_tag == "text-classification"


def test_required_and_fixed_dials_say_so(parts):
    required = card.render(parts["required"].manifest, 10)
    assert "takes the configuration at every call" in required and "ORTModel" not in required
    assert "It is fixed in this graph" in card.render(parts["fixed"].manifest, 10)


def test_tables_leave_empty_columns_out_and_escape_bars():
    assert card.table(("a", "b", "c"), [("x|y", None, 1), ("z", None, None)]) == (
        "| a | c |\n| --- | --- |\n| x\\|y | 1 |\n| z | – |"
    )


def test_dial_rows_get_speaking_names():
    rows = [{"keep": [1.0, 1.0], "macs": 100, "f1": 90.0}, {"keep": [0.9, 0.5], "macs": 45, "f1": 89.0},
            {"keep": [0.8, 0.5], "macs": 45, "f1": 88.0}, {"keep": [0.2, 0.1], "macs": 10, "f1": 70.0}]  # fmt: skip
    dial = make_dial(kind="optional", default=[0.9, 0.5], minimum=2, rows=rows, metric="f1")
    assert [row.name for row in dial.settings] == ["full", "macs_45", "macs_45_2", "smallest"]
    assert dial.full_macs == 100 and dial.layers == 2 and dial.settings[1].metric == 89.0
    plain = make_dial(kind="fixed", default=[1.0], minimum=2)
    assert plain.settings == [] and plain.full_macs is None
    unknown = make_dial(kind="optional", default=[0.5], minimum=2, rows=[{"keep": [0.5]}])
    assert unknown.settings[0].name == "setting"


@pytest.mark.parametrize(("value", "shown"), [(-0.004, "+0.00"), (0.0, "+0.00"), (-0.006, "-0.01"), (1.255, "+1.25")])
def test_nothing_has_no_minus(value, shown):
    assert card.signed(value) == shown


def test_the_manifest_leaves_out_digits_that_arithmetic_made_up(manifest):
    odd = dataclasses.replace(manifest, metrics={"f1": 28.749999999999996, "exact": 1 / 3, "none": float("nan")})
    assert json.loads(odd.to_json())["metrics"] == {"f1": 28.75, "exact": 0.333333333333, "none": None}


def test_the_card_says_what_optimum_cannot_turn_and_pipeline_must_be_told(manifest):
    text = card.render(manifest, 1)
    assert "no way to turn `keep`. Plain onnxruntime has" in text and "truncation=True" not in text
    assert f'"keep": np.array({[1.0] * manifest.dial.layers}, np.float32)' in text
    assert "counted on the longest text of a batch" in text
    depth = make_depth(
        AdaptiveDepth(method="dact", setting=0),
        kind="optional", default=0.25, rows=[], layers=3, blocks=[3, 1], texts=["one", "two"],
    )  # fmt: skip
    exits = dataclasses.replace(manifest, task="text-classification", dial=None, depth=depth)
    text = card.render(exits, 1)
    assert "no way to turn `margin`, and `blocks_run` is not among their outputs" in text
    assert (
        '{**inputs, "margin": np.array([0.25], np.float32)}' in text and "tokenizer=tokenizer, truncation=True)" in text
    )
    bare = card.render(dataclasses.replace(manifest, dial=None), 1)
    assert "Plain onnxruntime has" not in bare

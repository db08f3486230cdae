"""The pass `search_lengths` on a toy graph whose metric follows from `keep`, and on a real one."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest

from compressor.config.device import Identity
from compressor.config.run import FeatureSettings, TaskName
from compressor.config.schema import parse
from compressor.errors import PassError, RequestError
from compressor.graph import dial
from compressor.graph.context import PassContext
from compressor.graph.passes.search_lengths.latency import Stopwatch
from compressor.graph.passes.search_lengths.search import run
from compressor.graph.passes.search_lengths.settings import SearchLengthsSettings
from compressor.graph.passes.session import open_session
from compressor.models.macs import token_counts
from compressor.stages.context import Checkpoint
from compressor.tasks.base import Feature, Task
from tests import sshd
from tests.graph.passes.conftest import LAYERS, as_json, make_device, make_examples, run_graph

LENGTHS = (20, 19, 12, 11, 7)


class CountingTask(Task):
    """Each token should be kept by every layer; the metric is the share that is, in points."""

    name: ClassVar[TaskName] = "token-classification"
    auto_class = "AutoModelForTokenClassification"
    output_names = ("logits",)
    label_names = ("labels",)
    restores_tokens = True
    metric_names = ("kept", "other")
    max_length = 64

    def features(self, examples: Any, tokenizer: Any, *, labelled: bool) -> list[Feature]:
        return [
            Feature({"input_ids": [7] * n, "attention_mask": [1] * n}, {}, index) for index, n in enumerate(examples)
        ]

    def loss(self, outputs: Any, labels: Any) -> Any:
        raise NotImplementedError

    def decode(self, examples: Any, features: Sequence[Feature], outputs: Any) -> list[Any]:
        assert [len(row["logits"]) for row in outputs] == [feature.length for feature in features]
        return [float(row["logits"].mean()) for row in outputs]

    def score(self, examples: Any, predictions: Sequence[Any]) -> dict[str, float]:
        return {"kept": 100 * float(np.mean(predictions)), "other": 0.0}

    def example_scores(self, examples: Any, predictions: Any) -> np.ndarray:
        return np.zeros(0)


TOY = """
<ir_version: 8, opset_import: ["" : 17], metadata_props: ["compressor.dial.layers": "2"]>
toy (int64[batch_size, sequence_length] input_ids, int64[batch_size, sequence_length] attention_mask)
  => (float[batch_size, sequence_length] logits)
<float[2] keep = {1, 1}>
{
    one = Constant <value_ints = [1]> ()
    half = Constant <value_float = 0.5> ()
    last = Constant <value_ints = [-1]> ()
    counts = ReduceSum <keepdims = 0> (attention_mask, one)
    longest = ReduceMax <keepdims = 0> (counts)
    n = Cast <to = 1> (longest)
    wanted = Mul (keep, n)
    raised = Add (wanted, half)
    rounded = Floor (raised)
    kept = ReduceMin <keepdims = 0> (rounded)
    ones = Cast <to = 1> (attention_mask)
    zero = Constant <value_int = 0> ()
    position = CumSum (ones, axis)
    here = LessOrEqual (position, kept)
    as_float = Cast <to = 1> (here)
    logits = Mul (as_float, ones)
}
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A graph whose output is 1 for the first k tokens of a row, k the smaller of the two layers' counts."""
    text = TOY.replace("<float[2] keep = {1, 1}>", "<float[2] keep = {1, 1}, int64 axis = {1}>")
    model = onnx.parser.parse_model(text)
    dial.install(model, [1.0, 1.0], "optional")
    onnx.save(model, tmp_path / "toy.onnx")
    return tmp_path / "toy.onnx"


@pytest.fixture
def toy_checkpoint(tmp_path: Path) -> Checkpoint:
    structure = {"length_adaptive": {"keep": [1.0, 1.0], "minimum": 2}}
    config = {
        "model_type": "bert", "num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2,
        "intermediate_size": 16, "vocab_size": 9, "max_position_embeddings": 64, "compressor": {"structure": structure},
    }  # fmt: skip
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.json").write_text(json.dumps(config))
    return Checkpoint(tmp_path / "toy", "toy")


@pytest.fixture
def toy_context(make_context: Callable[..., PassContext], toy_checkpoint: Checkpoint) -> Callable[..., PassContext]:
    def make(**changes: Any) -> PassContext:
        base = {"task": CountingTask(FeatureSettings()), "checkpoint": toy_checkpoint, "search": LENGTHS}
        return make_context(**{**base, **changes})

    return make


def settings(**values: Any) -> SearchLengthsSettings:
    return parse(SearchLengthsSettings, {"iterations": 20, "population": 6, **values}, where="recipe.passes.search")


def exact(keep: Sequence[float]) -> float:
    """The toy's metric by hand: each row alone keeps min(k_1, k_2) of its n tokens."""
    return 100 * float(np.mean([min(min(token_counts(n, keep, 1)), n) / n for n in LENGTHS]))


def test_the_cheapest_configuration_within_the_drop_becomes_the_default(toy, toy_context, tmp_path, progress) -> None:
    result = run(toy, tmp_path / "out.onnx", settings(max_drop=10.0), toy_context())
    notes = as_json(result.notes)
    assert notes["full_metric"] == 100.0
    assert notes["chosen_metric"] >= 90.0
    assert notes["chosen_metric"] == pytest.approx(exact(notes["keep"]), abs=1.5)  # rows of a batch share n
    assert notes["tokens"] in ([18, 18], [19, 18])  # 17 of 20 tokens would lose over 10 points
    assert notes["macs"] < notes["full_macs"]
    assert dial.default(result.path) == pytest.approx(notes["keep"])
    assert dial.default(toy) == [1.0, 1.0]  # the source is never changed
    title, steps = next(iter(progress.bars.items()))
    assert title == "searching length configurations"
    assert len(steps) - 1 == notes["evaluations"] <= steps[0]
    assert "kept 100.00 at 100 % of the MACs (full 100.00)" in steps[1][1]


def test_the_table_has_the_full_and_the_smallest_and_is_in_the_graph(toy, toy_context, tmp_path) -> None:
    result = run(toy, tmp_path / "out.onnx", settings(max_evaluations=30), toy_context())
    table = as_json(result.notes["table"])
    assert table == dial.read_table(result.path)
    assert table[0]["tokens"] == [20, 20]
    assert table[-1]["tokens"] == [2, 2]
    assert [row["macs"] for row in table] == sorted((row["macs"] for row in table), reverse=True)
    assert all(set(row) == {"keep", "tokens", "macs", "kept"} for row in table)
    assert all(token_counts(20, row["keep"], 2) == row["tokens"] for row in table)


def test_the_budget_is_kept_even_if_the_drop_is_not(toy, toy_context, tmp_path, progress) -> None:
    result = run(toy, tmp_path / "out.onnx", settings(budget=0.5, max_drop=0.1), toy_context())
    assert result.notes["chosen_cost"] <= 0.5 * result.notes["full_cost"]
    assert result.notes["within_max_drop"] is False
    assert "nothing within the budget loses at most 0.1 points" in progress.lines[0]


def test_latency_as_cost_is_measured_and_stands_in_the_table(toy, toy_context, tmp_path) -> None:
    chosen = settings(cost="latency", max_evaluations=6, latency_runs=3, reference_length=16)
    result = run(toy, tmp_path / "out.onnx", chosen, toy_context())
    assert all(row["latency_ms"] > 0 for row in result.notes["table"])
    assert result.notes["length"] == 16
    assert result.notes["cost"] == "latency"


def test_samples_limits_the_examples(toy, toy_context, tmp_path) -> None:
    result = run(toy, tmp_path / "out.onnx", settings(samples=2, max_evaluations=3), toy_context())
    assert result.notes["windows"] == 2


def test_a_fixed_dial_is_searched_and_stays_fixed(toy, toy_context, tmp_path) -> None:
    model = onnx.load(toy)
    dial.install(model, [1.0, 1.0], "fixed")
    onnx.save(model, tmp_path / "fixed.onnx")
    result = run(tmp_path / "fixed.onnx", tmp_path / "out.onnx", settings(max_drop=30.0), toy_context())
    assert dial.kind(onnx.load(result.path)) == "fixed"
    assert dial.default(result.path) == pytest.approx(result.notes["keep"])
    assert result.notes["keep"] != [1.0, 1.0]
    assert [path.name for path in tmp_path.glob("*searched*")] == []


def test_a_required_dial_gets_a_table_and_no_default(toy, toy_context, tmp_path) -> None:
    model = onnx.load(toy)
    dial.install(model, [1.0, 1.0], "required")
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name == "keep"]:
        model.graph.initializer.remove(tensor)
    onnx.save(model, tmp_path / "required.onnx")
    result = run(tmp_path / "required.onnx", tmp_path / "out.onnx", settings(max_evaluations=4), toy_context())
    assert dial.default(result.path) is None
    assert len(dial.read_table(result.path)) >= 2


def test_a_real_graph(adaptive_graph, adaptive, make_context, tmp_path) -> None:
    chosen = settings(iterations=2, population=3, mutations=3, crossovers=3, max_drop=5.0)
    result = run(adaptive_graph, tmp_path / "out.onnx", chosen, make_context(checkpoint=adaptive))
    assert result.notes["metric"] == "f1"
    assert len(result.notes["keep"]) == LAYERS
    default, given = run_graph(result.path), run_graph(adaptive_graph, keep=result.notes["keep"])
    assert np.array_equal(default["start_logits"], given["start_logits"])


def test_stopwatch_agrees_with_itself(adaptive_graph) -> None:
    watch = Stopwatch(open_session(adaptive_graph, make_device()), LAYERS, 32, 5)
    assert watch.latency_ms([1.0] * LAYERS) == watch.full_ms
    assert 0.1 < watch.latency_ms([0.99] * LAYERS) / watch.full_ms < 10


def test_times_of_a_board(toy, toy_context, tmp_path, tmp_path_factory) -> None:
    """The cost is measured by ssh, the metric here."""
    with sshd.running(tmp_path_factory.mktemp("board")) as server:
        identity = Identity(machine=[platform.machine()])
        device = make_device(host=sshd.ADDRESS, python=sys.executable, identity=identity)
        chosen = settings(cost="latency", latency_runs=1, max_evaluations=3)
        notes = run(toy, tmp_path / "out.onnx", chosen, toy_context(device=device)).notes
        assert server.left_behind() == []
    assert notes["measured_on"].startswith("toy (") and notes["evaluations"] <= 3
    assert all(row["latency_ms"] > 0 for row in notes["table"])


def test_a_graph_without_a_dial(stock_graph, make_context, tmp_path) -> None:
    with pytest.raises(PassError, match="has no length dial.*add the stage length_adaptive"):
        run(stock_graph, tmp_path / "out.onnx", settings(), make_context())


def test_no_search_data(toy, toy_context, tmp_path) -> None:
    with pytest.raises(RequestError, match="search part of the data is empty"):
        run(toy, tmp_path / "out.onnx", settings(), toy_context(search=()))


@pytest.mark.parametrize(("cost", "budget"), [("macs", 0.001), ("latency", 1e-6)])
def test_a_budget_below_the_smallest(toy, toy_context, tmp_path, cost: str, budget: float) -> None:
    with pytest.raises(RequestError, match="below the cost of the smallest configuration"):
        run(toy, tmp_path / "out.onnx", settings(cost=cost, budget=budget), toy_context())


def test_unloadable_graph(toy, tmp_path) -> None:
    model = onnx.load(toy)
    model.graph.node[3].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(PassError, match="ONNX Runtime cannot load broken.onnx"):
        open_session(tmp_path / "broken.onnx", make_device())


def test_examples_are_longer_than_one_window() -> None:
    """The real-graph test would prove little if every context fitted into one window."""
    assert max(len(example.context.split()) for example in make_examples(16, seed=1)) > 30

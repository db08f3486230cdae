"""Length-adaptive graphs, as exported and fused, against the model in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.graph.files import load
from compressor.models import checkpoint as checkpoints
from compressor.tasks import Task
from tests.graph.exported import (
    FAMILIES,
    LAYERS,
    LONGEST,
    TASKS,
    adaptive_settings,
    difference,
    export_model,
    fuse,
    inputs_of,
    masks,
    run_graph,
    run_torch,
    save_model,
    session_of,
    task_of,
)

KEEPS = [[1.0] * LAYERS, [0.95] * LAYERS, [0.7, 0.5, 0.3], [0.5, 0.5, 0.5], [1.0, 0.4, 0.01]]
PAIRS = [(family, task, "all") for family in FAMILIES for task in TASKS if family == "bert" or task != TASKS[0]]
PAIRS += [("bert", task, "first") for task in TASKS] + [("distilbert", TASKS[0], "first")]
Case = tuple[Any, Task, list[Path]]


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: "-".join(pair))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The model in PyTorch, its task, and its graph as exported and fused."""
    family, task_name, significance = request.param
    folder, task = tmp_path_factory.mktemp(f"{family}-{task_name}"), task_of(task_name)
    save_model(folder, family, task, adaptive_settings(task_name, significance=significance))
    exported = export_model(folder, task)
    return checkpoints.load(folder, task), task, [exported, fuse(exported, folder, task=task).path]


@pytest.mark.parametrize("keep", KEEPS, ids=str)
def test_it_gives_what_pytorch_gives(case: Case, keep: list[float]) -> None:
    model, task, graphs = case
    for name, mask in masks().items():
        inputs = inputs_of(mask)
        expected = run_torch(model, task, inputs, keep)
        for graph in graphs:
            assert difference(run_graph(graph, inputs, keep), expected) < 1e-4, (name, graph.name)


@pytest.fixture(scope="module", params=["all", "first"])
def spans(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder, task = tmp_path_factory.mktemp("spans"), task_of("question-answering")
    save_model(folder, "bert", task, adaptive_settings("question-answering", minimum=3, significance=request.param))
    exported = export_model(folder, task, opset=20)
    return checkpoints.load(folder, task), task, [exported, fuse(exported, folder).path]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_mask_at_any_setting(spans: Case, data: st.DataObject) -> None:
    model, task, graphs = spans
    batch, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, LONGEST))
    bits = st.lists(st.integers(0, 1), min_size=length, max_size=length)
    mask = np.array([data.draw(bits) for _ in range(batch)], np.int64)
    thousandths = data.draw(st.lists(st.integers(1, 1000), min_size=LAYERS, max_size=LAYERS))
    keep = [part / 1000 for part in sorted(thousandths, reverse=True)]
    inputs = inputs_of(mask, data.draw(st.integers(0, 1000)))
    expected = run_torch(model, task, inputs, keep)
    for graph in graphs:
        assert difference(run_graph(graph, inputs, keep), expected) < 1e-4


@pytest.mark.parametrize(
    ("wild", "tame"), [([0.5, 0.9, 0.4], [0.5, 0.5, 0.4]), ([7.0, 1.0, 0.5], [1, 1, 0.5]), ([-1, 0, 0], [0.01] * 3)]
)
def test_the_graph_clamps_what_is_out_of_range(spans: Case, wild: list[float], tame: list[float]) -> None:
    inputs = inputs_of(masks()["full"])
    for graph in spans[2]:
        assert difference(run_graph(graph, inputs, wild), run_graph(graph, inputs, tame)) == 0


def test_tokens_are_really_dropped(spans: Case) -> None:
    """Dropping must change results, or the dial would do nothing."""
    inputs = inputs_of(masks()["full"])
    for graph in spans[2]:
        assert difference(run_graph(graph, inputs, [0.3] * 3), run_graph(graph, inputs, [1] * 3)) > 1e-3


@pytest.mark.parametrize("dial", ["optional", "required", "fixed"])
def test_the_three_kinds_of_dial(tmp_path: Path, dial: str) -> None:
    task, chosen = task_of("question-answering"), [0.8, 0.6, 0.4]
    save_model(tmp_path, "bert", task, adaptive_settings("question-answering", keep=chosen))
    graph = export_model(tmp_path, task, dial=dial)
    session = session_of(graph)
    required = [value.name for value in session.get_inputs()]
    optional = [value.name for value in session.get_overridable_initializers()]
    assert ("keep" in required, "keep" in optional) == (dial == "required", dial == "optional")
    inputs = inputs_of(masks()["holes"])
    expected = run_torch(checkpoints.load(tmp_path, task), task, inputs, chosen)
    assert difference(run_graph(graph, inputs, chosen if dial == "required" else None), expected) < 1e-4
    assert [value.name for value in load(graph).graph.input].count("keep") == (dial != "fixed")


def test_weights_stay_out_of_the_branches(spans: Case) -> None:
    """Static quantizers do not look into branches."""

    def bodies(node: Any) -> Any:
        for entry in node.attribute:
            if entry.g.node:
                yield entry.g
                for inner in entry.g.node:
                    yield from bodies(inner)

    for path in spans[2]:
        graph = load(path).graph
        large = {tensor.name for tensor in graph.initializer if np.prod(tensor.dims) > LAYERS * LAYERS}
        large -= {name for name in large if name.startswith("constant/")}  # masks of the heads, no weights
        used = {name for node in graph.node for body in bodies(node) for inner in body.node for name in inner.input}
        assert large and not large & used

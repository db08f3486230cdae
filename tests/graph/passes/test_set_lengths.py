"""The pass `set_lengths`: the dial's default by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compressor.config.schema import parse
from compressor.errors import DialError, PassError
from compressor.graph import dial
from compressor.graph.context import PassContext
from compressor.graph.passes.set_lengths.set_lengths import run
from compressor.graph.passes.set_lengths.settings import SetLengthsSettings, configuration
from compressor.stages.context import Checkpoint
from tests.graph.passes.conftest import LAYERS


def settings(keep: object) -> SetLengthsSettings:
    return parse(SetLengthsSettings, {"keep": keep}, where="test")


def test_a_share_falls_from_layer_to_layer_and_a_list_is_taken_as_it_is() -> None:
    assert configuration(0.5, 3) == [0.5, 0.25, 0.125]
    assert configuration([0.9, 0.4], 2) == [0.9, 0.4]


def test_the_default_of_the_graph_changes_and_nothing_else(
    adaptive: Checkpoint, adaptive_graph: Path, make_context: Callable[..., PassContext], tmp_path: Path
) -> None:
    before = dial.default(adaptive_graph)

    result = run(adaptive_graph, tmp_path / "out.onnx", settings(0.8), make_context(checkpoint=adaptive))

    assert dial.default(result.path) == pytest.approx([0.8 ** (layer + 1) for layer in range(LAYERS)])
    assert result.notes["keep"] == pytest.approx(dial.default(result.path))
    assert dial.default(adaptive_graph) == before


def test_a_graph_without_a_dial_and_a_list_that_does_not_fit_are_refused(
    stock_graph: Path, adaptive_graph: Path, make_context: Callable[..., PassContext], tmp_path: Path
) -> None:
    with pytest.raises(PassError, match="has no length dial"):
        run(stock_graph, tmp_path / "out.onnx", settings(0.8), make_context())
    with pytest.raises(DialError, match="has 1 entries"):
        run(adaptive_graph, tmp_path / "out.onnx", settings([0.8]), make_context())

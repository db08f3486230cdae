"""What a run says where there is no terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console as RichConsole
from transformers import BertConfig

from compressor import console
from compressor.devices.rounds import doubts_of
from compressor.graph import dial
from compressor.models.structure import AdaptiveDepth, Structure, with_structure


def test_long_work_says_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    text = io.StringIO()
    ours = console.Console(RichConsole(file=text, force_terminal=False))
    with ours.bar("distill", 10) as bar:
        for note in ("", "loss 2", "", "loss 1"):
            now[0] += 20
            bar.advance(2, note)
    assert text.getvalue().splitlines() == ["distill: 4 of 10, loss 2", "distill: 8 of 10, loss 1"]


def test_short_work_says_nothing() -> None:
    text = io.StringIO()
    with console.Console(RichConsole(file=text, force_terminal=False)).bar("fuse", 3) as bar:
        bar.advance()
    assert text.getvalue() == ""


def test_rounds_that_differ_are_told_of_every_row_that_was_timed() -> None:
    def row(name: str, spread: float) -> SimpleNamespace:
        speed = SimpleNamespace(doubts=lambda: doubts_of(spread, None), fits_memory=None)
        return SimpleNamespace(name=name, speed=speed, on_board=None)

    untimed = SimpleNamespace(name="distill", speed=None, on_board=None)
    assert list(console._doubts([row("teacher", 0.2), untimed, row("artifact", 0.01)])) == [
        "The machine was too noisy (teacher: rounds differ by 20 %)."
    ]
    assert list(console._doubts([row("teacher", 0.02), row("artifact", 0.05)])) == []


@pytest.fixture
def exits(tmp_path: Path) -> SimpleNamespace:
    """What the console reads of a row: a graph of three layers with a margin, and its checkpoint."""
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8)
    structure = Structure(adaptive_depth=AdaptiveDepth(method="dact", setting=0.6))
    (tmp_path / "config.json").write_text(json.dumps(with_structure(config.to_dict(), structure)))
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", [dial.TRACED_SETTING], ["y"])
    model = helper.make_model(
        helper.make_graph(
            [node], "g", [helper.make_tensor_value_info(dial.TRACED_SETTING, TensorProto.FLOAT, [1])], [value]
        )
    )
    dial.install_depth(model, structure.adaptive_depth, "optional")
    onnx.save(model, tmp_path / "model.onnx")
    return SimpleNamespace(path=tmp_path / "model.onnx", checkpoint=SimpleNamespace(path=tmp_path))


def depth_lines(graph: SimpleNamespace | None, blocks: list[int] | None) -> list[str]:
    return list(console._depth_dial(SimpleNamespace(graph=graph, evaluation=SimpleNamespace(blocks_run=blocks))))


def test_the_depth_dial_and_what_it_saves(exits: SimpleNamespace) -> None:
    assert depth_lines(None, None) == []
    (told,) = depth_lines(exits, [1, 3, 3, 3])
    assert told.startswith("Depth dial: at margin 0.6 held-out texts needed 2.50 of 3 layers in the mean;")
    told, warning = depth_lines(exits, [3, 3])
    assert "needed 3.00 of 3 layers" in told
    assert warning.startswith("Warning: nothing stopped early, so that the depth dial saves nothing")


def test_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of folders and messages of libraries hold brackets and colons, which mean something to markup."""
    table = console.simple_table("run")
    table.add_row("int8 hydra.searchpath=[/home/me/conf] [old] :smile:")
    console.out().print(table)
    console.Console().line("[ONNXRuntimeError] [/x]")
    said = capsys.readouterr().out
    assert "searchpath=[/home/me/conf] [old] :smile:" in said and "[ONNXRuntimeError] [/x]" in said

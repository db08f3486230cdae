"""`search_depth`: the depth dial's default, chosen by the metric on held-out texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from compressor.errors import DialError, PassError, RequestError
from compressor.graph import dial
from compressor.graph.context import PassContext
from compressor.graph.passes.search_depth.search import Point, choose, standard_error
from compressor.graph.passes.search_depth.settings import SearchDepthSettings
from compressor.graph.registry import pass_spec, run_pass
from compressor.progress import Silent
from compressor.stages.context import Checkpoint
from tests.graph.test_stopping import DIALS, WORDS, exported, run
from tests.models.conftest import make_model
from tests.models.test_adaptive_depth import METHODS, adaptive, ragged
from tests.stages.distill.conftest import make_context, make_examples, make_tokenizer, tiny_task


def searched(source: Path, checkpoint: Checkpoint, folder: Path, examples: int = 40, **settings: Any) -> Any:
    """Run the pass with so many texts held out of training."""
    context = make_context(folder, tiny_task("text-classification"), checkpoint)
    ours = PassContext(
        task=context.task, data=replace(context.data, search=make_examples("text-classification", examples)),
        tokenizer=make_tokenizer(WORDS), checkpoint=checkpoint, device=context.device, seed=0, progress=Silent(),
    )  # fmt: skip
    return run_pass(pass_spec("search_depth"), source, folder / "out.onnx", SearchDepthSettings(**settings), ours)


@pytest.mark.parametrize("kind", ["optional", "fixed"])
@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_the_default_is_the_cheapest_value_within_the_loss(method: str, kind: str, tmp_path: Path) -> None:
    path, source = exported(adaptive(method), tmp_path, dial=kind)
    result = searched(path, source, tmp_path, max_drop=100.0)
    notes = result.notes
    assert notes["mean_blocks"] == min(row["mean_blocks"] for row in notes["table"])
    assert notes["mean_blocks"] < notes["full_blocks"] and notes["saves"]
    assert dial.depth_default(result.path) == pytest.approx(notes["setting"])
    assert dial.read_depth_table(result.path) == notes["table"]
    inputs = [entry.name for entry in onnx.load(result.path).graph.input]
    assert (DIALS[method] in inputs) == (kind == "optional")
    ids, mask = ragged()
    asked = {DIALS[method]: [notes["setting"]]} if kind == "optional" else {}
    by_itself, blocks = run(result.path, ids, mask)
    expected, expected_blocks = run(result.path, ids, mask, **asked)
    np.testing.assert_array_equal(by_itself, expected)
    assert blocks.tolist() == expected_blocks.tolist()
    if kind == "fixed":
        before, _ = run(path, ids, mask)
        assert np.abs(by_itself - before).max() > 0 or dial.depth_default(path) == notes["setting"]


@torch.no_grad()
def test_given_candidates_are_tried(tmp_path: Path) -> None:
    path, source = exported(adaptive("dact"), tmp_path)
    notes = searched(path, source, tmp_path, candidates=[0.5, 0.2], samples=10).notes
    assert [row["setting"] for row in notes["table"]] == [0.2, 0.5]
    assert notes["examples"] == 10
    with pytest.raises(RequestError, match="candidates: 1.5 is no margin"):
        searched(path, source, tmp_path, candidates=[0.5, 1.5])
    path, source = exported(adaptive("pabee"), tmp_path)
    with pytest.raises(RequestError, match="candidates: patience 9 needs 10 exits or more"):
        searched(path, source, tmp_path, candidates=[1, 9])


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_all_layers_run_where_no_loss_is_small_enough(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, source = exported(adaptive(method), tmp_path)
    monkeypatch.setattr("compressor.graph.passes.search_depth.search.standard_error", lambda differences: 1000.0)
    result = searched(path, source, tmp_path, max_drop=0.5)
    notes = result.notes
    assert notes["setting"] == notes["table"][-1]["setting"] and notes["chosen_metric"] == notes["full_metric"]
    ids, mask = ragged()
    by_itself, blocks = run(result.path, ids, mask)
    whole, _ = run(path, ids, mask, **{DIALS[method]: [dial.NEVER[method]]})
    if method == "dact":  # its margin 0 may stop where no answer can change any more
        assert notes["setting"] == 0.0
        np.testing.assert_array_equal(by_itself.argmax(-1), whole.argmax(-1))
    else:
        assert not notes["saves"] and notes["mean_blocks"] == notes["full_blocks"] == blocks.min()
        np.testing.assert_array_equal(by_itself, whole)


@torch.no_grad()
def test_what_it_cannot_work_on(tmp_path: Path) -> None:
    path, source = exported(adaptive("dact"), tmp_path / "a")
    with pytest.raises(RequestError, match="search part of the data is empty"):
        searched(path, source, tmp_path / "a", examples=0)
    plain = make_model("bert", tiny_task("text-classification"), layers=2)
    path, source = exported(plain, tmp_path / "b")
    with pytest.raises(PassError, match="cannot stop early"):
        searched(path, source, tmp_path / "b")
    with pytest.raises(DialError, match="no depth dial"):
        dial.set_depth_default(path, 0.5)
    assert dial.depth_default(path) is None


def test_a_loss_on_few_texts_has_to_be_sure() -> None:
    lost = np.zeros(300)
    lost[:3] = 100.0  # three texts of three hundred: one point, give or take 0.58
    assert standard_error(lost) == pytest.approx(0.5755, abs=1e-3)
    assert standard_error(np.zeros(300)) == 0.0
    assert standard_error(lost[:1]) == 0.0


def test_choose() -> None:
    full = Point(-2.0, 90.0, 6.0)
    points = [Point(0.0, 90.0, 5.0), Point(0.5, 89.6, 3.0), Point(0.9, 89.6, 3.0), Point(0.99, 80.0, 1.0)]
    assert choose(points, full, 0.5) == points[1]
    assert choose(points, full, 20.0) == points[3]
    assert choose(points[3:], full, 0.5) is None
    unsure = [replace(points[0], error=0.0), replace(points[1], error=0.2), replace(points[2], error=0.05)]
    assert choose(unsure, full, 0.5, errors=1.0) == unsure[2]
    assert choose(unsure, full, 0.5, errors=3.0) == unsure[0]
    assert choose(unsure, full, 0.5) == unsure[1]

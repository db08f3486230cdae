"""Both halves of a graph are the whole one, in every number format, and a passage is read once for any question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from compressor.errors import PassError
from compressor.graph.context import PassContext
from compressor.graph.halves import cut
from compressor.graph.passes.cast.cast import run as run_cast
from compressor.graph.passes.cast.settings import CastSettings
from compressor.graph.passes.quantize.quantize import run as run_quantize
from compressor.graph.passes.quantize.settings import QuantizeSettings
from compressor.graph.passes.quantize_weights.quantize_weights import run as run_quantize_weights
from compressor.graph.passes.quantize_weights.settings import QuantizeWeightsSettings
from compressor.models import checkpoint
from compressor.stages.context import Checkpoint
from tests.graph.exported import device, export_model, fuse, run_graph
from tests.models.test_split_layers import SEPARATOR, pair, split_model
from tests.stages.distill.conftest import make_checkpoint, make_context, make_tokenizer, tiny_task

FAMILIES = ["bert", "roberta", "distilbert", "electra"]
WIDTH = 32
PASSES: dict[str, tuple[Any, Any, float]] = {
    "float16": (run_cast, CastSettings(), 2e-2),
    "dynamic int8": (run_quantize, QuantizeSettings(mode="dynamic", smallest_width=8), 0.15),
    "static int8": (run_quantize, QuantizeSettings(mode="static", smallest_width=8, calibration="minmax"), 1e-4),
    "static int8 by pairs": (
        run_quantize, QuantizeSettings(mode="static", smallest_width=8, calibration="minmax", layout="qdq"), 1e-4,
    ),
    "4-bit weights": (run_quantize_weights, QuantizeWeightsSettings(block_size=16), 1e-4),
}  # fmt: skip
"""By number format: a pass, its settings, and how far the halves may be from the whole.

Only dynamic int8 takes its ranges from what is run at once.
"""


def padded(rows: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of rows, padded on the right."""
    width = max(len(row) for row in rows)
    ids, mask = (np.zeros((len(rows), width), np.int64) for _ in range(2))
    for place, row in enumerate(rows):
        ids[place, : len(row)], mask[place, : len(row)] = row.numpy(), 1
    return ids, mask


def exported(family: str, name: str, folder: Path) -> tuple[Any, Path]:
    """A model, and its graph as it is exported."""
    model = split_model(family, name)
    checkpoint.save(model, make_tokenizer([f"w{number}" for number in range(34)]), folder)
    return model, export_model(folder, tiny_task(name))


@pytest.mark.parametrize("name", ["question-answering", "text-classification"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_both_graphs_are_the_model(family: str, name: str, tmp_path: Path) -> None:
    task = tiny_task(name)
    model, graph = exported(family, name, tmp_path)
    halves = cut(fuse(graph, tmp_path, task=task).path, tmp_path, layers=2, width=WIDTH)
    passages = [pair(1, 9, seed=5)[3:], pair(1, 4, seed=6)[3:]]
    ids, mask = padded([torch.cat([torch.tensor([SEPARATOR]), passage]) for passage in passages])
    kinds = mask * (np.arange(ids.shape[1]) > 0)
    (read,) = run_graph(halves.lower, {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds})
    states, mask = read[:, 1:], mask[:, 1:]
    for lengths in ((3, 3), (6, 2)):  # the passages have been read once for all questions
        questions = [pair(length, 0, seed=length)[:-1] for length in lengths]
        first, first_mask = padded(questions)
        inputs = {"input_ids": first, "attention_mask": first_mask, "token_type_ids": 0 * first}
        (asked,) = run_graph(halves.lower, inputs)
        both = np.concatenate([first_mask, mask], axis=1)
        found = run_graph(halves.upper, {"states": np.concatenate([asked, states], axis=1), "attention_mask": both})
        for row, (question, passage) in enumerate(zip(questions, passages, strict=True)):
            whole = torch.cat([question, passage])[None]
            sides = torch.tensor([[0] * len(question) + [1] * len(passage)])
            types = {} if family == "distilbert" else {"token_type_ids": sides}
            expected = model(input_ids=whole, attention_mask=torch.ones_like(whole), **types)
            for output, values in zip(task.output_names, found, strict=True):
                here = values[row][both[row].astype(bool)] if task.restores_tokens else values[row]
                np.testing.assert_allclose(here, expected[output][0].numpy(), atol=1e-4)


@pytest.mark.parametrize("number_format", PASSES)
def test_they_are_what_the_passes_made_of_the_graph(number_format: str, tmp_path: Path) -> None:
    run, settings, tolerance = PASSES[number_format]
    task = tiny_task("question-answering")
    _, graph = exported("bert", task.name, tmp_path)
    fused = fuse(graph, tmp_path, task=task).path
    context = pass_context(tmp_path, task)
    whole = run(fused, tmp_path / "model.onnx", settings, context).path
    halves = cut(whole, tmp_path, layers=2, width=WIDTH)
    ids = pair(4, 9)[None].numpy()
    kinds = np.array([[0] * 6 + [1] * 10])
    expected = run_graph(whole, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": kinds})
    states = []
    for part in (slice(0, 6), slice(5, 16)):
        types = kinds[:, part] * (np.arange(ids[:, part].shape[1]) > 0)
        inputs = {"input_ids": ids[:, part], "attention_mask": np.ones_like(types), "token_type_ids": types}
        states.append(run_graph(halves.lower, inputs)[0])
    both = np.concatenate([states[0], states[1][:, 1:]], axis=1)
    found = run_graph(halves.upper, {"states": both, "attention_mask": np.ones_like(ids)})
    for first, second in zip(found, expected, strict=True):
        np.testing.assert_allclose(first, second, atol=tolerance)
    weights = [weight_bytes(path) for path in (whole, *halves)]
    assert weights[0] * 0.98 < weights[1] + weights[2] < weights[0] * 1.02  # each weight is in one of them


def weight_bytes(path: Path) -> int:
    """Bytes of a graph's large constants."""
    return sum(len(tensor.raw_data) for tensor in onnx.load(path).graph.initializer if len(tensor.raw_data) > 256)


def pass_context(folder: Path, task: Any) -> PassContext:
    """What a pass is given, with calibration data of pairs."""
    stage = make_context(folder / "stage", task, Checkpoint(folder, "key"))
    return PassContext(
        task=task,
        data=replace(stage.data, calibration=stage.data.train),
        tokenizer=checkpoint.load_tokenizer(folder),
        checkpoint=Checkpoint(folder, "key"),
        device=device(),
        seed=0,
        progress=stage.progress,
    )


def test_a_graph_that_keeps_nothing_apart_is_refused(tmp_path: Path) -> None:
    task = tiny_task("question-answering")
    source = make_checkpoint(tmp_path, task)
    graph = export_model(source.path, task)
    with pytest.raises(PassError, match="cannot be cut behind layer 2: its attention is not where"):
        cut(graph, tmp_path / "halves", layers=2, width=WIDTH)

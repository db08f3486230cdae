"""Passage and question as two graphs: together they are the one graph, and a passage serves any question."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.errors import ExportError
from compressor.graph.passage import export_parts
from compressor.models import checkpoint
from compressor.stages.context import Checkpoint
from tests.graph.exported import run_graph
from tests.models.test_split_layers import pair, split_model
from tests.stages.distill.conftest import make_checkpoint, make_tokenizer, tiny_task

FAMILIES = ["bert", "roberta", "distilbert", "electra"]


def padded(rows: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of rows, padded on the right."""
    width = max(len(row) for row in rows)
    ids, mask = (np.zeros((len(rows), width), np.int64) for _ in range(2))
    for place, row in enumerate(rows):
        ids[place, : len(row)], mask[place, : len(row)] = row.numpy(), 1
    return ids, mask


@pytest.mark.parametrize("name", ["question-answering", "text-classification"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_both_graphs_are_the_model(family: str, name: str, tmp_path: Path) -> None:
    task = tiny_task(name)
    model = split_model(family, name)
    checkpoint.save(model, make_tokenizer([f"w{number}" for number in range(34)]), tmp_path / "checkpoint")
    parts = export_parts(Checkpoint(tmp_path / "checkpoint", "key"), task, tmp_path, opset=17)
    passages = [pair(1, 9, seed=5)[3:], pair(1, 4, seed=6)[3:]]
    ids, mask = padded(passages)
    (states,) = run_graph(parts.passage, {"input_ids": ids, "attention_mask": mask})
    for lengths in ((3, 3), (6, 2)):  # one pass over the passages for all questions
        questions = [pair(length, 0, seed=length)[:-1] for length in lengths]
        first, first_mask = padded(questions)
        inputs = {"input_ids": first, "attention_mask": first_mask, "passage_states": states, "passage_mask": mask}
        found = run_graph(parts.question, inputs)
        for row, (question, passage) in enumerate(zip(questions, passages, strict=True)):
            whole = torch.cat([question, passage])[None]
            kinds = torch.tensor([[0] * len(question) + [1] * len(passage)])
            types = {} if family in ("distilbert",) else {"token_type_ids": kinds}
            expected = model(input_ids=whole, attention_mask=torch.ones_like(whole), **types)
            seen = np.concatenate([first_mask[row], mask[row]]).astype(bool)
            for output, values in zip(task.output_names, found, strict=True):
                here = values[row][seen] if task.restores_tokens else values[row]
                np.testing.assert_allclose(here, expected[output][0].numpy(), atol=1e-4)


def test_a_model_that_keeps_nothing_apart_is_refused(tmp_path: Path) -> None:
    task = tiny_task("question-answering")
    source = make_checkpoint(tmp_path, task)
    with pytest.raises(ExportError, match="keeps no texts apart: train it with the stage deformer"):
        export_parts(source, task, tmp_path / "parts", opset=17)

"""The MAC counter against published figures and against the multiplications of a real forward pass."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from compressor.errors import DialError
from compressor.models import macs
from compressor.models.kinds.length_adaptive import make_length_adaptive
from compressor.models.structure import LengthAdaptive, Structure
from tests.models.conftest import TASK_NAMES, make_inputs, make_model
from tests.stages.distill.conftest import tiny_task

BERT_BASE = {
    "model_type": "bert", "num_hidden_layers": 12, "num_attention_heads": 12, "hidden_size": 768,
    "intermediate_size": 3072,
}  # fmt: skip
MINILM = {**BERT_BASE, "num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536}
ADAPTIVE = Structure(length_adaptive=LengthAdaptive(keep=[1.0] * 6))


def test_bert_base_with_a_span_head_at_384() -> None:
    assert macs.count(BERT_BASE, Structure(), length=384, task="question-answering") == 35_340_779_520


@pytest.mark.parametrize(
    ("counts", "published"),
    [
        ((315, 251, 242, 159, 142, 33), 2_546_934_912),
        ((308, 247, 198, 159, 128, 103), 2_484_739_968),
        ((269, 253, 252, 202, 104, 34), 2_485_456_896),
        ((383, 380, 376, 358, 202, 123), 3_955_011_456),
    ],
)
def test_published_length_configurations(counts: tuple[int, ...], published: int) -> None:
    ours = macs.count(MINILM, ADAPTIVE, length=384, counts=counts, task="question-answering")
    assert abs(ours - published) <= 768
    keep = macs.keep_from_counts(counts, 384)
    assert macs.count(MINILM, ADAPTIVE, length=384, keep=keep, task="question-answering") == ours


@pytest.mark.parametrize("significance", ["all", "first"])
@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_the_same_as_the_products_of_a_real_pass(model_type: str, task_name: str, significance: str) -> None:
    """Ranked by all, the published formula also counts the output projection of the tokens that leave."""
    task = tiny_task(task_name)
    model = make_model(model_type, task)
    structure = LengthAdaptive(
        keep=[0.9, 0.5, 0.3],
        restore=task.restores_tokens,
        protect_first=not task.restores_tokens,
        significance=significance,
    )
    make_length_adaptive(model, structure)
    length = 20
    products = _products_of_linear_layers(model, length)
    counts = macs.token_counts(length, structure.keep, 2)
    before = [length, *counts[:-1]]
    steps = list(zip(before, counts, strict=True))
    attention = sum(2 * tokens * (kept if significance == "first" else tokens) * 32 for tokens, kept in steps)
    saved = 0 if significance == "first" else sum((tokens - kept) * 32**2 for tokens, kept in steps)
    embedding = 16 if model_type == "electra" else 32
    norms = length * embedding + sum((tokens + kept) * 32 for tokens, kept in steps)
    ours = macs.count(model.config.to_dict(), Structure(length_adaptive=structure), length=length, task=task)
    assert ours == products + saved + attention + norms


def _products_of_linear_layers(model: Any, length: int) -> int:
    total = 0

    def add(module: torch.nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        total += inputs[0].numel() // module.in_features * module.in_features * module.out_features

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(add)
    ids, mask = make_inputs(1, length)
    model(input_ids=ids, attention_mask=mask)
    return total


@pytest.mark.parametrize("task_name", TASK_NAMES)
def test_parameters_are_counted_from_the_config_alone(model_type: str, task_name: str) -> None:
    task = tiny_task(task_name)
    model = make_model(model_type, task)
    assert macs.parameter_count(model.config.to_dict(), task) == sum(p.numel() for p in model.parameters())


def test_a_stock_model_has_no_length_configuration() -> None:
    with pytest.raises(DialError, match="not length-adaptive"):
        macs.count(MINILM, Structure(), length=384, keep=[1.0] * 6, task="question-answering")


def test_counts_need_one_entry_a_layer() -> None:
    with pytest.raises(DialError, match="counts has 2 entries, the model has 6 layers"):
        macs.count(MINILM, ADAPTIVE, length=384, counts=[3, 2], task="question-answering")


def test_counting_does_not_import_torch() -> None:
    code = (
        "import sys; import compressor.models.macs, compressor.models.config_file, compressor.stages.registry,"
        "compressor.stages.length_adaptive.settings, compressor.stages.drop_layers.selection;"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

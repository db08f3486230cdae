"""Every two methods in both orders, every method before every number format: right, or refused for a stated reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.errors import PassError, RequestError
from compressor.stages.context import Checkpoint
from compressor.stages.registry import STAGES
from tests.combining import (
    METHODS,
    VARIANTS,
    Exported,
    agree,
    apply,
    tiny_teacher,
    wide_teacher,
    with_plain_weights,
)

PARTNERS = ("low_rank", "factorize_embeddings", "qat", "length_adaptive")
"""What the variants are tried with, in front and behind."""
TRANSFORMERS = (  # methods that work on transformer layers
    "drop_layers prune_weights prune_widths prune_hidden dynabert take_size low_rank share_layers squeeze qat "
    "length_adaptive deformer power_bert adaptive_depth"
)
ON_PLAIN_MATRICES = "prune_widths prune_hidden dynabert take_size"
WITH_EXITS = "with exits: it would train the last layer alone. Put adaptive_depth behind"
REFUSALS = [  # those in front, those behind, and what the message must say
    ("bilstm cnn", TRANSFORMERS, "has no transformer layers. Behind the distillation that makes it, only"),
    ("bilstm", "bilstm cnn", "(recurrent) would be lost"),
    ("cnn", "bilstm cnn", "(convolutional) would be lost"),
    ("drop_layers", "bilstm cnn", "(layers 2 in the place of 4) would be lost"),
    ("dynabert", "bilstm cnn", "(the sizes of dynabert) would be lost"),
    ("prune_weights prune_widths prune_hidden take_size low_rank factorize_embeddings share_layers squeeze qat "
     "length_adaptive deformer power_bert", "bilstm cnn", "would be lost: put distill first"),
    ("prune_weights", "low_rank dynabert take_size share_layers", "zeros must stay where they are: put prune_weights"),
    ("movement soft_movement pruned_embeddings", "low_rank", "zeros must stay where they are: put prune_weights"),
    ("pruned_embeddings", "factorize_embeddings", "none of these zeros: put factorize_embeddings in front"),
    ("low_rank", f"{ON_PLAIN_MATRICES} uneven_widths dynabert_depths share_layers", "products already: put low_rank"),
    ("low_rank", "low_rank", "a product of rank 8 already, and rank 8 is no less"),
    ("rank_by_energy", "low_rank", "already, and rank 8 is no less"),
    ("rank_by_fisher", "low_rank rank_by_fisher", "a product of rank 6 already, and rank"),
    ("share_layers", ON_PLAIN_MATRICES, "layers share their weights: put share_layers behind"),
    ("qat", f"{ON_PLAIN_MATRICES} prune_weights movement soft_movement pruned_embeddings low_rank rank_by_energy "
     "rank_by_fisher dynabert_depths uneven_widths share_layers squeeze", "trained for int8 already: put qat behind"),
    ("factorize_embeddings", "prune_hidden", "put it before factorize_embeddings"),
    ("factorize_embeddings", "factorize_embeddings", "factorized at rank 8 already, and 8 is no less"),
    ("prune_hidden squeeze", "dynabert", "set hidden: 0, or leave the hidden size as it is"),
    ("prune_weights prune_widths prune_hidden take_size low_rank factorize_embeddings share_layers length_adaptive "
     "deformer power_bert adaptive_depth", "squeeze", "only the weights of a plain model can be mapped"),
    ("length_adaptive power_bert", "deformer", "drops tokens: where texts are kept apart, nobody knows which matter"),
    ("deformer", "length_adaptive power_bert adaptive_depth", "keeps two texts apart below"),
    ("deformer", "take_size", "at least one must, and one must see both: keep others, or put deformer behind"),
    ("adaptive_depth", f"{ON_PLAIN_MATRICES} finetune prune_weights distill bilstm cnn qat length_adaptive deformer "
     "power_bert", WITH_EXITS),
    ("dact pabee", "qat length_adaptive", WITH_EXITS),
]  # fmt: skip
IMPOSSIBLE = [  # neither order works, as both refusals say
    ("bilstm cnn", TRANSFORMERS),
    ("bilstm cnn", "bilstm cnn"),
    ("deformer", "length_adaptive power_bert adaptive_depth"),
    ("low_rank", "low_rank"),  # a second time at the same rank
    ("factorize_embeddings", "factorize_embeddings"),
]
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamic int8": ("quantize", {"mode": "dynamic", "smallest_width": 2, "embeddings": "keep"}),
    "static int8": (
        "quantize",
        {"backend": "onnxruntime", "mode": "static", "smallest_width": 2, "embeddings": "keep"},
    ),
    "int4": ("quantize_weights", {"block_size": 16, "smallest_width": 2, "embeddings": "keep"}),
    "int4 embeddings": ("quantize_weights", {"block_size": 16, "smallest_width": 2, "embeddings": "int4"}),
}
First = Callable[[str], Checkpoint]


def pairs(*rows: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """(first, second) of a table of names with blanks between them."""
    for firsts, seconds in rows:
        yield from product(firsts.split(), seconds.split())


REFUSED = {pair: reason for firsts, seconds, reason in REFUSALS for pair in pairs((firsts, seconds))}
CASES = [
    *product(METHODS, METHODS),
    *product(VARIANTS, PARTNERS),
    *product(PARTNERS, VARIANTS),
    *((variant, variant) for variant in VARIANTS),
    ("pruned_embeddings", "factorize_embeddings"),
]


def cached(make: Callable[[str], Any]) -> Callable[[str], Any]:
    """A function of a name that does its work once."""
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = make(name)
        return made[name]

    return get


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    """A tiny model after one method, and the model itself for ""."""

    def make(method: str) -> Checkpoint:
        folder = tmp_path_factory.mktemp(method or "teacher")
        return apply(method, get(""), get(""), folder) if method else tiny_teacher(folder)

    get = cached(make)
    return get


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """A wider model after one method, exported and fused."""
    teacher = wide_teacher(tmp_path_factory.mktemp("wide"))

    def make(method: str) -> Exported:
        folder = tmp_path_factory.mktemp(f"wide-{method}")
        return agree(apply(method, teacher, teacher, folder), folder)

    return cached(make)


def test_no_stage_is_left_out() -> None:
    assert {stage for method in METHODS.values() for stage, _ in method} == set(STAGES)
    assert {stage for method in VARIANTS.values() for stage, _ in method} <= set(STAGES)


def test_every_pair_that_is_not_known_to_be_impossible_works_in_one_order() -> None:
    impossible = {frozenset(pair) for pair in pairs(*IMPOSSIBLE)}
    for one, other in combinations_with_replacement(METHODS, 2):
        refused = (one, other) in REFUSED and (other, one) in REFUSED
        assert refused == (frozenset((one, other)) in impossible), (one, other)
    assert REFUSED.keys() <= set(CASES)  # nothing is excused that is not tried


@pytest.mark.parametrize("method", [*METHODS, *VARIANTS])
def test_a_method_alone(method: str, first: First, tmp_path: Path) -> None:
    agree(first(method), tmp_path)


@pytest.mark.parametrize(("before", "behind"), dict.fromkeys(CASES))
def test_two_methods(before: str, behind: str, first: First, tmp_path: Path) -> None:
    reason = REFUSED.get((before, behind))
    if reason is None:
        agree(apply(behind, first(before), first(""), tmp_path), tmp_path)
        return
    with pytest.raises(RequestError) as refusal:
        apply(behind, first(before), first(""), tmp_path)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_and_a_number_format(method: str, number_format: str, fused: Callable[[str], Exported]) -> None:
    """Int8 differs by little of what texts differ by; products of four bits are those of the numbers they stand for."""
    exported = fused(method)
    name, values = FORMATS[number_format]
    if exported.rounds:  # what is rounded, and how, it has learned
        values = {"embeddings": "keep"}
    if exported.rounds and name == "quantize_weights":
        with pytest.raises(PassError, match="is quantized already"):
            exported.after(name, exported.fused, **values)
        return
    if method == "prune_vocabulary":  # so few words are left that a pass looks for no table of few bits
        values = {**values, "embeddings": "keep"}
    graph, notes = exported.after(name, exported.fused, **values)
    assert notes["quantized"] > 0
    found = exported.run(graph)[0]
    if name == "quantize_weights":
        expected = exported.run(with_plain_weights(graph))[0]
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.ptp(expected))
        assert (notes.get("embeddings") is not None) == (values["embeddings"] == "int4")
    else:
        expected = exported.run(exported.fused)[0]
        np.testing.assert_allclose(found, expected, atol=0.2 * np.ptp(expected))

"""What a request's JSON files foretell: the shape that the stages leave, and wishes that cannot be met.

Imports nothing heavy. `run` asks before any work, `plan` too, so that hours of training do not end in a refusal.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compressor.devices.identity import is_this_machine, measured_on
from compressor.errors import DataError, DeviceError, RequestError
from compressor.graph.expected import Expected
from compressor.graph.passes.fuse.requirements import check_layout
from compressor.graph.passes.quantize.requirements import check_trained
from compressor.graph.passes.quantize.scheme import resolve
from compressor.graph.passes.quantize.unread import check_unread
from compressor.graph.passes.quantize_weights.requirements import check_device, check_structure
from compressor.graph.passes.search_depth.settings import values_to_try
from compressor.graph.passes.set_lengths.settings import configuration
from compressor.models.dial import validate_keep
from compressor.models.families import family_of
from compressor.models.structure import Recurrent, Structure
from compressor.request import PassEntry, Request, StageEntry
from compressor.request.steps import TEACHER
from compressor.teacher import made_for

_LENGTHS = ("search_lengths", "set_lengths")
"""Passes that choose a length configuration."""
_SEARCHES = ("search_lengths", "search_depth")
"""Passes that look at a graph as it will be deployed."""
_NUMBER_FORMATS = ("quantize", "quantize_weights", "cast")
"""Passes that each change the number format of a whole graph."""


def final_config(request: Request, teacher: Mapping[str, Any]) -> dict[str, Any]:
    """The teacher's `config.json` as the stages will leave it; raises `RequestError` for a stage that does not fit."""
    config = dict(teacher)
    smaller = False  # than is foretold, by what the data decide
    for entry in request.stages:
        entry.spec.check_structure(Structure.from_config(config), entry.key)
        entry.spec.check_task(entry.settings, request.task)
        shape = entry.spec.load_shape()
        try:
            config = shape(config, dict(teacher), entry.settings)
        except RequestError:
            if not (smaller and getattr(entry.settings, "budget", None)):
                raise
            shape({**config, "vocab_size": 1}, dict(teacher), entry.settings)  # refuses what no vocabulary would allow
        smaller = smaller or getattr(entry.settings, "size_is_found", False)
    return config


def refuse_the_impossible(request: Request, teacher: Mapping[str, Any], *, to_measure: bool) -> None:
    """Check a request against its teacher's `config.json`.

    Args:
        request: What is asked for.
        teacher: The teacher's `config.json`.
        to_measure: Whether this machine is to measure too (`run`), not only to foretell (`plan`).

    Raises:
        RequestError: Stages that do not fit the model, passes that do not fit the graph, inputs that are too long.
        DeviceError: `gates.require_device` is set, and this machine, which is to measure, is not the device.
    """
    final = final_config(request, teacher)
    structure = Structure.from_config(final)
    passes = [entry.spec.name for entry in request.passes]
    of_lengths = next((name for name in _LENGTHS if name in passes), None)
    if of_lengths and structure.length_adaptive is None:
        raise RequestError(
            f"{of_lengths} needs a length dial: add the stage length_adaptive to the recipe, or take the pass out "
            f"with ~recipe.passes.{of_lengths}."
        )
    if "search_depth" in passes and structure.adaptive_depth is None:
        raise RequestError(
            "search_depth needs a model that can stop early: add the stage adaptive_depth to the recipe, or take the "
            "pass out with ~recipe.passes.search_depth."
        )
    _check_order(passes)
    several = [name for name in _NUMBER_FORMATS if name in passes]
    if len(several) > 1:
        raise RequestError(
            "a graph is either int8 or float16 or has weights of few bits: of the passes "
            f"{' and '.join(several)} take all but one out."
        )
    for entry in request.passes:
        _check_pass(entry, request, final)
    longest = family_of(final).longest_input(final)
    for key, length in (
        ("features.max_length", request.features.max_length),
        ("measure.length", request.measure.length),
    ):
        if length is not None and length > longest:
            raise RequestError(f"{key} = {length} is not possible: the model reads at most {longest} tokens.")
    here = request.device.host is None
    if to_measure and here and request.gates.require_device and not is_this_machine(request.device):
        raise DeviceError(
            f"gates.require_device=true, but the figures would be taken on {measured_on(request.device)}: "
            f"run this on {request.device.name}, name the board by device.host=USER@BOARD, or set "
            "gates.require_device=false."
        )


def fitted(request: Request, teacher: Mapping[str, Any]) -> Request:
    """The request with inputs no longer than its models read, where nobody asked for a length."""
    configs = (teacher, final_config(request, teacher))
    longest = min(family_of(config).longest_input(config) for config in configs)
    if request.features.max_length is not None or request.features.longest(request.task) <= longest:
        return request
    return dataclasses.replace(request, features=dataclasses.replace(request.features, max_length=longest))


def require_parts(request: Request, before: Sequence[StageEntry], data_name: str, has: Callable[[str], bool]) -> None:
    """Raise `DataError` for a stage (one of those `before` the recipe's too) or a pass that lacks data.

    `has` says whether the data called `data_name` has a part: train, calibration, search or dev.
    """
    for entry in (*before, *request.stages):
        missing = [part for part in entry.spec.parts_read(entry.settings) if not has(part)]
        if missing and entry.key == TEACHER:
            raise DataError(
                f"the teacher has no head for {request.task} and '{data_name}' has no {missing[0]} data to "
                "fine-tune it on: give data.train=..., or a teacher that is fine-tuned for the task."
            )
        if missing:
            raise DataError(
                f"stage '{entry.key}' needs {missing[0]} data and '{data_name}' has none: give "
                f"data.train=..., or take the stage out with ~recipe.stages.{entry.key}."
            )
    trained = any(entry.spec.name == "qat" for entry in request.stages)  # its ranges are known
    for step in request.passes:
        needed = step.spec.parts_needed(step.settings, request.device)
        missing = [part for part in needed if not has(part)]
        if missing and not (trained and step.spec.name == "quantize"):
            raise DataError(
                f"pass '{step.key}' needs {missing[0]} data, which is a part of the training data, and "
                f"'{data_name}' has none: give data.train=... or more of it, or take the pass out with "
                f"~recipe.passes.{step.key}."
            )


def _check_pass(entry: PassEntry, request: Request, final: Mapping[str, Any]) -> None:
    """Raise `RequestError` for a pass that cannot do what is asked to the graph of the model `final`."""
    structure, layers = Structure.from_config(final), family_of(final).layer_count(final)
    if entry.spec.name == "fuse":
        check_layout(entry.settings, request.device, request.opset, structure)
    if entry.spec.name == "set_lengths":
        validate_keep(configuration(entry.settings.keep, layers), layers)
    if entry.spec.name == "search_depth" and structure.adaptive_depth:
        values_to_try(entry.settings, structure.adaptive_depth, layers)
    if entry.spec.name == "quantize":
        resolve(entry.settings, request.device)
    if structure.quantizers is not None:
        _check_trained(entry, request)
    elif entry.spec.name == "quantize":
        check_unread(entry.settings, request.device)
        _check_products(entry, request, final)
    if entry.spec.name == "quantize_weights":
        check_device(entry.settings, request.device)
        check_structure(entry.settings, structure)
        _check_products(entry, request, final)


def _check_trained(entry: PassEntry, request: Request) -> None:
    """The same for a model that the stage qat has trained for int8."""
    if entry.spec.name == "quantize":
        check_trained(entry.settings, request.device)
    elif entry.spec.name in _NUMBER_FORMATS:
        raise RequestError(
            f"{entry.key}: the stage qat has trained the model for int8, so that its graph has int8 weights "
            "already: use the pass quantize instead."
        )


def _check_products(entry: PassEntry, request: Request, final: Mapping[str, Any]) -> None:
    """Raise `RequestError` where nothing would be left to quantize, or no word embeddings to store in few bits."""
    settings, quantize = entry.settings, entry.spec.name == "quantize"
    scheme = resolve(settings, request.device) if quantize else None
    if scheme is not None and scheme.mode in ("float16", "none"):
        return
    passes = [(step.spec.name, step.settings) for step in request.passes]
    expected = Expected(final, request.task, passes, request.device, request.opset)
    kind = Structure.from_config(final).other_encoder
    nothing = not expected.quantized(scheme, settings)
    if kind is None and nothing:
        raise RequestError(
            f"{entry.key}: no product of the model is left to quantize: check op_types and smallest_width = "
            f"{settings.smallest_width}, or take the pass out with ~recipe.passes.{entry.key}."
            if quantize
            else f"{entry.key}: no product of the model has smallest_width = {settings.smallest_width} rows and "
            f"columns: lower it, or take the pass out with ~recipe.passes.{entry.key}."
        )
    if kind is not None and made_for(final, request.task) and nothing:
        recurrent = isinstance(kind, Recurrent)
        other = "use the pass quantize with mode: dynamic, or " if recurrent else ""
        raise RequestError(
            f"{entry.key}: a {'BiLSTM' if recurrent else 'CNN'} for {request.task} has no product whose weights this "
            f"pass could store in fewer bits: {other}take it out with ~recipe.passes.{entry.key}."
        )
    if settings.embeddings in ("int8", "int4") and not expected.embeddings_found:
        raise RequestError(
            f"{entry.key}: embeddings: {settings.embeddings} needs word embeddings with a node of their own, and fuse "
            f"merges them with others for the device '{request.device.name}': leave embeddings at auto, or take the "
            "pass fuse out."
        )


def _check_order(passes: Sequence[str]) -> None:
    """Fusing comes first, then the number format, each once, then what looks at the result; `passes` are names."""
    ranks = {"fuse": 0, **dict.fromkeys(_NUMBER_FORMATS, 1), **dict.fromkeys(_SEARCHES, 2)}
    ordered = [name for name in passes if name in ranks]
    for name in ordered:
        if name not in _SEARCHES and ordered.count(name) > 1:
            raise RequestError(f"the pass {name} can be in a recipe once: it cannot change what it has changed.")
    for before, behind in itertools.pairwise(ordered):
        if ranks[before] > ranks[behind]:
            why = "finds nothing in a changed graph" if behind == "fuse" else "changes what that one has looked at"
            raise RequestError(f"the pass {behind} cannot stand behind {before}: it {why}. Put it in front.")

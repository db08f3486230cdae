"""From the words of the command line to a checked `Request`. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.config.opset import choose_opset
from compressor.config.paths import expanded
from compressor.config.run import (
    TASK_NAMES,
    DataSettings,
    ExportSettings,
    FeatureSettings,
    GateSettings,
    RecipeSettings,
    RunSettings,
    TaskName,
    TeacherSettings,
)
from compressor.config.schema import parse
from compressor.data import demo
from compressor.devices import profiles
from compressor.errors import RequestError, TaskError, UnknownNameError
from compressor.graph.registry import pass_spec
from compressor.request.compose import compose
from compressor.request.folders import GROUPS
from compressor.request.overrides import Overrides, parse_overrides
from compressor.request.request import Request, StageEntry
from compressor.request.steps import resolve_steps
from compressor.stages.registry import stage_spec

_OVERLAID = {"features": FeatureSettings, "export": ExportSettings, "gates": GateSettings}


def build(arguments: Sequence[str] = (), *, config_dirs: Sequence[str] = ()) -> Request:
    """Compose and check a request from overrides such as `recipe=minilm` and `recipe.stages.distill.epochs=1`.

    Raises `RequestError`, `UnknownNameError` or `TaskError`: one sentence that names key, file and nearest name.
    """
    overrides = parse_overrides(arguments, config_dirs)
    values, files = compose(overrides)
    groups = {group: _mapping(values.pop(group, None), group) for group in GROUPS}
    _check_top(values)
    run = parse(RunSettings, values, where="the request")

    recipe_values = _recipe_values(groups["recipe"], files["recipe"])
    for name, cls in _OVERLAID.items():
        given = getattr(run, name)
        parse(cls, given, where=_where(name, files, overrides))
        recipe_values[name] = {**_mapping(recipe_values.get(name), f"recipe.{name}"), **given}
    recipe = parse(RecipeSettings, recipe_values, where=_where("recipe", files, overrides))
    data = _data(groups["data"], _where("data", files, overrides))
    teacher = _teacher(groups["teacher"], _where("teacher", files, overrides))
    stages = resolve_steps(
        "stage", recipe.stages, stage_spec, lambda key: _where(f"recipe.stages.{key}", files, overrides)
    )
    passes = resolve_steps(
        "pass", recipe.passes, pass_spec, lambda key: _where(f"recipe.passes.{key}", files, overrides)
    )
    request = Request(
        recipe=recipe,
        task=_task(run.task, recipe, stages),
        stages=stages,
        passes=passes,
        device=profiles.resolve(
            {"name": files["device"].stem, **groups["device"]}, where=_where("device", files, overrides)
        ),
        data_name=_data_name(files["data"].stem, data),
        data=data,
        teacher_name=teacher.path or files["teacher"].stem,
        teacher=teacher,
        features=recipe.features,
        export=recipe.export,
        gates=recipe.gates,
        measure=run.measure,
        seed=run.seed,
        overwrite=run.overwrite,
        export_each_stage=run.export_each_stage,
        output=expanded(run.output),
        words=(*(f"--config-dir={place}" for place in config_dirs), *arguments),
    )
    _check_device(request)
    if "demo" in (data.source, teacher.source):
        demo.require(request.task)
    return request


def _check_device(request: Request) -> None:
    """Raises `RequestError` where export and gates ask for what the device cannot do."""
    choose_opset(request.export.opset, request.device)
    limit, memory = request.gates.max_memory_mb, request.device.memory_mb
    if limit is not None and memory is not None and limit > memory:
        raise RequestError(
            f"gates.max_memory_mb = {limit:g} is more than the device '{request.device.name}' has "
            f"(device.memory_mb = {memory:g})."
        )


def _check_top(values: Mapping[str, Any]) -> None:
    known = [*GROUPS, *RunSettings.__dataclass_fields__]
    for key in values:
        if key not in known:
            raise UnknownNameError("key", key, known, "the request")
    task = values.get("task")
    if task is not None and task not in TASK_NAMES:
        raise UnknownNameError("task", str(task), TASK_NAMES)


def _recipe_values(given: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The recipe with its name, and `{}` for stages and passes that are written as an empty line."""
    values = {"name": file.stem, **given}
    for section in ("stages", "passes"):
        entries = values.get(section)
        if entries is None:
            values[section] = {}
        elif isinstance(entries, Mapping):
            values[section] = {key: {} if entry is None else entry for key, entry in entries.items()}
    return values


def _task(asked: TaskName | None, recipe: RecipeSettings, stages: Sequence[StageEntry]) -> TaskName:
    task = asked or recipe.task
    if task not in recipe.tasks:
        raise TaskError(f"recipe '{recipe.name}' cannot do {task}: it is for {', '.join(recipe.tasks)}.")
    for entry in stages:
        if task not in entry.spec.tasks:
            raise TaskError(f"stage '{entry.key}' cannot do {task}: it is for {', '.join(entry.spec.tasks)}.")
    return task


def _teacher(values: Mapping[str, Any], where: str) -> TeacherSettings:
    """`teacher.path=DIR` alone is enough to say that the teacher is a path."""
    given = dict(values)
    if given.get("path") is not None and given.get("source", "demo") == "demo":
        given["source"] = "path"
    teacher = parse(TeacherSettings, given, where=where)
    if teacher.source == "path" and teacher.path is None:
        raise RequestError(f"{where}: 'path' is missing: give teacher.path=DIR or a hub name.")
    return teacher if teacher.path is None else dataclasses.replace(teacher, path=_at_home(teacher.path))


def _data(values: Mapping[str, Any], where: str) -> DataSettings:
    data = parse(DataSettings, values, where=where)
    names = ("train", "dev", "labels") if data.source == "files" else ("labels",)
    paths: dict[str, Any] = {name: _at_home(value) for name in names if (value := getattr(data, name)) is not None}
    return dataclasses.replace(data, **paths)


def _at_home(path: str) -> str:
    return str(expanded(path)) if path.startswith("~") else path


def _data_name(choice: str, data: DataSettings) -> str:
    return data.name.replace("/", "-") if choice == "hub" and data.name else choice


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RequestError(f"'{where}' = {value!r} is not possible: it is a group of settings, set {where}.KEY=VALUE.")
    return {str(key): entry for key, entry in value.items()}


def _where(key: str, files: Mapping[str, Path], overrides: Overrides) -> str:
    """For errors: the key, and the file or command line that it came from."""
    if overrides.names(key):
        return f"{key} (command line)"
    group = key.partition(".")[0]
    return f"{key} ({files[group]})" if group in files else key

"""From the words of the command line to what is to be advised, and from a candidate to a run of its own."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from compressor.advisor.candidates import Candidate, recipe, recipe_name
from compressor.advisor.settings import LIMITS, AdviseSettings
from compressor.config.run import TASK_NAMES, GateSettings, RunSettings, TeacherSettings
from compressor.config.schema import parse
from compressor.errors import RequestError, UnknownNameError
from compressor.graph.registry import pass_spec
from compressor.request import Request, build
from compressor.request.folders import GROUPS
from compressor.request.overrides import setting
from compressor.request.steps import resolve_steps
from compressor.stages.registry import stage_spec

_BASE = "recipe=int8"  # a recipe without stages, which does every task; candidates bring their own
_OWN = "advise."
_KNOWN = [name for name in (*GROUPS, *RunSettings.__dataclass_fields__) if name != "recipe"]


@dataclass(frozen=True)
class Question:
    """What is asked: a request without a recipe for each teacher, the limits as its gates, and the settings."""

    requests: Sequence[Request]  # one a teacher
    settings: AdviseSettings
    words: Sequence[str]  # of the command line that every run of a candidate needs too
    config_dirs: Sequence[str]

    @property
    def request(self) -> Request:
        """The request of the first teacher: all but the teacher is the same in the others."""
        return self.requests[0]

    @property
    def folder(self) -> Path:
        """Where the advice goes: `<output>/advice/<task>-<data>/<device>`."""
        request = self.request
        return request.output / "advice" / f"{request.task}-{request.data_name}" / request.device.name

    @property
    def goal(self) -> str:
        """What the best candidate is: the fastest that reaches `min_metric`, or the one of the best metric."""
        if self.settings.prefer != "auto":
            return self.settings.prefer
        return "metric" if self.request.gates.min_metric is None else "latency"


def ask(words: Sequence[str], config_dirs: Sequence[str] = ()) -> Question:
    """Read and check what is to be advised. Imports nothing heavy.

    Raises:
        RequestError: No task, a recipe, a limit that no model can meet, or settings that are wrong.
    """
    own = [word for word in words if word.lstrip("+").startswith(_OWN)]
    for key, _, value in (word.partition("=") for word in words):
        if key in LIMITS and "," in value:
            raise RequestError(f"{key}={value} has several values: advise answers one question at a time.")
    rest = [_as_gate(word) for word in words if word not in own]
    keys = [word.partition("=")[0] for word in rest]
    for key in keys:
        if key == "recipe" or key.startswith(("recipe.", "~recipe")):
            raise RequestError(f"'{key}' belongs to a run: advise lays out recipes of its own (advise.grid.*).")
        if key.lstrip("+~").partition(".")[0] not in ("hydra", *_KNOWN):
            raise UnknownNameError("key", key, [*LIMITS, *_KNOWN], "what is asked")
    _check_once(rest)
    if "task" not in keys:
        raise RequestError(f"advise needs task=NAME: {', '.join(TASK_NAMES[:-1])} or {TASK_NAMES[-1]}.")
    if "gates.max_metric_drop" not in keys:
        rest.append("gates.max_metric_drop=null")
    if "export_each_stage" not in keys:
        rest.append("export_each_stage=false")
    base = build([_BASE, *rest], config_dirs=config_dirs)
    settings = _settings(own)
    _check_limits(base.gates, settings)
    first = [word for word in rest if not word.startswith(("output=", "overwrite="))]
    return Question(
        _with_teachers(base, settings), settings, [*first, setting("output", str(base.output))], list(config_dirs)
    )


def of_candidate(base: Request, candidate: Candidate, settings: AdviseSettings, *, share: float = 1.0) -> Request:
    """The run of one candidate, for a share of the training budget; errors as of any request."""
    name = recipe_name(candidate)
    content = recipe(candidate, settings, base.task)
    about = {"name": name, "description": content["description"], "paper": "", "task": base.task}
    return dataclasses.replace(
        base,
        recipe=dataclasses.replace(base.recipe, tasks=[base.task], **about),
        stages=resolve_steps("stage", candidate.shape.stages(settings, share), stage_spec, lambda key: f"advise.{key}"),
        passes=resolve_steps("pass", candidate.passes(), pass_spec, lambda key: f"advise: pass {key}"),
    )


def write_recipe(question: Question, candidate: Candidate) -> Path:
    """The candidate as `recipe/<name>.yaml` in the advice's folder, which `--config-dir` takes."""
    file = question.folder / "recipe" / f"{recipe_name(candidate)}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = recipe(candidate, question.settings, question.request.task)
    file.write_text(OmegaConf.to_yaml(OmegaConf.create(content)), encoding="utf-8")
    return file


def own_words(question: Question, candidate: Candidate) -> list[str]:
    """Settings of a run that makes the candidate from its recipe file."""
    request = question.requests[candidate.shape.teacher]
    words = [f"recipe={recipe_name(candidate)}", *question.words]
    if candidate.shape.teacher:
        words = [word for word in words if not word.startswith("teacher")]
        words.append(setting("teacher.path", str(request.teacher.path)))
    return words


def command(question: Question, candidate: Candidate) -> list[str]:
    """Words after `python -m compressor` that make the candidate from its recipe file."""
    dirs = [word for folder in (*question.config_dirs, str(question.folder)) for word in ("--config-dir", folder)]
    return [*dirs, *own_words(question, candidate)]


def said(words: Sequence[str]) -> str:
    """A command as a shell takes it."""
    return "python -m compressor " + shlex.join(words)


def _as_gate(word: str) -> str:
    key, equals, value = word.partition("=")
    return f"gates.{key}{equals}{value}" if key in LIMITS else word


def _settings(words: Sequence[str]) -> AdviseSettings:
    for word in words:
        if "=" not in word:
            raise RequestError(f"'{word}' is not understood: settings are given as key=value.")
    lines = [word.lstrip("+").removeprefix(_OWN) for word in words]
    known = AdviseSettings.__dataclass_fields__
    for line in lines:
        key = line.partition("=")[0].partition(".")[0]
        if key not in known:
            raise UnknownNameError("key", f"{_OWN}{key}", [f"{_OWN}{name}" for name in known], "the command line")
    try:
        values: Any = OmegaConf.to_container(OmegaConf.from_dotlist(lines), resolve=True)
    except (OmegaConfBaseException, ValueError, YAMLError) as error:
        raise RequestError(f"the settings of advise are not understood: {' '.join(str(error).split())}.") from error
    return parse(AdviseSettings, values, where="advise (command line)")


def _check_once(words: Sequence[str]) -> None:
    """Raise `RequestError` for a limit that is given twice and not the same: one of them would count for nothing."""
    given: dict[str, str] = {}
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key.removeprefix("gates.") in LIMITS and given.setdefault(key, value) != value:
            name = key.removeprefix("gates.")
            raise RequestError(f"{name} is given twice, {given[key]} and {value}: which is it?")


def _check_limits(gates: GateSettings, settings: AdviseSettings) -> None:
    if gates.min_metric is not None and gates.min_metric > 100:
        raise RequestError(f"min_metric = {gates.min_metric:g} is above 100 points, which no model reaches.")
    if gates.min_metric is None and all(getattr(gates, name) is None for name in LIMITS):
        raise RequestError(f"advise needs a limit to hold candidates against: {', '.join(LIMITS)}.")
    if settings.prefer == "latency" and gates.min_metric is None and gates.max_metric_drop is None:
        raise RequestError(
            "advise.prefer=latency would recommend the fastest candidate whatever it answers: give min_metric=POINTS "
            "(or gates.max_metric_drop=POINTS) with it, or leave it out."
        )


def _with_teachers(base: Request, settings: AdviseSettings) -> list[Request]:
    further = [
        dataclasses.replace(base, teacher_name=path, teacher=TeacherSettings(source="path", path=path))
        for path in settings.grid.teachers
    ]
    return [base, *further]

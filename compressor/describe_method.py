"""What `describe` says of a stage, a pass or a recipe: its settings and what they mean. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from rich.text import Text

from compressor.config.fields import setting_lines
from compressor.config.run import TASK_NAMES
from compressor.console import out, simple_table
from compressor.graph.registry import PASSES, PassSpec
from compressor.request.compose import read_yaml
from compressor.request.folders import choices
from compressor.stages.registry import STAGES, StageSpec


def describe_method(name: str, own: Sequence[Path]) -> bool:
    """Print every stage, pass and recipe of that name; False: there is none. Raises `RequestError` for damaged YAML."""
    recipes = choices("recipe", own)
    if name in STAGES:
        _print_method("stage", STAGES[name])
    if name in PASSES:
        _print_method("pass", PASSES[name])
    if name in recipes:
        _print_recipe(name, recipes[name])
    return name in STAGES or name in PASSES or name in recipes


def method_names(own: Sequence[Path]) -> set[str]:
    """Names of all stages, passes and recipes."""
    return {*STAGES, *PASSES, *choices("recipe", own)}


def _print_method(kind: str, spec: StageSpec | PassSpec) -> None:
    console = out()
    settings = spec.load_settings()
    console.print(Text(f"{kind} {spec.name}: {spec.summary}"), style="bold")
    console.print(Text(f"{spec.family}; changes {spec.changes}; {spec.paper}"))
    if isinstance(spec, StageSpec) and spec.tasks != TASK_NAMES:
        console.print(Text(f"for {', '.join(spec.tasks)}"))
    console.print(Text(f"\n{inspect.getdoc(settings)}\n"))
    group = "stages" if kind == "stage" else "passes"
    table = simple_table("setting", "type", "default", "what it means")
    for line in setting_lines(settings):
        table.add_row(line.name, line.kind, line.default, line.comment)
    console.print(table if table.row_count else Text("It has no settings."))
    console.print(Text(f"\non the command line: recipe.{group}.{spec.name}.SETTING=VALUE\n"))


def _print_recipe(name: str, file: Path) -> None:
    console = out()
    values = cast(dict[str, Any], OmegaConf.to_container(read_yaml(file)))
    console.print(Text(f"recipe {name}: {values.get('description', '')}"), style="bold")
    table = simple_table("step", "name", "what it does")
    for group, known in (("stages", STAGES), ("passes", PASSES)):
        kind = "stage" if group == "stages" else "pass"
        for key, settings in (values.get(group) or {}).items():
            spec = _spec(str(key), settings, kind, known)
            table.add_row(kind, str(key), spec.summary if spec else "")
    console.print(table)
    console.print(Text(f"\nfrom: {file}\n"))
    console.print(Text(file.read_text(encoding="utf-8").rstrip()), soft_wrap=True)
    console.print(Text("\nAll settings of a step, with their defaults: python -m compressor describe NAME\n"))


def _spec(
    key: str, settings: Any, kind: str, known: Mapping[str, StageSpec] | Mapping[str, PassSpec]
) -> StageSpec | PassSpec | None:
    """What a step of a recipe runs: the stage or pass that its settings name, or that it is called after."""
    named = settings.get(kind) if isinstance(settings, Mapping) else None
    return known.get(str(named or key))

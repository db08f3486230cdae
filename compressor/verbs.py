"""What the verbs of the command line do. Heavy imports stay inside the functions that need them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from compressor.arguments import Arguments, no_settings, no_words, one_folder, only_options, require_folder
from compressor.cache import Cache
from compressor.config.paths import expanded
from compressor.console import Console, out, show_outcome, show_rows, show_verdicts, simple_table
from compressor.errors import RequestError, UnknownNameError
from compressor.graph.registry import PASSES
from compressor.request.overrides import path_of
from compressor.stages.registry import STAGES

if TYPE_CHECKING:
    from compressor.request import Request

SECTIONS = ("recipes", "stages", "passes", "devices", "data")


def run(arguments: Arguments) -> int:
    """Run one request, or every combination of values with --multirun."""
    from compressor.request import build

    no_words(arguments)
    several = ["--launcher", "--shard"] if arguments.multirun else []
    only_options(arguments, "--multirun", "--config-dir", *several)
    if arguments.multirun:
        from compressor.sweep import run_sweep

        launcher, shard = arguments.launcher, arguments.shard
        return run_sweep(arguments.settings, arguments.config_dirs, launcher=launcher, shard=shard)
    request = build(arguments.settings, config_dirs=arguments.config_dirs)
    _run_one(request)
    return 0


def _run_one(request: Request) -> None:
    """Run and show; what a gate refuses is shown too, before its error."""
    from compressor.pipeline import RefusedRunError
    from compressor.pipeline import run as run_pipeline

    try:
        show_outcome(run_pipeline(request, Console()))
    except RefusedRunError as refusal:
        show_rows(refusal.rows, refusal.verdicts)
        raise


def list_(arguments: Arguments) -> int:
    """Show recipes, stages, passes, devices and data."""
    from compressor.request.folders import own_folder

    no_settings(arguments)
    only_options(arguments, "--config-dir")
    own = [own_folder(place) for place in arguments.config_dirs]
    for word in arguments.words:
        if word not in SECTIONS:
            raise UnknownNameError("list", word, SECTIONS)
    for section in arguments.words or SECTIONS:
        _show_section(section, own)
    return 0


def _show_section(section: str, own: list[Path]) -> None:
    from compressor.request.compose import read_yaml
    from compressor.request.folders import choices

    console = out()
    console.print(Text(section), style="bold")
    if section in ("stages", "passes"):
        table = simple_table("name", "family", "changes", "what it does", "paper")
        for spec in (STAGES if section == "stages" else PASSES).values():
            table.add_row(spec.name, spec.family, spec.changes, spec.summary, spec.paper)
    else:
        group = section if section == "data" else section.removesuffix("s")
        table = simple_table("name", *(["task"] if group == "recipe" else []), "what it is")
        for name, file in sorted(choices(group, own).items()):
            try:
                values = read_yaml(file)
            except RequestError as error:
                values = {"description": str(error)}
            about = str(values.get("description") or _first_comment(file))
            table.add_row(name, *([str(values.get("task", ""))] if group == "recipe" else []), about)
    console.print(table)
    console.print()


def _first_comment(file: Path) -> str:
    line = file.read_text(encoding="utf-8").partition("\n")[0]
    return line.lstrip("# ") if line.startswith("#") else ""


def plan(arguments: Arguments) -> int:
    """Show what a run would do; with --multirun, what each of them would do."""
    from compressor.request import build
    from compressor.request.overrides import sweep

    no_words(arguments)
    only_options(arguments, "--multirun", "--config-dir")
    combinations = sweep(arguments.settings) if arguments.multirun else [arguments.settings]
    requests = [build(settings, config_dirs=arguments.config_dirs) for settings in combinations]
    for place, (settings, request) in enumerate(zip(combinations, requests, strict=True), start=1):
        if arguments.multirun:
            Console().line(f"run {place} of {len(requests)}: {' '.join(settings)}")
        _show_plan(request)
    return 0


def _show_plan(request: Request) -> None:
    from compressor.data.presence import require_data
    from compressor.plan import make_plan

    require_data(request.data)
    made = make_plan(request)
    console = out()
    console.print(Text(f"{request.recipe.name}: {request.recipe.description}"))
    for name, value in made.facts.items():
        console.print(Text(f"{name:>9}  {value}"))
    table = simple_table("step", "name", "cached", "what it does")
    for step, kept in zip(made.steps, made.cached, strict=True):
        table.add_row(step.kind, step.name, "yes" if kept else "no", step.summary)
    console.print(table)
    console.print(Text("The data is read when it runs; nothing of it was checked but that it is there."))
    console.print(Text(f"artifact: {request.artifact}{' (something is there already)' if made.artifact_there else ''}"))


def advise(arguments: Arguments) -> int:
    """Find the recipe that fits a task, a device and its limits."""
    from compressor.advisor.verb import run as run_advice

    no_words(arguments)
    only_options(arguments, "--config-dir")
    return run_advice(arguments.settings, arguments.config_dirs)


def report(arguments: Arguments) -> int:
    """One page of all runs under some folders."""
    from compressor.report.verb import report as write_report

    only_options(arguments)
    return write_report(arguments.words, arguments.settings)


def describe(arguments: Arguments) -> int:
    """Show a device's profile and why it decides what it decides, or the settings of a stage, a pass or a recipe."""
    from compressor.describe import describe as describe_device

    only_options(arguments, "--config-dir")
    return describe_device(arguments.words, arguments.settings, arguments.config_dirs)


def emulator(arguments: Arguments) -> int:
    """Put together, show or remove what emulated Arm cores need."""
    from compressor.emulate import manage

    only_options(arguments)
    return manage(arguments.words, arguments.settings)


def verify(arguments: Arguments) -> int:
    """Check an artifact's files, graph and that it runs."""
    folder = one_folder(arguments)
    only_options(arguments)
    no_settings(arguments)
    require_folder(folder)
    from compressor.artifact.verify import verify as verify_artifact

    found = verify_artifact(folder)
    extra = f"; not part of it: {', '.join(found.extra)}" if found.extra else ""
    Console().line(f"{folder}: {found.manifest.title}, sound ({len(found.manifest.files)} files){extra}")
    return 0


def validate(arguments: Arguments) -> int:
    """Measure an artifact anew, here or on a board, against a device's profile and the artifact's own gates."""
    folder = one_folder(arguments)
    only_options(arguments, "--config-dir")
    target, overwrite, settings = _kept_at(arguments.settings)
    _only_measured_anew(settings)
    require_folder(folder)
    from compressor.revalidate import keep, require_place, revalidate

    if target is not None:
        require_place(target, overwrite=overwrite)
    result = revalidate(folder, settings, arguments.config_dirs, Console())
    console = out()
    table = simple_table("", "then", "now", right=(1, 2))
    for name, before, now in result.lines:
        table.add_row(name, before, now)
    console.print(table)
    console.print(Text(f"measured on {result.measured_on}"))
    show_verdicts(result.verdicts, console)
    if target is not None:
        keep(result, target, overwrite=overwrite)
        console.print(Text(f"written: {target}"))
    result.require()
    return 0


def cache(arguments: Arguments) -> int:
    """Show or clean what is kept between runs."""
    words = arguments.words
    only_options(arguments, *(["--max-gb", "--all"] if words == ["clean"] else []))
    if words not in (["list"], ["clean"]):
        raise UnknownNameError("cache", " ".join(words) or "(nothing)", ("list", "clean"))
    kept = Cache(_output(arguments) / ".cache")
    if words == ["clean"]:
        if arguments.everything == (arguments.max_gb is not None):
            raise RequestError(
                "cache clean needs --max-gb N, to remove what was not used for longest down to N gigabytes, or --all."
            )
        gone, freed = kept.clean(_max_bytes(arguments.max_gb))
        Console().line(f"{gone} entries removed, {freed / 1e6:.1f} MB freed in {kept.root}")
        return 0
    entries, unfinished = kept.entries(), kept.unfinished()
    table = simple_table("key", "MB", "last used", "what it is", right=(1,))
    rows = [(entry, entry.title) for entry in entries] + [
        (left, "unfinished: a run goes on here") for left in unfinished
    ]
    for item, title in rows:
        table.add_row(item.key, f"{item.size_bytes / 1e6:.1f}", _when(item.last_used), title)
    if rows:
        out().print(table)
    also = f" and {len(unfinished)} unfinished" if unfinished else ""
    total = sum(item.size_bytes for item, _ in rows)
    Console().line(f"{len(entries)} entries{also}, {total / 1e6:.1f} MB in {kept.root}")
    return 0


def _output(arguments: Arguments) -> Path:
    """The folder given as `output=DIR`, or the usual one."""
    folder = "exports"
    for setting in arguments.settings:
        key, _, value = setting.partition("=")
        if key != "output":
            raise UnknownNameError("key", key, ["output"], "cache")
        folder = value
    return expanded(folder)


def _max_bytes(max_gb: str | None) -> int:
    try:
        limit = 0.0 if max_gb is None else float(max_gb)
    except ValueError:
        limit = -1.0
    if not math.isfinite(limit) or limit < 0:
        raise RequestError(f"--max-gb {max_gb} is not possible: give a number of gigabytes.")
    return int(limit * 1e9)


def _when(seconds: float) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _kept_at(settings: Sequence[str]) -> tuple[Path | None, bool, list[str]]:
    """The folder that figures taken anew go to, whether they may replace others there, and all other settings."""
    given: dict[str, str] = {}
    others: list[str] = []
    for setting in settings:
        key, _, value = setting.partition("=")
        if key in ("output", "overwrite"):
            given[key] = value
        else:
            others.append(setting)
    if given.get("output") == "":
        raise RequestError("output= names no folder: give output=FOLDER.")
    if "overwrite" in given and "output" not in given:
        raise RequestError("'overwrite' means nothing to validate without output=FOLDER.")
    overwrite = given.get("overwrite", "false").lower()
    if overwrite not in ("true", "false"):
        raise RequestError(f"overwrite={given['overwrite']} is not possible: true or false.")
    return expanded(path_of(given["output"])) if "output" in given else None, overwrite == "true", others


def _only_measured_anew(settings: Sequence[str]) -> None:
    """An artifact's own request stands; only the device, how it is measured and where its data lies can be given."""
    for setting in settings:
        key = setting.partition("=")[0]
        if key.startswith("~") or key in ("recipe", "teacher", "data", "measure"):
            raise RequestError(
                f"'{setting}' means nothing to validate: it takes device=NAME, device.host=USER@BOARD, "
                "measure.KEY=VALUE, data.KEY=VALUE and output=FOLDER."
            )


VERBS: dict[str, Callable[[Arguments], int]] = {
    "run": run,
    "list": list_,
    "plan": plan,
    "describe": describe,
    "emulator": emulator,
    "advise": advise,
    "report": report,
    "verify": verify,
    "validate": validate,
    "cache": cache,
}

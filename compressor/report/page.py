"""The page: one self-contained HTML file for a run, a sweep or an advice; nothing is loaded from elsewhere.

It is readable without JavaScript. What it holds of others' data is escaped text; scripts and styles are named by their
hashes in its content security policy, so that nothing else in it can run.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2

from compressor.artifact.figures import shown_name
from compressor.artifact.manifest import Manifest
from compressor.report import details, plot
from compressor.report.entry import FIGURES, OF_SPEED, STATES, Axis, Entry, Figure, Origin
from compressor.report.plot import Dot

X_AXES = ("p50_ms", "peak_memory_mb", "size_mb", "energy_mj", "gmacs", "p90_ms", "p99_ms", "training_s")
Y_AXES = ("metric", "search_metric", "metric_drop")
GOOD = ("artifact", "recommended")
MARKS = {"host": "other machine", "predicted": "predicted"}
"""What is written beside a figure that is not the device's own."""
_IN_DETAIL = ("p90_ms", "first_call_ms")
"""Figures that the table of many runs leaves out."""
_SIGNED = ("metric", "search_metric", "metric_drop")
_REFUSED = "no artifact was written: "
_ODD = (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, jinja2.TemplateError)
"""What odd values of a manifest raise, wherever they are used."""
_HUGE = 1e15
"""No figure of ours is as large, and no axis reaches so far."""
_EXAMPLES = 2
"""Texts shown a run where a page has many."""


def render(
    entries: Sequence[Entry],
    *,
    title: str,
    lead: Sequence[str] = (),
    limits: Mapping[str, float] | None = None,
    problems: Sequence[str] = (),
) -> str:
    """The whole page.

    Args:
        entries: Runs or candidates; for a single one with its manifest, its steps are what is plotted.
        title: The heading.
        lead: Paragraphs below it, such as an advice's answer in words.
        limits: What an advice had to meet, by the names of `FIGURES`; drawn as lines.
        problems: What could not be shown and why, one sentence each.
    """
    bounds = dict(limits or {})
    single = entries[0] if len(entries) == 1 and not bounds else None
    points = _of_run(single) if single else _of_entries(entries)
    recommended = [entry for entry in entries if entry.state == "recommended"]
    environment = _environment()
    return environment.get_template("page.html.jinja").render(
        title=title,
        lead=lead,
        entries=entries,
        single=single,
        recommended=recommended[0] if recommended else None,
        limits=[(FIGURES[name], value, "at least" if FIGURES[name].more_is_better else "at most")
                for name, value in bounds.items()],
        problems=problems,
        counts=_counts(entries),
        columns=_columns(entries),
        table_columns=[name for name in _columns(entries) if name not in _IN_DETAIL],
        facts=_facts(entries),
        reasons=_reasons(entries),
        plot=_static(points, bounds, apart=single is not None),
        legend=[(kind, plot.shape(place, 7, 7)) for place, kind in enumerate(_kinds(points))],
        x_axes=[name for name in X_AXES if any(name in point["values"] for point in points)],
        y_axes=[name for name in Y_AXES if any(name in point["values"] for point in points)],
        data=_json({
            "points": points,
            "axes": {name: _axis(axis) for name, axis in FIGURES.items()},
            "limits": bounds,
            "fronts": "recipe" if single else None,
            "start": _start(points, bounds),
        }),
        examples=None if single else _EXAMPLES,
        style=_text("page.css"),
        script=_text("page.js"),
        policy=_policy(),
        request=json.dumps(single.manifest.request, indent=2, ensure_ascii=False, default=str)
        if single and single.manifest else "",
    )  # fmt: skip


def render_run(manifest: Manifest, *, refused: str | None = None) -> str:
    """The page of one run; `refused` is the reason why there is no artifact."""
    return render([Entry.from_manifest(manifest, reason=(refused or "").removeprefix(_REFUSED))], title=manifest.title)


def entry_of(manifest: Manifest, *, folder: str) -> tuple[Entry | None, str]:
    """The entry of a manifest that others may have changed, or None and why it cannot be shown."""
    try:
        entry = Entry.from_manifest(manifest, folder=folder)
    except _ODD as error:
        return None, _in_short(error)
    reason = why_not(entry)
    return (None, reason) if reason else (entry, "")


def why_not(entry: Entry) -> str:
    """Why an entry cannot be shown, as its manifest has odd values; empty where it can."""
    try:
        _environment().get_template("run.html.jinja").module.body(entry, "h3", _EXAMPLES)  # type: ignore[attr-defined]
        _json(_of_entries([entry]))
        for step in _of_run(entry):
            if bad := [name for name, value in step["values"].items() if not _possible(name, value)]:
                return f"{FIGURES[bad[0]].label} of '{step['label']}' is {step['values'][bad[0]]:g}"
        odd = next((name for name, figure in entry.figures.items() if not _possible(name, figure.value)), None)
    except _ODD as error:
        return _in_short(error)
    return f"{FIGURES[odd].label} is {entry.value(odd):g}" if odd else ""


def _possible(name: str, value: float) -> bool:
    """Whether a figure may be what it says: metrics and their differences can be below zero, quantities cannot."""
    return abs(value) < _HUGE and (value >= 0 or name in _SIGNED)


def _in_short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compressor.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(fixed=_fixed, name=shown_name)
    environment.globals.update(
        figures=FIGURES,
        states=STATES,
        details=details,
        marks=MARKS,
        good=GOOD,
        noted=_noted,
        measured=measured,
        shell=shlex.join,
        verdicts={None: "not judged", True: "met", False: "missed"},
        width=plot.WIDTH,
        height=plot.HEIGHT,
    )
    return environment


@functools.cache
def _text(name: str) -> str:
    return resources.files("compressor.report").joinpath("templates", name).read_text(encoding="utf-8")


@functools.cache
def _policy() -> str:
    """What the browser may do with the page: show it, with this style and this script, and load nothing."""
    parts = ["default-src 'none'"]
    for kind, name in (("style-src", "page.css"), ("script-src", "page.js")):
        digest = base64.b64encode(hashlib.sha256(_text(name).encode()).digest()).decode()
        parts.append(f"{kind} 'sha256-{digest}'")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


def _of_entries(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What the plot and its filters need of each entry."""
    return [
        {
            "id": f"run-{place}",
            "label": entry.name,
            "keys": {"recipe": entry.recipe or entry.name, "device": entry.device, "data": _board(entry),
                     "state": entry.state, "measured": measured(entry)},
            "metric": entry.metric_name,
            "good": entry.state in GOOD or entry.pareto,
            "noisy": entry.noisy,
            "fits": entry.fits_memory is not False,
            "values": {name: _rounded(figure.value) for name, figure in entry.figures.items()},
            "from": {name: MARKS[figure.origin] for name, figure in entry.figures.items() if figure.origin in MARKS},
        }
        for place, entry in enumerate(entries)
    ]  # fmt: skip


def _of_run(entry: Entry) -> list[dict[str, Any]]:
    """The same of one run's steps, and of the settings of its length dial."""
    manifest = entry.manifest
    if manifest is None:
        return []
    found = []
    rows = [("step", row, row.size_bytes) for row in manifest.stages]
    rows += [("length dial", row, None) for row in (manifest.dial.settings if manifest.dial else [])]  # type: ignore[misc]
    for kind, row, size in rows:
        values = {"metric": row.metric, "gmacs": None if row.macs is None else row.macs / 1e9, "p50_ms": row.p50_ms}
        values["size_mb"] = None if size is None else size / 1e6
        found.append(
            {
                "id": "steps" if kind == "step" else "length-dial",
                "label": row.name,
                "keys": {"recipe": kind, "device": entry.device, "data": _board(entry), "state": entry.state},
                "metric": entry.metric_name,
                "good": True,
                "noisy": False,
                "fits": True,
                "values": {name: _rounded(value) for name, value in values.items() if value is not None},
                "from": _from(entry.origin_of(row.measured_on)) if row.p50_ms is not None else {},
            }
        )
    return found


def _from(origin: Origin) -> dict[str, str]:
    """The mark beside a step's time that is not the device's own."""
    return {"p50_ms": MARKS[origin]} if origin in MARKS else {}


def _board(entry: Entry) -> str:
    """What a metric can be compared within."""
    return f"{entry.task}, {shown_name(entry.data)}"


def _start(points: Sequence[Mapping[str, Any]], limits: Mapping[str, float]) -> dict[str, str]:
    """The axes that the page opens with: the metric where all of it is of the same data, else what was lost of it.

    Of an advice without a limit on it that of the search part, which more candidates have than are run in full.
    """
    known = {name: sum(name in point["values"] for point in points) for name in (*X_AXES, *Y_AXES)}
    boards = {(point["keys"]["data"], point["metric"]) for point in points}
    y = "metric"
    if "metric" not in limits and known["search_metric"] > known["metric"]:
        y = "search_metric"
    elif "metric" not in limits and len(boards) > 1 and known["metric_drop"]:
        y = "metric_drop"
    return {"x": next((name for name in X_AXES if known[name] > 1), "p50_ms"), "y": y, "colour": "recipe"}


def _kinds(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the first colours stand for."""
    return sorted({point["keys"]["recipe"] for point in points})


def _static(points: Sequence[Mapping[str, Any]], limits: Mapping[str, float], *, apart: bool) -> str:
    """The plot as it is drawn without JavaScript; `apart`: a front a colour. Empty where nothing is to be compared."""
    start = _start(points, limits)
    x, y = start["x"], start["y"]
    shown = [point for point in points if x in point["values"] and y in point["values"]]
    if not shown or len(points) < 2:
        return ""
    kinds = _kinds(points)
    dots = [
        Dot(
            point["values"][x],
            point["values"][y],
            point["label"],
            f"#{point['id']}",
            kinds.index(point["keys"]["recipe"]),
            hollow=not point["good"] or MARKS["predicted"] in (point["from"].get(x), point["from"].get(y)),
        )
        for point in shown
    ]
    axis = FIGURES[y]
    return plot.scatter(
        dots,
        x_label=f"{FIGURES[x].label}, {FIGURES[x].unit}",
        y_label=f"{points[0]['metric'] if y == 'metric' else axis.label}, {axis.unit}",
        more_is_better=axis.more_is_better,
        x_limit=limits.get(x),
        y_limit=limits.get(y),
        apart=apart,
    )


def _axis(axis: Axis) -> dict[str, Any]:
    return {"label": axis.label, "unit": axis.unit, "more": axis.more_is_better, "digits": axis.digits}


def _columns(entries: Sequence[Entry]) -> list[str]:
    """Figures that at least one entry has or should have, in the order of `FIGURES`."""
    there = {name for entry in entries for name in entry.figures}
    if any(entry.fits_memory is False for entry in entries):
        there.add("peak_memory_mb")  # of one that was killed there is no figure, but it must be said
    return [name for name in FIGURES if name in there]


def _noted(name: str, figure: Figure, entry: Entry | None = None) -> bool:
    """Whether it must be said beside a figure that it is not the device's own; not where it is said of the `entry`."""
    said = entry is not None and name in OF_SPEED and "," not in measured(entry)
    return figure.origin in MARKS and name != "training_s" and not said


def measured(entry: Entry) -> str:
    """Where a run's times, memory and energy come from, in a word or two."""
    origins = {entry.figures[name].origin for name in OF_SPEED if name in entry.figures}
    return ", ".join({"device": "on the device", **MARKS}[origin] for origin in sorted(origins))


def _facts(entries: Sequence[Entry]) -> list[str]:
    """Attributes in which the entries differ, and which are columns of the table therefore."""
    wanted = [name for name in ("device", "task", "data") if len({getattr(entry, name) for entry in entries}) > 1]
    return wanted or ["device"]


def _counts(entries: Sequence[Entry]) -> list[tuple[str, int]]:
    return [(state, count) for state in STATES if (count := sum(entry.state == state for entry in entries))]


def _reasons(entries: Sequence[Entry]) -> list[tuple[str, str, list[tuple[int, Entry]]]]:
    """Entries that are no answer, by state and reason, the most frequent first."""
    groups: dict[tuple[str, str], list[tuple[int, Entry]]] = {}
    for place, entry in enumerate(entries):
        if entry.state not in GOOD and entry.reason:
            groups.setdefault((entry.state, entry.reason), []).append((place, entry))
    return [(*key, members) for key, members in sorted(groups.items(), key=lambda item: -len(item[1]))]


def _json(value: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _fixed(value: float | None, digits: int = 2, scale: float = 1.0) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value / scale:,.{digits}f}".replace(",", " ")
    return text if text.strip("-0. ") else text.removeprefix("-")  # no minus before nothing

"""What needs training: the whole grid, and the advisor's answers against it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from bench import LOOSE, Bench, priced

from compressor.advisor.advise import advise
from compressor.advisor.prices import Price, Priced
from compressor.advisor.rounds import Record, Training, whole_cost
from compressor.errors import CompressorError

CHUNK = 24
"""Candidates that are measured together; what was measured is kept."""

Row = Mapping[str, Any]


def prices(bench: Bench) -> None:
    """Latency, memory and size of every candidate of the grid, measured; once for all runs of a data set.

    A grid that is trained already gets the prices of now.
    """
    bench.take_prices()
    items, pricer, _ = bench.prepared(bench.question(*LOOSE))
    known: dict[str, Price] = {}
    for start in range(0, len(items), CHUNK):
        known |= pricer.measured(items[start : start + CHUNK])
        bench.progress.line(f"{bench.set.name} {bench.run}: {min(start + CHUNK, len(items))} of {len(items)} priced")
    found = bench.kept("grid")
    if found is not None:
        for name in found["rows"].keys() & known.keys():
            found["rows"][name].update(_of_price(known[name]))
        bench.keep("grid", found)


def grid(bench: Bench) -> None:
    """Every shape of the grid trained in full, every candidate scored on the test part and on the search part."""
    question = bench.question(*LOOSE)
    items, pricer, steps = bench.prepared(question)
    known = pricer.measured(items)
    items = [item for item in items if item.name in known]
    groups: dict[str, list[Priced]] = {}
    for item in items:
        groups.setdefault(item.candidate.shape.name, []).append(priced(item, known[item.name]))
    record = Record()
    training = Training([steps], question.settings, record)
    rows: dict[str, dict[str, Any]] = {}
    for number, group in enumerate(groups.values(), start=1):
        shape = group[0].candidate.shape.name
        bench.progress.line(f"{bench.set.name} {bench.run}: {shape}, {number} of {len(groups)}")
        try:
            scores = {part: {one.name: one.metric for one in training.judge(group, 1.0, part)}
                      for part in ("dev", "search")}  # fmt: skip
        except CompressorError as error:
            bench.progress.line(f"{shape}: {error}")
            continue
        for member in group:
            rows[member.name] = {
                "shape": shape,
                "metric": scores["dev"][member.name],
                "search": scores["search"][member.name],
                **_of_price(member.price),
            }
        everything = [member for members in groups.values() for member in members]
        cost = {
            "passes": sum(record.spent.values()),
            "seconds": sum(record.seconds.values()),
            "grid_passes": whole_cost(everything, question.settings, len(steps.data.train)),
        }
        bench.keep("grid", {"rows": rows, "cost": cost, "metric": steps.task.metric_names[0], "shapes": len(groups)})


def _of_price(price: Price) -> dict[str, Any]:
    """What a grid's row says of a candidate's price."""
    speed = price.speed or {}
    return {
        "p50_ms": price.p50_ms,
        "memory_mb": price.memory_mb,
        "size_mb": price.size_mb,
        "energy_mj": speed.get("energy_mj"),
        "steady": speed.get("steady"),
    }


def budgets(rows: Mapping[str, Row], teacher: str) -> dict[str, dict[str, float]]:
    """Three questions about a grid: a tight and a wide latency, and a metric to be reached.

    The latencies are shares of the teacher's own in float32, rounded to what one would ask for.
    """
    whole = rows[teacher]
    return {
        "tight": {"max_latency_ms": _round(whole["p50_ms"] / 8)},
        "wide": {"max_latency_ms": _round(whole["p50_ms"] / 3), "max_size_mb": 30.0},
        "floor": {"min_metric": round(whole["metric"] - 2.0, 1)},
    }


def advice(bench: Bench) -> None:
    """The advisor's answer to each budget, as if there were no grid but its own."""
    found = bench.kept("grid")
    if found is None:
        bench.progress.line(f"{bench.set.name} {bench.run}: the part grid has to come first")
        return
    answers = bench.kept("advice") or {}
    teacher = max(found["rows"], key=lambda name: (found["rows"][name]["p50_ms"], name))
    whole = next((name for name in found["rows"] if name.startswith("l6-w100-fp32")), teacher)
    for name, limits in budgets(found["rows"], whole).items():
        if name in answers:
            continue
        bench.progress.line(f"{bench.set.name} {bench.run}: {name}, {limits}")
        words = [f"{limit}={value}" for limit, value in limits.items()]
        answers[name] = {"limits": limits, **json.loads(advise(bench.question(*words), bench.progress).to_json())}
        bench.keep("advice", answers)


def best(rows: Mapping[str, Row], limits: Mapping[str, float]) -> str | None:
    """The grid's own best within the limits: the fastest that reaches a metric, or else the best metric."""
    fits: dict[str, Callable[[Row], bool]] = {
        "min_metric": lambda row: row["metric"] >= limits["min_metric"],
        "max_latency_ms": lambda row: row["p50_ms"] <= limits["max_latency_ms"],
        "max_size_mb": lambda row: row["size_mb"] <= limits["max_size_mb"],
        "max_memory_mb": lambda row: row["memory_mb"] <= limits["max_memory_mb"],
    }
    within = [name for name, row in rows.items() if all(fits[limit](row) for limit in limits)]
    if not within:
        return None
    if "min_metric" in limits:
        return min(within, key=lambda name: (rows[name]["p50_ms"], -rows[name]["metric"]))
    return max(within, key=lambda name: (rows[name]["metric"], -rows[name]["p50_ms"]))


def _round(milliseconds: float) -> float:
    return float(f"{milliseconds:.2g}")

"""The flow of an advice: grid, prices, rounds of training, full runs of the finalists, answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

from compressor.advisor.answer import Advice, Cost
from compressor.advisor.candidates import lay_out
from compressor.advisor.earlier import require_room
from compressor.advisor.finals import Final
from compressor.advisor.halving import Goal
from compressor.advisor.last_round import LastRound
from compressor.advisor.limits import Closest, Limit, Values, closest, limits_of, missed
from compressor.advisor.prices import Item, Priced, Prices, ruled_out_by
from compressor.advisor.pricing import Pricer, price_all, shape_config
from compressor.advisor.requests import Question, of_candidate
from compressor.advisor.rounds import Record, Training, by_shape, run_rounds, whole_cost
from compressor.cache import Cache
from compressor.devices.place import check_place
from compressor.disk import storage_errors
from compressor.errors import CheckpointError, DataError, RequestError
from compressor.pipeline import prepare
from compressor.progress import Progress, Silent
from compressor.request import StageEntry
from compressor.rows import make_row
from compressor.steps import Steps
from compressor.teacher import teacher_config


def advise(question: Question, progress: Progress | None = None) -> Advice:
    """Answer a question, going on from whatever the cache holds; advice.json and report.html are written.

    Raises `CompressorError`s, before any work where an advice for other data would be replaced. That nothing fits is
    an answer, not an error.
    """
    request = question.request
    check_place(request.device, request.measure)
    cache = Cache(request.output / ".cache")
    with cache.in_use(), storage_errors(request.output):
        prepared = [prepare(one, cache, progress or Silent()) for one in question.requests]
        teachers = [steps for steps, _, _ in prepared]
        held_out = teachers[0].data.fingerprints["dev"]
        require_room(question, held_out)
        if question.settings.train:
            _require_data(teachers[0])
        limits = limits_of(request.gates)
        prices = price_all(*lay_out_items(question, teachers), limits, make_pricer(question, teachers[0]))
        answer = _answer(question, [(steps, before) for steps, before, _ in prepared], limits, prices)
        advice = dataclasses.replace(answer, held_out=held_out)
        advice.write()
    return advice


def lay_out_items(question: Question, teachers: Sequence[Steps]) -> tuple[list[Item], dict[str, str]]:
    """Every candidate of the grid that can be made, and why the others cannot."""
    settings, request = question.settings, question.request
    configs = [teacher_config(steps.request) for steps in teachers]
    items: list[Item] = []
    impossible: dict[str, str] = {}
    for candidate in lay_out(configs, settings, request.device):
        place = candidate.shape.teacher
        one = of_candidate(teachers[place].request, candidate, settings)
        try:
            config = shape_config(one, configs[place], request.task)
        except (RequestError, CheckpointError) as error:
            impossible[candidate.name] = str(error)
            continue
        items.append(Item(candidate, one, config, teachers[place]))
    return items, impossible


def make_pricer(question: Question, steps: Steps) -> Pricer:
    """What takes prices at the length that runs are measured at."""
    request = question.request
    length = request.measure.length or steps.task.max_length
    return Pricer(request, question.settings, steps.cache, steps.progress, length)


def _answer(
    question: Question, teachers: Sequence[tuple[Steps, list[StageEntry]]], limits: Sequence[Limit], prices: Prices
) -> Advice:
    """Train what may fit, and answer."""
    settings, record = question.settings, Record()
    examples = len(teachers[0][0].data.train)
    grid = whole_cost(prices.priced, settings, examples)
    fitting = [member for member in prices.priced if not ruled_out_by(member.price, limits, prices.margin)]
    if not fitting:
        reason = _why_no_price_fits(prices, limits)
        nearest = closest(_ruled_out(prices, limits), limits)
        return Advice(
            question, "nothing fits", limits, prices, record, Cost(0, grid, 0), closest=nearest, reason=reason
        )
    if not settings.train:
        return Advice(question, "priced", limits, prices, record, Cost(0, grid, 0))
    known = _teachers(teachers)
    metric_name = teachers[0][0].task.metric_names[0]
    wanted = question.request.gates.min_metric
    reachable = max(known.values()) + settings.above_teacher
    if wanted is not None and wanted > reachable:
        nearest = _closest_by_teacher(fitting, limits, max(known.values()))
        reason = (
            f"the teacher itself has {metric_name} {max(known.values()):.2f}, and its students are not expected to be "
            f"more than advise.above_teacher = {settings.above_teacher:g} points above it"
        )
        return Advice(
            question, "nothing fits", limits, prices, record, Cost(0, grid, 0), closest=nearest, reason=reason,
            teachers=known, metric_name=metric_name,
        )  # fmt: skip
    goal = cast(Goal, question.goal)
    training = Training([steps for steps, _ in teachers], settings, record)
    groups = by_shape(fitting, goal, settings.trials)
    last = LastRound(question, groups, training, limits, grid, max(known.values()))
    held = last.run(run_rounds(groups, goal, training, settings, grid), goal)
    finals = last.finals
    cost = Cost(sum(record.spent.values()), grid, sum(record.seconds.values()))
    missing = {one.name: one.values() for one in finals if missed(one.values(), limits)}  # not by another gate alone
    # A metric is known of full runs alone, and what was not asked may fit.
    by_runs_alone = wanted is not None or _unasked(record)
    known_by_price = {} if by_runs_alone else _ruled_out(prices, limits)
    nearest = None if held else closest({**known_by_price, **missing}, limits)
    return Advice(
        question,
        "recommended" if held else "nothing fits",
        limits,
        prices,
        record,
        cost,
        finals=finals,
        recommended=held[-1].name if held else None,
        closest=nearest,
        reason="" if held else _why_nothing_held(finals, record),
        teachers=known,
        metric_name=metric_name,
        search_rows=len(teachers[0][0].data.search),
    )


def _teachers(teachers: Sequence[tuple[Steps, list[StageEntry]]]) -> dict[str, float]:
    """Each teacher made ready and judged on the held-out data, by name."""
    known = {}
    for steps, before in teachers:
        for entry in before:
            steps.teacher, seconds = steps.stage(entry, steps.teacher)
            steps.progress.line(f"teacher: fine-tuned on {len(steps.data.train)} examples, {seconds:.0f} s")
        graph = steps.export(steps.teacher)
        row = make_row(steps, "teacher", "teacher", graph, graph, None)
        known[steps.request.teacher_name] = row.evaluation.primary
        steps.progress.line(f"teacher: {steps.task.metric_names[0]} {row.evaluation.primary:.2f}")
    return known


def _closest_by_teacher(fitting: Sequence[Priced], limits: Sequence[Limit], metric: float) -> Closest | None:
    """What is nearest where the metric is out of reach: as if every candidate were as good as its teacher."""
    values = {member.name: {**member.price.values(), "min_metric": metric} for member in fitting}
    order = sorted(values, key=lambda name: -next(m.macs for m in fitting if m.name == name))
    return closest({name: values[name] for name in order}, limits)


def _ruled_out(prices: Prices, limits: Sequence[Limit]) -> dict[str, Values]:
    """What the price of each candidate is that a limit rules out, and not the device's own memory."""
    wrong = [(member, ruled_out_by(member.price, limits, prices.margin)) for member in prices.priced]
    return {
        member.name: member.price.values()
        for member, missing in wrong
        if missing and not any(limit.of_device for limit in missing)
    }


def _why_no_price_fits(prices: Prices, limits: Sequence[Limit]) -> str:
    """The limit that nothing of the grid can meet, in words; several that only together leave nothing."""
    left = [member.price.too_little_mb for member in prices.priced]
    if all(one is not None for one in left):
        smallest = min(prices.priced, key=lambda member: member.price.memory_mb or member.price.size_mb)
        return (
            f"none of {len(left)} candidates runs in the {left[0]:.0f} MiB that the device has for it; {smallest.name} "
            "is the smallest, and device.memory_mb (or device.system_memory_mb) would have to move for it"
        )
    for limit in limits:
        figures: list[float] = [
            value for member in prices.priced if (value := member.price.values().get(limit.name)) is not None
        ]
        baseline = prices.baseline_mb
        if limit.name == "max_memory_mb" and baseline is not None and baseline >= limit.value:
            return f"the runtime alone takes {baseline:.0f} MiB before it loads a model"
        if figures and limit.misses_by(min(figures) * (1 - prices.margin)) > 0:
            return f"the smallest of {len(figures)} candidates has {limit.said(min(figures))}"
    return f"each of {len(prices.priced)} candidates misses one of them, before any training"


def _why_nothing_held(finals: Sequence[Final], record: Record) -> str:
    if not finals:
        return "no shape could be trained: " + "; ".join(f"{name}: {why}" for name, why in record.failed.items())
    reasons = [f"{final.name}: {final.reason}" for final in finals]
    if unasked := _unasked(record):
        reasons.append(f"not asked, as the training budget was spent (advise.budget): {', '.join(unasked)}")
    return "; ".join(reasons)


def _unasked(record: Record) -> list[str]:
    """Shapes that might fit, and were not trained in full as the budget was spent."""
    return [name for name, why in record.stopped.items() if "advise.budget" in why]


def _require_data(steps: Steps) -> None:
    """Raise `DataError` where there is nothing to train or to choose by."""
    for part, setting in (("train", "data.train=..."), ("search", "data.search above 0")):
        if not steps.data.part(part):
            raise DataError(
                f"advise trains on the train part of the data and chooses by its search part, and '{steps.data.name}' "
                f"has no {part} part: give {setting}, or advise.train=false for prices alone."
            )

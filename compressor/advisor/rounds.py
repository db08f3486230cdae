"""The training of an advice: rounds of successive halving, each an ordinary cached stage, judged on the search part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressor.advisor.graphs import Graphs
from compressor.advisor.halving import Goal, Point, Round, schedule, survivors
from compressor.advisor.prices import Priced
from compressor.advisor.requests import of_candidate
from compressor.advisor.settings import AdviseSettings
from compressor.cache import make_key
from compressor.config.schema import to_mapping
from compressor.config.training import TrainingSettings
from compressor.devices import host
from compressor.errors import CompressorError, DeviceError, StorageError
from compressor.keys import Keys, versions
from compressor.request import StageEntry
from compressor.stages.context import Checkpoint
from compressor.steps import Steps
from compressor.training.train import updates
from compressor.validation.metric import evaluate


@dataclass(frozen=True)
class Judged:
    """What one round found out of a candidate."""

    name: str
    shape: str
    share: float  # of the full training budget
    metric: float  # points, on the search part of the data
    tuned: bool = False  # decoded as suits it best: short trainings for several labels a text


@dataclass
class Record:
    """What was trained, what came of it, and its cost in passes: updates times forward and backward runs."""

    judged: list[Judged] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # by shape
    stopped: dict[str, str] = field(default_factory=dict)  # shapes that better ones left behind, and why
    reachable: float | None = None  # points of the best that costs no training, decoded as short trainings are
    spent: dict[str, float] = field(default_factory=dict)  # passes by stage's cache key
    seconds: dict[str, float] = field(default_factory=dict)  # that it took when it was made, by the same

    def last(self) -> dict[str, Judged]:
        """The newest judgement of each candidate."""
        return {found.name: found for found in self.judged}


class Training:
    """Trains shapes for shares of the budget and judges their candidates; what was done once is found in the cache."""

    def __init__(self, teachers: Sequence[Steps], settings: AdviseSettings, record: Record) -> None:
        self.teachers = teachers
        self.settings = settings
        self.record = record

    def judge(self, group: Sequence[Priced], share: float, part: str = "search") -> list[Judged]:
        """Train the shape that these candidates have in common, and score each of them on a part of the data.

        Errors as of stages, export and passes.
        """
        shape = group[0].candidate.shape
        steps = self._steps(group, share)
        source = steps.teacher
        for entry in steps.request.stages:
            source, seconds = steps.stage(entry, source)
            self.record.spent[source.key] = passes(entry, len(steps.data.train))
            self.record.seconds[source.key] = seconds
        tuned = shape.is_trained and share < 1 and steps.task.multi_label  # other tasks have nothing to tune
        scores = self._scores(steps, source, group, part, tuned=tuned)
        found = [Judged(name, shape.name, share, metric, tuned) for name, metric in scores.items()]
        self.record.judged += found
        return found

    def see_what_is_reachable(self, group: Sequence[Priced]) -> None:
        """Take note of what candidates that cost no training have where they are decoded as short trainings are."""
        steps = self._steps(group, 1.0)
        best = max(self._scores(steps, steps.teacher, group, "search", tuned=steps.task.multi_label).values())
        self.record.reachable = max(best, self.record.reachable or 0.0)

    def cost(self, group: Sequence[Priced], share: float) -> float:
        """Passes that training this shape would take, beside those that are spent already."""
        base = self.teachers[group[0].candidate.shape.teacher]
        request = of_candidate(base.request, group[0].candidate, self.settings, share=share)
        keys = Keys(request, base.task.labels, base.data.fingerprints)
        source, total = base.teacher.key, 0.0
        for entry in request.stages:
            source = keys.stage(entry, source, base.teacher.key)
            total += 0.0 if source in self.record.spent else passes(entry, len(base.data.train))
        return total

    def _steps(self, group: Sequence[Priced], share: float) -> Steps:
        """The steps of a shape that is trained for a share of the budget."""
        base = self.teachers[group[0].candidate.shape.teacher]
        request = of_candidate(base.request, group[0].candidate, self.settings, share=share)
        return Steps(request, base.task, base.data, base.teacher, base.cache, base.progress)

    def _scores(
        self, steps: Steps, source: Checkpoint, group: Sequence[Priced], part: str, *, tuned: bool
    ) -> dict[str, float]:
        """The primary metric of each candidate on a part of the data."""
        request = steps.request
        key = make_key(
            "selection",
            {
                "version": 2,
                "tuned": tuned,
                "checkpoint": source.key,
                "candidates": {member.name: member.candidate.passes() for member in group},
                "task": to_mapping(request.features) | {"name": request.task, "labels": list(steps.task.labels)},
                "data": {name: steps.data.fingerprints[name] for name in (part, "calibration")},
                "device": to_mapping(request.device),
                "host": {name: host.describe()[name] for name in ("cpu", "flags", "machine")},
                "libraries": versions(("onnx", "onnxruntime", "optimum-onnx", "nncf")),
            },
        )

        def make(output: Path, work: Path) -> dict[str, Any]:
            tokenizer = steps.tokenizer(source)
            examples = steps.data.part(part)
            features = steps.task.features(examples, tokenizer, labelled=False)
            graphs = Graphs(steps, source, work)
            scores = {}
            for member in group:
                made = graphs.of(member.request.passes)
                found = evaluate(
                    made.path,
                    steps.task,
                    examples,
                    tokenizer,
                    request.device,
                    made.keep,
                    features=features,
                    tuned=tuned,
                )
                scores[member.name] = found.primary
            return {"scores": scores}

        title = f"scores of {group[0].candidate.shape.name} for the advice on {request.device.name}"
        scores: dict[str, float] = steps.cache.get_or_make(key, title, make).notes["scores"]
        return scores


def run_rounds(
    groups: Mapping[str, Sequence[Priced]], goal: Goal, training: Training, settings: AdviseSettings, grid: float
) -> list[str]:
    """All rounds but the last; returns the shapes that the last one begins with, the best first.

    Args:
        groups: Candidates that may fit by shape, the most promising shape first.
        goal: What makes one better than another.
        training: Trains and judges.
        settings: Their `eta`, `rounds` and `budget`.
        grid: Passes that training all of the grid would take.

    A shape that cannot be trained or exported is left out, and the reason kept. One that costs no training goes on and
    takes nobody's place. Raises `StorageError`, `DeviceError`.
    """
    free = [name for name, group in groups.items() if not group[0].candidate.shape.is_trained]
    order = [name for name in groups if name not in free]
    whole = [training.cost(groups[name], 1.0) for name in order]
    afford = settings.budget * grid * len(whole) / sum(whole) if sum(whole) else math.inf
    rounds = schedule(len(order), settings.eta, settings.rounds, goal=goal, afford=afford)
    names = order
    for name in free:
        if judged_points(groups[name], training, rounds[0]):
            training.see_what_is_reachable(groups[name])
    for number, (now, after) in enumerate(zip(rounds, rounds[1:], strict=False), start=1):
        tell = training.teachers[0].progress.line
        tell(f"round {number} of {len(rounds)}: {len(names)} shapes, {now.share:.2g} of the training each")
        points = [point for name in names for point in judged_points(groups[name], training, now)]
        ahead = survivors(points, after.shapes, goal, order)
        best = max((point.metric for point in points), default=0.0)
        for name in names:
            if name not in ahead and name not in training.record.failed:
                own = max(point.metric for point in points if point.shape == name)
                training.record.stopped[name] = (
                    f"left behind in round {number}: {own:.2f} points where the best had {best:.2f}, after "
                    f"{now.share:.2g} of the training"
                )
        names = ahead
    return [name for name in free if name not in training.record.failed] + names


def judged_points(group: Sequence[Priced], training: Training, now: Round) -> list[Point]:
    """One shape's candidates as points; none, and the reason kept, where it fails."""
    shape = group[0].candidate.shape
    prices = {member.name: member.price.p50_ms for member in group}
    try:
        found = training.judge(group, now.share)
    except (StorageError, DeviceError):
        raise
    except CompressorError as error:
        training.record.failed[shape.name] = str(error)
        return []
    return [Point(one.name, one.shape, one.metric, prices[one.name]) for one in found]


def by_shape(priced: Sequence[Priced], goal: Goal, trials: int | None) -> dict[str, list[Priced]]:
    """Candidates by shape, the most promising shape first, and no more shapes than `trials`.

    What is known before any training is how much of the teacher is left. For the best metric those go first whose
    candidates keep most multiplications; for the lowest latency, shapes spread over all that are left.
    """
    groups: dict[str, list[Priced]] = {}
    for member in priced:
        groups.setdefault(member.candidate.shape.name, []).append(member)

    def promise(name: str) -> tuple[float, bool, str]:
        shape = groups[name][0].candidate.shape
        return (-max(member.macs for member in groups[name]), shape.adaptive, name)

    order = sorted(groups, key=promise)
    if trials is not None and len(order) > trials:
        places = range(trials)
        if goal == "latency":
            order = [order[round(place * (len(order) - 1) / max(1, trials - 1))] for place in places]
        order = order[:trials]
    return {name: groups[name] for name in order}


def passes(entry: StageEntry, examples: int) -> float:
    """Updates of a stage times the forward and backward runs of each; 0 for one that does not train."""
    if not isinstance(entry.settings, TrainingSettings):
        return 0.0
    runs = 2 + int(getattr(entry.settings, "sandwich", -1))  # the full pass, the smallest one, and those drawn
    return float(updates(examples, entry.settings) * runs)


def whole_cost(candidates: Sequence[Priced], settings: AdviseSettings, examples: int) -> float:
    """Passes of training every shape of these candidates in full; stages that shapes share count once."""
    total: dict[str, float] = {}
    for member in candidates:
        key = f"{member.candidate.shape.teacher}"
        for entry in member.request.stages:
            key += f"/{entry.key} {to_mapping(entry.settings)}"
            total[key] = passes(entry, examples)
    return sum(total.values())

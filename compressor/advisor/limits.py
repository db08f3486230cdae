"""Limits: what meets them, what is closest where nothing does, and which one would have to move. Pure and light."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

from compressor.config.run import GateSettings

Values = Mapping[str, float | None]
"""A candidate's figures by the name of the limit that they are held against; None: not known."""
UNITS = {"min_metric": "points", "max_latency_ms": "ms p50", "max_memory_mb": "MiB", "max_size_mb": "MB"}


@dataclass(frozen=True)
class Limit:
    """One limit, by the name of its gate; `of_device`: not asked for, but what the device has left for a model."""

    name: str
    value: float
    of_device: bool = False

    @property
    def least(self) -> bool:
        """Whether figures must be at least the limit; otherwise at most."""
        return self.name.startswith("min_")

    @property
    def unit(self) -> str:
        """What its figures are counted in."""
        return UNITS[self.name]

    def misses_by(self, figure: float) -> float:
        """How far a figure is on the wrong side, as a share of the limit; zero or below: it meets the limit."""
        distance = self.value - figure if self.least else figure - self.value
        return distance / abs(self.value) if self.value else distance

    def said(self, figure: float) -> str:
        """Figure and limit in words."""
        if self.of_device:  # a limit counts what is asked for, a figure what is used: the figure may be the smaller one
            return f"it does not run in the {self.value:.0f} MiB that the device has for it"
        return f"{figure:.4g} {self.unit} against {self.name} = {self.value:g}"


@dataclass(frozen=True)
class Move:
    """A limit that would have to move for one candidate to fit."""

    limit: str
    before: float
    to: float
    candidate: str

    def said(self) -> str:
        """The move in words; the figure is rounded to the side on which the candidate fits."""
        return f"{self.limit} from {self.before:g} to {_outwards(self.to, down=self.limit.startswith('min_')):g}"


@dataclass(frozen=True)
class Closest:
    """The candidate that misses the limits by least, what would have to move for it, and moves that alone suffice.

    `unknown` names the limits that no figure of it was held against.
    """

    candidate: str
    moves: Sequence[Move]
    alone: Sequence[Move]
    unknown: Sequence[str] = ()

    def said(self) -> str:
        """The answer in words."""
        needed = " and ".join(move.said() for move in self.moves)
        text = f"the closest is {self.candidate}, for which {needed} must move"
        others = [f"{move.said()} ({move.candidate})" for move in self.alone if list(self.moves) != [move]]
        text += f"; alone would do: {', or '.join(others)}" if others else ""
        return text + (f"; whether it meets {' and '.join(self.unknown)} is not known" if self.unknown else "")


def _outwards(figure: float, *, down: bool) -> float:
    """Four digits of a figure, so that it meets what is said: at most down to it, or at least up to it."""
    rounding = ROUND_FLOOR if down else ROUND_CEILING
    return float(Context(prec=4, rounding=rounding).create_decimal(repr(figure)))


def limits_of(gates: GateSettings) -> list[Limit]:
    """The limits that are set, by the gates of the same names."""
    return [Limit(name, value) for name in UNITS if (value := getattr(gates, name)) is not None]


def missed(values: Values, limits: Iterable[Limit]) -> list[Limit]:
    """The limits that known figures miss."""
    return [limit for limit in limits if _misses(limit, values) > 0]


def with_device_memory(wrong: Sequence[Limit], left_mb: float | None) -> list[Limit]:
    """The limits that are missed, with the memory that the device has left where that is too little (None: it is not).

    Once: where a limit on memory that was asked for is missed, that says it.
    """
    if left_mb is None or any(limit.name == "max_memory_mb" for limit in wrong):
        return list(wrong)
    return [*wrong, Limit("max_memory_mb", left_mb, of_device=True)]


def closest(candidates: Mapping[str, Values], limits: Sequence[Limit]) -> Closest | None:
    """Of candidates that all miss something, the one whose worst miss is the smallest; None: there are none.

    What is not known of a candidate counts as met. Ties go to the candidate that comes first.
    """
    if not candidates or not limits:
        return None
    worst = {name: sorted((_misses(limit, values) for limit in limits), reverse=True) for name, values in
             candidates.items()}  # fmt: skip
    best = min(worst, key=lambda name: worst[name])
    moves = [_move(limit, best, candidates[best]) for limit in missed(candidates[best], limits)]
    unknown = [limit.name for limit in limits if candidates[best].get(limit.name) is None]
    return Closest(best, moves, alone(candidates, limits), unknown)


def alone(candidates: Mapping[str, Values], limits: Sequence[Limit]) -> list[Move]:
    """For each limit the smallest move that makes a candidate fit while the other limits stay; those that suffice."""
    moves = []
    for limit in limits:
        fitting = [
            name
            for name, values in candidates.items()
            if [other.name for other in missed(values, limits)] == [limit.name]
        ]
        if fitting:
            name = min(fitting, key=lambda name: _misses(limit, candidates[name]))
            moves.append(_move(limit, name, candidates[name]))
    return moves


def _misses(limit: Limit, values: Values) -> float:
    figure = values.get(limit.name)
    return 0.0 if figure is None else limit.misses_by(figure)


def _move(limit: Limit, name: str, values: Values) -> Move:
    figure = values[limit.name]
    return Move(limit.name, limit.value, limit.value if figure is None else figure, name)

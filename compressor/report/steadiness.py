"""How steady a machine was while a latency was taken: by its rounds, its yardstick, and by other runs. Light."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.artifact.manifest import Manifest
from compressor.devices.rounds import doubts_of, fastest_of, is_steady, slowdown_of, spread_of

_OF_MACHINE = ("cpu", "board", "machine", "flags", "cores", "memory_mb")
_OF_INPUT = ("length", "batch_size", "inputs", "keep")


@dataclass(frozen=True, kw_only=True)
class Steadiness:
    """What is known of one latency's rounds, and of the same machine at other times."""

    round_p50_ms: tuple[float, ...] = ()
    round_yardstick_ms: tuple[float, ...] = ()  # what the probe's yardstick took beside them
    slowdown: float | None = None  # share by which that was slower than at the machine's best known time
    machine: str = ""  # what tells it from another one, with its numpy and its threads; empty: not known
    measured: str = ""  # what tells file and input from others; empty: not known
    p50_ms: float | None = None
    disagreement: float | None = None  # share by which steady measurements of the same there lie apart

    @classmethod
    def of_speed(cls, speed: Mapping[str, Any], *, machine: str = "", file: str = "") -> Steadiness:
        """From a `Speed` mapping and the hash of the file that it is of; what is odd in it is not known."""
        rounds, slowdown, p50 = speed.get("round_p50_ms"), speed.get("slowdown"), speed.get("p50_ms")
        given = [speed.get(name) for name in _OF_INPUT]
        return cls(
            round_p50_ms=tuple(rounds) if isinstance(rounds, list | tuple) else (),
            round_yardstick_ms=_times(speed.get("round_yardstick_ms")),
            slowdown=slowdown if isinstance(slowdown, float) and math.isfinite(slowdown) else None,
            machine=json.dumps([machine, speed.get("threads")], default=str) if machine else "",
            measured=json.dumps([file, *given], default=str) if file else "",
            p50_ms=p50 if isinstance(p50, float) else None,
        )

    @classmethod
    def of_run(cls, manifest: Manifest) -> Steadiness:
        """Of a run's artifact."""
        speed, file = manifest.speed.get("artifact", {}), manifest.graph or manifest.files.get("model.onnx", "")
        return cls.of_speed(speed, machine=machine_of(manifest), file=file)

    def beside(self, fastest_ms: float | None) -> Steadiness:
        """The same, held against the fastest yardstick that is known of the machine; the worse slowdown stands."""
        found = (self.slowdown, slowdown_of(self.round_yardstick_ms, fastest_ms))
        return dataclasses.replace(self, slowdown=max((one for one in found if one is not None), default=None))

    @property
    def spread(self) -> float | None:
        """How far the medians of the rounds lie apart, as a share of the middle one; None for fewer than two."""
        return spread_of(self.round_p50_ms)

    @property
    def doubts(self) -> list[str]:
        """Why the latency is not to be believed, in words."""
        found = doubts_of(self.spread, self.slowdown)
        if is_steady(self.disagreement) is False and self.disagreement is not None:
            found.append(f"measurements of the same file differ by {100 * self.disagreement:.0f} %")
        return found

    @property
    def noisy(self) -> bool:
        """Whether there is a doubt."""
        return bool(self.doubts)

    @property
    def is_comparable(self) -> bool:
        """Whether it is known of which file on which machine it is, and nothing speaks against it."""
        return bool(self.machine and self.measured) and not self.noisy


def machine_of(manifest: Manifest) -> str:
    """The machine that a run was measured on, as a text that another one does not have."""
    facts = manifest.board or manifest.host
    libraries = facts.get("libraries")
    numpy = libraries.get("numpy") if isinstance(libraries, dict) else facts.get("numpy")
    return json.dumps([*(facts.get(name) for name in _OF_MACHINE), numpy], default=str) if facts.get("cpu") else ""


def beside_each_other(known: Sequence[Steadiness]) -> list[Steadiness]:
    """The same, with what only several runs on one machine tell.

    A slow time can outlast all rounds of a measurement, so that nothing in it tells: its yardstick is held against the
    fastest there. Of one file with one input, measurements that seem steady have to agree.
    """
    yardsticks: dict[str, list[float]] = {}
    for one in known:
        yardsticks.setdefault(one.machine, []).extend(one.round_yardstick_ms)
    told = [one.beside(fastest_of(yardsticks[one.machine])) if one.machine else one for one in known]
    alike: dict[tuple[str, str], list[float]] = {}
    for one in told:
        if one.is_comparable and one.p50_ms is not None:
            alike.setdefault((one.machine, one.measured), []).append(one.p50_ms)
    return [
        dataclasses.replace(one, disagreement=spread_of(alike.get((one.machine, one.measured), ())))
        if one.is_comparable
        else one
        for one in told
    ]


def _times(values: Any) -> tuple[float, ...]:
    """Milliseconds, all of them above zero, or none."""
    if not isinstance(values, list | tuple):
        return ()
    usable = all(isinstance(value, int | float) and math.isfinite(value) and value > 0 for value in values)
    return tuple(float(value) for value in values) if usable else ()

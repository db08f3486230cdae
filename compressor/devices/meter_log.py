"""Energy from the log of a power meter in a device's supply: a UM25C, an INA219, or any that writes a CSV file.

Recognised by the names of their columns: a time, and a power, or a voltage and a current.

    pyummeter (UM24C, UM25C, UM34C)   Date;Voltage (V);Intensity (A);Power (W);...
    INA219 loggers                    TimeStamp, Voltage (V), Current (mA), Power (mW)
                                      timestamp,bus_voltage_V,current_mA,power_mW

Times are seconds since the epoch (or milli-, micro- or nanoseconds), ISO dates, in one column or with the time of day
in another, or times of day; without a zone they are local time of the machine that reads the log.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressor.errors import DataError

LARGEST_GAP_S = 3.0
"""A log with a longer hole between two samples says nothing of what happened in it; the UM25C writes two a second."""
PATIENCE_S = 10.0
"""How long a log that is still being written may lag behind."""
_UNITS = {"w": 1.0, "mw": 1e-3, "uw": 1e-6, "v": 1.0, "mv": 1e-3, "a": 1.0, "ma": 1e-3, "ua": 1e-6}
_NAMES = {
    "time": ("time", "datetime", "timestamp"),
    "date": ("date",),
    "power": ("power", "watt", "watts"),
    "voltage": ("voltage", "volt", "volts", "bus voltage", "load voltage"),
    "current": ("current", "intensity", "amp", "amps", "ampere", "amperes"),
}
_DEFAULT_UNIT = {"power": "w", "voltage": "v", "current": "a"}
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_LATEST_S = 1e11
"""No moment is later; larger numbers count in a smaller unit."""
_DAY_S = 86400.0
_DAY = re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?")


@dataclass(frozen=True)
class Log:
    """Samples of a meter: seconds since the epoch, rising, and watts."""

    name: str
    seconds: np.ndarray  # [samples]
    watts: np.ndarray  # [samples]

    def joules(self, start: float, end: float) -> float:
        """The integral of the power from `start` to `end` by the trapezoidal rule, ends interpolated.

        Raises `DataError` where the log does not cover the time, or has a hole in it.
        """
        first, last = float(self.seconds[0]), float(self.seconds[-1])
        if end <= first or start >= last:
            raise DataError(
                f"{self.name}: nothing of the run was logged: the log goes from {_clock(first)} to {_clock(last)}, the "
                f"run from {_clock(start)} to {_clock(end)}. Are the clocks and the time zone the same?"
            )
        if start < first - LARGEST_GAP_S or end > last + LARGEST_GAP_S:
            what = "begins after the run did" if start < first - LARGEST_GAP_S else "ends before the run did"
            raise DataError(
                f"{self.name}: the log {what}: it goes from {_clock(first)} to {_clock(last)}, the run from "
                f"{_clock(start)} to {_clock(end)}."
            )
        inside = (self.seconds > start) & (self.seconds < end)
        times = np.concatenate([[start], self.seconds[inside], [end]])
        gap = int(np.argmax(np.diff(times)))
        hole_s = float(times[gap + 1] - times[gap])
        if hole_s > LARGEST_GAP_S:
            raise DataError(
                f"{self.name}: there is no sample for {hole_s:.1f} s from {_clock(times[gap])} on; {LARGEST_GAP_S:g} s "
                "are the most that can be bridged."
            )
        return float(np.trapezoid(np.interp(times, self.seconds, self.watts), times))


def energy(path: Path, run: Mapping[str, float], patience_s: float = PATIENCE_S) -> dict[str, float | str]:
    """Millijoules a call of an energy run, as the probe says it: `energy_mj`, `energy_above_idle_mj`, `idle_w` ...

    `run` has started, ended, idle_started and idle_ended in seconds since the epoch, and calls. A log that is still
    being written is waited for. Raises `DataError`.
    """
    deadline = time.monotonic() + patience_s
    log = read(path, run["started"])
    while (
        log.seconds[-1] < run["ended"] and time.monotonic() < deadline and time.time() < run["ended"] + 2 * patience_s
    ):
        time.sleep(0.2)
        log = read(path, run["started"])
    seconds, idle_s = run["ended"] - run["started"], run["idle_ended"] - run["idle_started"]
    total_j = log.joules(run["started"], run["ended"])
    idle_w = log.joules(run["idle_started"], run["idle_ended"]) / idle_s
    samples = int(((log.seconds > run["started"]) & (log.seconds < run["ended"])).sum())
    return {
        "energy_mj": 1e3 * total_j / run["calls"],
        "energy_above_idle_mj": 1e3 * (total_j - idle_w * seconds) / run["calls"],
        "idle_w": idle_w,
        "power_w": total_j / seconds,
        "note": f"the meter's log {path.name}: {samples} samples in {seconds:.1f} s",
    }


def read(path: Path, near: float | None = None) -> Log:
    """Read a log; `near` is a moment of the run, whose day times of day are taken to be of.

    Raises `DataError` for a file that is not a meter's log, naming line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"the meter's log {path} cannot be read: {error.strerror or error}.") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"the meter's log {path} is empty.")
    separator = max(";\t,", key=lines[0].count)
    rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, skipinitialspace=True))
    columns = _columns(rows[0], path)
    samples = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) < len(rows[0]) and number == len(rows):
            break  # the line that is being written
        samples.append(_sample(row, columns, separator == ";", f"{path}, line {number}", near))
    if len(samples) < 2:
        raise DataError(f"the meter's log {path} has {len(samples)} samples; at least 2 are needed.")
    seconds, watts = (np.asarray(column) for column in zip(*samples, strict=True))
    falling = np.flatnonzero(np.diff(seconds) < 0)
    if falling.size:
        raise DataError(f"{path}, line {int(falling[0]) + 3}: its time is before that of the line above it.")
    return Log(path.name, seconds, watts)


Column = tuple[int, float]
"""Its place, and what its unit is in seconds, watts, volts or amperes."""


def _columns(header: Sequence[str], path: Path) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for place, title in enumerate(header):
        name, unit = _title(title)
        for kind, names in _NAMES.items():
            if name in names and kind not in found and unit in (*_UNITS, "", *_TIMES):
                given = unit or _DEFAULT_UNIT.get(kind, "s")
                found[kind] = (place, {**_TIMES, **_UNITS}[given])
    if "time" not in found and "date" in found:
        found["time"] = found.pop("date")
    missing = [kind for kind in ("time",) if kind not in found]
    if "power" not in found:
        missing += [kind for kind in ("voltage", "current") if kind not in found]
    if missing:
        raise DataError(
            f"{path} is no log of a power meter: it has no column for {' and '.join(missing)} among "
            f"{', '.join(repr(title) for title in header)}. A time is needed, and a power, or a voltage and a current."
        )
    return found


def _title(title: str) -> tuple[str, str]:
    """Name and unit of a column: 'Current (mA)', 'current_mA', 'power [mW]', 'Time'."""
    plain = re.sub(r"[_\s]+", " ", title.replace("µ", "u")).strip()
    parts = re.fullmatch(r"(.*?)\s*[(\[]\s*(\w+)\s*[)\]]", plain)
    if parts is None:
        parts = re.fullmatch(r"(.*)\s(V|mV|A|mA|uA|W|mW|uW|s|ms|us|ns)", plain)
    name, unit = (parts[1], parts[2]) if parts else (plain, "")
    return name.lower().strip(), unit.lower()


def _sample(
    row: Sequence[str], columns: Mapping[str, Column], commas: bool, where: str, near: float | None
) -> tuple[float, float]:
    def text_in(kind: str) -> str:
        place = columns[kind][0]
        return row[place].strip() if place < len(row) else ""

    def number(kind: str) -> float:
        text, unit = text_in(kind), columns[kind][1]
        try:
            value = float(text.replace(",", ".") if commas else text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{where}: the {kind} {text!r} is not a number.")
        return value * unit

    when = _joined(text_in("date"), text_in("time")) if "date" in columns else text_in("time")
    moment = _moment(when, columns["time"][1], where, near)
    if not 0 <= moment < _LATEST_S:
        raise DataError(f"{where}: the time {when!r} is no moment since 1970.")
    return moment, number("power") if "power" in columns else number("voltage") * number("current")


def _joined(date: str, when: str) -> str:
    """Of two columns the one that is a moment by itself, else both: a day, and the time in it."""
    if ":" in date or _number(date):
        return date
    alone = not _DAY.fullmatch(date) or _DAY.match(when) or _number(when) > _DAY_S
    return when if alone else f"{date} {when}"


def _number(text: str) -> float:
    """0 where it is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _moment(text: str, unit: float, where: str, near: float | None) -> float:
    """Seconds since the epoch."""
    try:
        value = float(text) * unit
    except ValueError:
        pass
    else:
        smaller = [scale for scale in _TIMES.values() if value * scale < _LATEST_S]
        return value * smaller[0] if smaller else value  # without a unit
    try:
        return datetime.datetime.fromisoformat(text.replace("/", "-")).timestamp()
    except ValueError:
        pass
    try:
        clock = datetime.time.fromisoformat(text)
    except ValueError as error:
        raise DataError(
            f"{where}: the time {text!r} is not understood: give seconds since 1970 or an ISO date."
        ) from error
    day = datetime.datetime.fromtimestamp(near if near is not None else time.time())
    moment = datetime.datetime.combine(day.date(), clock).timestamp()
    return moment if near is None else moment + _DAY_S * round((near - moment) / _DAY_S)


def _clock(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="seconds")

"""Energy of a call: by which meter, in a run of how long, and why there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from compressor.config.device import DeviceProfile
from compressor.config.paths import expanded
from compressor.config.run import MeasureSettings
from compressor.devices import meter_log
from compressor.errors import DataError

ENERGY_SECONDS = {"rapl": (2.0, 1.0), "ina3221": (5.0, 3.0), "external": (30.0, 15.0)}
"""How long energy is measured by each meter, and how long the idle machine before: slow meters need longer."""

Run = Callable[[str, float, float], dict[str, Any]]
"""The probe's answer to: run under this meter for so many seconds, after so many seconds of rest."""


def log_of(settings: MeasureSettings) -> Path | None:
    """The log that a meter in the device's supply is writing, if there is one."""
    return None if settings.meter_log is None else expanded(settings.meter_log)


def check_log(settings: MeasureSettings, *, on_device: bool) -> None:
    """See that a log is one, where it will be read. Raises `DataError`."""
    log = log_of(settings)
    if log is not None and on_device:
        meter_log.read(log)


def energy_of_call(run: Run, profile: DeviceProfile, settings: MeasureSettings, *, on_device: bool) -> dict[str, Any]:
    """`energy_mj`, `note` and the rest of what is known of a run; None and the reason where there is no meter."""
    if not on_device:
        return {"energy_mj": None, "note": f"not measured: this machine is not {profile.name}"}
    log = log_of(settings)
    if log is not None:
        return _from_log(run("external", *ENERGY_SECONDS["external"]), log)
    if profile.power == "none":
        return {"energy_mj": None, "note": "not measured: the profile names no power meter"}
    return run(profile.power, *ENERGY_SECONDS[profile.power])


def _from_log(found: dict[str, Any], log: Path) -> dict[str, Any]:
    """A run's energy from the log that was written meanwhile.

    A training may lie behind the run: for want of this one figure its artifact does not go.
    """
    try:
        return {**found, **meter_log.energy(log, found)}
    except DataError as error:
        return {**found, "energy_mj": None, "note": f"not measured: {str(error).rstrip('.')}"}

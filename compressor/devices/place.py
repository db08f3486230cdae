"""Where a probe request runs: this machine, a board over SSH, an emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from compressor.config.device import DeviceProfile
from compressor.config.run import MeasureSettings
from compressor.devices.board import connected
from compressor.devices.child import LocalPlace
from compressor.devices.emulation import emulated
from compressor.devices.energy import check_log
from compressor.devices.profiles import HOST
from compressor.devices.remote import RemotePlace
from compressor.errors import RequestError


class Place(Protocol):
    """Somewhere that the probe runs as one profile asks, and what is to be said of figures from there."""

    @property
    def on_device(self) -> bool:
        """Whether figures from there are the device's own, so that gates judge them."""

    @property
    def measured_on(self) -> str:
        """Where figures are taken, in words, for every place that shows them."""

    @property
    def facts(self) -> Mapping[str, Any] | None:
        """What the machine there is, for the manifest; None where it is this one."""

    @property
    def memory_mb(self) -> float | None:
        """Memory in MiB that the device itself shows; None where it is not the device, or does not say."""

    def placement(self) -> dict[str, Any]:
        """Request entries: providers, threads and CPUs, as the profile says and as far as they are there."""

    def run_probe(
        self,
        request: Mapping[str, Any],
        folder: Path,
        *,
        timeout_s: float,
        on_rows: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """Answer one request, which names its files relative to `folder` and its model by an absolute path here.

        What the probe writes lies in `folder` afterwards. Raises `DeviceError` and its kinds.
        """


@contextmanager
def place_for(profile: DeviceProfile) -> Iterator[Place]:
    """The place where figures for this profile are taken: the board at its `host`, or this machine.

    Inside of such a block for one board, further blocks for it use the same connection and the files that are there.
    Raises `DeviceError` and its kinds, and `RequestError` for a board that is called `host`.
    """
    if profile.host is None:
        yield LocalPlace(profile)
        return
    if profile.name == HOST:
        raise RequestError(
            "device=host is the machine that this command runs on, and device.host names another one: choose the "
            "board's own profile, or write one (docs/devices.md)."
        )
    with connected(profile.host, profile.python) as board:
        yield RemotePlace(profile, board)


def check_place(profile: DeviceProfile, settings: MeasureSettings) -> None:
    """See that the place is there, is what the profile describes, and can be measured, before any work is done for it.

    Raises `DeviceError` and its kinds, `RequestError` for one that cannot be emulated, and `DataError` for a meter's
    log that is none.
    """
    if profile.emulate and profile.host is not None:
        raise RequestError("device.host and device.emulate=true contradict each other: the board answers for itself.")
    if profile.emulate:
        with emulated(profile):
            pass
    with place_for(profile) as place:
        check_log(settings, on_device=place.on_device)

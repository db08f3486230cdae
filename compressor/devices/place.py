"""Where a probe request runs: this machine, a board over SSH, an emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from compressor.config.device import DeviceProfile
from compressor.devices.child import LocalPlace


class Place(Protocol):
    """Somewhere that the probe runs as one profile asks, and what is to be said of figures from there."""

    @property
    def on_device(self) -> bool:
        """Whether figures from there are the device's own, so that gates judge them."""

    @property
    def measured_on(self) -> str:
        """Where figures are taken, in words, for every place that shows them."""

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
    """The place where figures for this profile are taken."""
    yield LocalPlace(profile)

"""Is this machine the device that a profile describes? Decides whether a speed figure may carry the device's name."""

from __future__ import annotations

import platform
from pathlib import Path

from compressor.config.device import DeviceProfile
from compressor.devices import host
from compressor.processor import cpu_flags


def is_this_machine(profile: DeviceProfile) -> bool:
    """Whether every line of the profile's identity holds here; a profile without one is never recognised."""
    identity = profile.identity
    if not identity.machine and not identity.cpu_flags and identity.board_contains is None:
        return False
    if identity.machine and platform.machine() not in identity.machine:
        return False
    if not set(identity.cpu_flags) <= cpu_flags() or set(identity.cpu_lacks) & cpu_flags():
        return False
    name = host.cpu_model().lower()
    if identity.cpu_contains and not any(text.lower() in name for text in identity.cpu_contains):
        return False
    if not all(Path(path).exists() for path in identity.paths):
        return False
    return identity.board_contains is None or identity.board_contains.lower() in host.board().lower()


def measured_on(profile: DeviceProfile) -> str:
    """Where a figure taken here was taken, for every place that shows it."""
    if is_this_machine(profile):
        return f"{profile.name} ({host.cpu_model()})"
    return f"this machine ({host.cpu_model()}), not {profile.name}"

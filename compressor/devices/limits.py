"""How much of a device's memory a model may take."""

from __future__ import annotations

from compressor.config.device import DeviceProfile

_SHARE, _LEAST_MB, _MOST_MB = 0.25, 256.0, 1024.0
_NEVER_BELOW_MB = 64.0


def memory_limit_mb(profile: DeviceProfile, found_mb: float | None = None) -> float | None:
    """What is left of the device's memory for a process, in MiB; None where the profile does not say how much it has.

    The operating system keeps `system_memory_mb`, or else a quarter of the memory, at least 256 and at most 1024 MiB.
    `found_mb` is what the device itself shows, which is less than what it is sold with.
    """
    if profile.memory_mb is None:
        return None
    memory = min(profile.memory_mb, found_mb or profile.memory_mb)
    system = profile.system_memory_mb or min(max(_SHARE * profile.memory_mb, _LEAST_MB), _MOST_MB)
    return max(memory - system, _NEVER_BELOW_MB)

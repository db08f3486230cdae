"""Is a machine the device that a profile describes? Decides whether a speed figure may carry the device's name."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.config.device import DeviceProfile
from compressor.devices import host
from compressor.processor import cpu_flags

_LEAST_MEMORY = 0.7
"""A board shows less memory than it is sold with: its firmware and its GPU keep some."""
_MUCH_MORE_MEMORY = 1.3
"""A board with more than this is another model of the same kind; its figures hold, and say what was found."""

Facts = Mapping[str, Any]
"""Of a machine: machine (`uname -m`), cpu, flags, board (its name from the device tree), paths (those of the profile
that are there) and memory_mb (None: not known)."""


def is_this_machine(profile: DeviceProfile) -> bool:
    """Whether every line of the profile's identity holds here; a profile without one is never recognised.

    One that names a board elsewhere (`host`) is not this machine either.
    """
    return profile.host is None and mismatch(profile, facts_here(profile)) is None


def facts_here(profile: DeviceProfile) -> Facts:
    """This machine's side of the comparison, as the probe tells that of a board."""
    return {
        "machine": platform.machine(),
        "cpu": host.cpu_model(),
        "flags": cpu_flags(),
        "board": host.board(),
        "paths": [path for path in profile.identity.paths if Path(path).exists()],
        "memory_mb": host.memory_mb(),
    }


def mismatch(profile: DeviceProfile, facts: Facts) -> str | None:
    """What tells a machine from the one that the profile describes, in words; None if nothing does."""
    identity = profile.identity
    if not (identity.machine or identity.cpu_flags or identity.cpu_contains) and identity.board_contains is None:
        return "its profile has no 'identity', so that no machine can be told to be one"
    return _other_processor(profile, facts) or _other_board(profile, facts) or _too_little_memory(profile, facts)


def _other_processor(profile: DeviceProfile, facts: Facts) -> str | None:
    identity = profile.identity
    if identity.machine and facts["machine"] not in identity.machine:
        return f"expected a processor of the kind {' or '.join(identity.machine)}, found {facts['machine']}"
    name = str(facts.get("cpu", ""))
    missing = sorted(set(identity.cpu_flags) - set(facts["flags"]))
    if missing:
        return f"expected a processor with {', '.join(missing)}, found one without ({name or facts['machine']})"
    lacking = sorted(set(identity.cpu_lacks) & set(facts["flags"]))
    if lacking:
        return f"expected a processor without {', '.join(lacking)}, found one with ({name or facts['machine']})"
    if identity.cpu_contains and not any(text.lower() in name.lower() for text in identity.cpu_contains):
        return f"expected a processor named {' or '.join(identity.cpu_contains)}, found {name or facts['machine']}"
    return None


def _other_board(profile: DeviceProfile, facts: Facts) -> str | None:
    identity = profile.identity
    board = facts["board"] or ""
    if identity.board_contains is not None and identity.board_contains.lower() not in board.lower():
        return f"expected a board named '{identity.board_contains}', found {repr(board) if board else 'no board name'}"
    absent = [path for path in identity.paths if path not in facts["paths"]]
    return f"there is no {absent[0]}" if absent else None


def _too_little_memory(profile: DeviceProfile, facts: Facts) -> str | None:
    memory = facts["memory_mb"]
    if memory and profile.memory_mb and memory < _LEAST_MEMORY * profile.memory_mb:
        return f"expected {profile.memory_mb:.0f} MiB of memory, found {memory} MiB"
    return None


def named(profile: DeviceProfile, facts: Facts) -> str:
    """The device by its profile's name and what it says of itself; its memory where that is much more than expected."""
    found, memory = facts["board"] or facts["cpu"], facts["memory_mb"]
    if memory and profile.memory_mb and memory > _MUCH_MORE_MEMORY * profile.memory_mb:
        found = f"{found}, {memory} MiB"
    return f"{profile.name} ({found})"


def measured_on(profile: DeviceProfile) -> str:
    """Where a figure taken here was taken, for every place that shows it."""
    if is_this_machine(profile):
        return named(profile, facts_here(profile))
    return f"this machine ({host.cpu_model()}), not {profile.name}"

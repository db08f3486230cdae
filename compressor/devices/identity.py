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


def is_this_machine(profile: DeviceProfile) -> bool:
    """Whether every line of the profile's identity holds here; a profile without one is never recognised.

    One that names a board elsewhere (`host`) is not this machine either.
    """
    if profile.host is not None or not all(Path(path).exists() for path in profile.identity.paths):
        return False
    facts = {"machine": platform.machine(), "cpu": host.cpu_model(), "flags": cpu_flags(), "board": host.board()}
    return mismatch(profile, facts) is None


def mismatch(profile: DeviceProfile, facts: Mapping[str, Any]) -> str | None:
    """What tells a machine from the one that the profile describes, in words; None if nothing does.

    `facts`: machine (`uname -m`), flags, board (the name from the device tree) and, if known, memory_mb.
    """
    identity = profile.identity
    if not (identity.machine or identity.cpu_flags or identity.cpu_contains) and identity.board_contains is None:
        return "its profile has no 'identity', so that no machine can be told to be one"
    if identity.machine and facts["machine"] not in identity.machine:
        return f"expected a processor of the kind {' or '.join(identity.machine)}, found {facts['machine']}"
    missing = sorted(set(identity.cpu_flags) - set(facts["flags"]))
    if missing:
        found = facts.get("cpu", facts["machine"])
        return f"expected a processor with {', '.join(missing)}, found one without ({found})"
    lacking = sorted(set(identity.cpu_lacks) & set(facts["flags"]))
    if lacking:
        found = facts.get("cpu", facts["machine"])
        return f"expected a processor without {', '.join(lacking)}, found one with ({found})"
    name = str(facts.get("cpu", ""))
    if identity.cpu_contains and not any(text.lower() in name.lower() for text in identity.cpu_contains):
        return f"expected a processor named {' or '.join(identity.cpu_contains)}, found {name or facts['machine']}"
    if identity.board_contains is None:
        return None
    board = facts["board"] or ""
    if identity.board_contains.lower() not in board.lower():
        return f"expected a board named '{identity.board_contains}', found {repr(board) if board else 'no board name'}"
    memory = facts.get("memory_mb")
    if memory and profile.memory_mb and memory < _LEAST_MEMORY * profile.memory_mb:
        return f"expected {profile.memory_mb:.0f} MiB of memory, found {memory} MiB"
    return None


def measured_on(profile: DeviceProfile) -> str:
    """Where a figure taken here was taken, for every place that shows it."""
    if is_this_machine(profile):
        return f"{profile.name} ({host.cpu_model()})"
    return f"this machine ({host.cpu_model()}), not {profile.name}"

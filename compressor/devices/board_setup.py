"""What a board must have before any work is done for it: a Python, numpy, and an ONNX Runtime that can do the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.config import runtime
from compressor.config.device import DeviceProfile
from compressor.errors import DeviceSetupError


def require(profile: DeviceProfile, address: str, python: str, facts: Mapping[str, Any]) -> None:
    """See by the probe's facts that `python` at `address` has what measuring needs.

    Raises `DeviceSetupError`, one sentence that says what to install.
    """
    _require_64_bits(profile, address, python, facts)
    _require_libraries(address, python, facts)
    _require_version(profile, address, python, facts)
    _require_provider(profile, address, python, facts)


def _require_64_bits(profile: DeviceProfile, address: str, python: str, facts: Mapping[str, Any]) -> None:
    """A 64-bit kernel may carry a 32-bit system, whose wheels and figures are other ones."""
    machines = profile.identity.machine
    if facts["bits"] == 32 and machines and all("64" in machine for machine in machines):
        raise DeviceSetupError(
            f"'{python}' on {address} is a 32-bit Python under a 64-bit kernel, and {profile.name} is a 64-bit device: "
            "install a 64-bit system there, or name a 64-bit Python by device.python=PATH."
        )


def _require_libraries(address: str, python: str, facts: Mapping[str, Any]) -> None:
    for library in ("numpy", "onnxruntime"):
        if facts.get(library) is None:
            reason = facts.get("import_error") if library == "onnxruntime" else None
            why = f" ({reason})" if reason and not str(reason).startswith("No module named 'onnxruntime'") else ""
            raise DeviceSetupError(
                f"{library} is missing on {address}{why}: run '{python} -m pip install numpy onnxruntime' there, or "
                "name a Python that has it by device.python=PATH."
            )


def _require_version(profile: DeviceProfile, address: str, python: str, facts: Mapping[str, Any]) -> None:
    oldest = profile.runtime_version or ".".join(map(str, runtime.OLDEST_ATTENTION))
    if runtime.release(facts["onnxruntime"]) < runtime.release(oldest):
        raise DeviceSetupError(
            f"onnxruntime {facts['onnxruntime']} on {address} is too old: {profile.name} needs {oldest} or newer "
            f"('{python} -m pip install --upgrade onnxruntime' there; device.runtime_version names an older one, for "
            "which graphs are written otherwise)."
        )


def _require_provider(profile: DeviceProfile, address: str, python: str, facts: Mapping[str, Any]) -> None:
    first, there = profile.providers[0].name, facts["providers"]
    if first not in there:
        raise DeviceSetupError(
            f"onnxruntime {facts['onnxruntime']} on {address} has no {first} (it has {', '.join(there)}): install one "
            f"that has it in its place, '{python} -m pip install onnxruntime-gpu' on a PC with an NVIDIA GPU, the "
            "vendor's wheel on a board (for a Jetson, NVIDIA's), or name a Python that has it by device.python=PATH."
        )

"""Device profiles by name: `conf/device/<name>.yaml`, and `host`, which is filled in from this machine."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from compressor.config.device import DeviceProfile, Identity, Provider
from compressor.config.schema import parse
from compressor.devices import host
from compressor.devices.likeness import filled_in
from compressor.errors import RequestError, UnknownNameError
from compressor.processor import cpu_flags

HOST = "host"
_RAPL = Path("/sys/class/powercap/intel-rapl:0")


def available(folders: Iterable[Path]) -> dict[str, Path]:
    """Profile files by name; a folder that comes first wins, so a user's own can replace one of ours."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else []:
            found.setdefault(path.stem, path)
    return found


def load(name: str, folders: Iterable[Path]) -> DeviceProfile:
    """Read the profile `name` from the first of `folders` that has `<name>.yaml`, and those that it is `like`.

    Raises `UnknownNameError` with the nearest name, and `RequestError` for a file that is not a profile.
    """
    files = available(folders)
    if name not in files:
        raise UnknownNameError("device", name, files)
    return resolve({"name": name, **filled_in(name, files, _read)}, where=str(files[name]))


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"{path}: not a readable device profile: {error}") from error
    if not isinstance(values, dict):
        raise RequestError(f"{path}: a device profile is a mapping of settings, this is {type(values).__name__}.")
    return values


def resolve(values: Mapping[str, Any], *, where: str) -> DeviceProfile:
    """Check a profile's settings; what `host` leaves open is read from this machine.

    Raises `UnknownNameError` and `RequestError` with `where` and the key.
    """
    given = dict(values)
    if given.get("name") == HOST:
        given = {**_probed(), **given}
    if isinstance(given.get("providers"), list):
        given["providers"] = [
            _nested(Provider, entry, f"{where}: providers.{index}") for index, entry in enumerate(given["providers"])
        ]
    if "identity" in given:
        given["identity"] = _nested(Identity, given["identity"], f"{where}: identity")
    profile = parse(DeviceProfile, given, where=where)
    if not profile.providers:
        raise RequestError(f"{where}: 'providers' is empty: name at least CPUExecutionProvider.")
    return profile


def with_threads(profile: DeviceProfile, threads: int) -> DeviceProfile:
    """The same device measured with another number of threads."""
    return dataclasses.replace(profile, threads=threads)


def _nested(cls: type, entry: object, where: str) -> object:
    if isinstance(entry, cls):
        return entry
    if isinstance(entry, str) and cls is Provider:
        return Provider(name=entry)
    if not isinstance(entry, Mapping):
        raise RequestError(f"{where} = {entry!r} is not possible: it is a mapping of settings.")
    return parse(cls, {str(key): value for key, value in entry.items() if value is not None}, where=where)


def _probed() -> dict[str, Any]:
    """Settings of this machine: what it is, and the number format that its instruction sets are fast at."""
    flags = cpu_flags()
    memory = host.memory_mb()
    number_format, reduce_range, why = number_format_for(platform.machine(), flags)
    settings: dict[str, Any] = {
        "description": f"this machine: {host.cpu_model()}, {host.cores()} cores",
        "identity": {"machine": [platform.machine()]},
        "threads": host.cores(),
        "number_format": number_format,
        "reduce_range": reduce_range,
        "why": why,
        "power": "rapl" if _RAPL.is_dir() else "none",
    }
    if memory is not None:
        settings["memory_mb"] = float(memory)
    return settings


def number_format_for(machine: str, flags: frozenset[str]) -> tuple[str, bool, str]:
    """What a CPU is fast at: number format, whether weights need the reduced range, and the reason."""
    if flags & {"avx512_vnni", "avx_vnni", "amx_int8"}:
        return (
            "dynamic_int8",
            False,
            "the processor multiplies bytes into 32-bit sums (VNNI or AMX): full 8-bit weights",
        )
    if "avx2" in flags:
        return (
            "dynamic_int8",
            True,
            "AVX2 without VNNI adds byte products in 16 bits, which saturate: 7-bit weights (reduced range)",
        )
    if "sse4_1" in flags:
        return "dynamic_int8", False, "without AVX2, bytes are widened before they are multiplied: full 8-bit weights"
    if machine in ("aarch64", "arm64"):
        return "dynamic_int8", False, "Arm's integer kernels widen before they add: full 8-bit weights"
    return "float32", False, "no instruction set that ONNX Runtime's int8 kernels are fast on was found"

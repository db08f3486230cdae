"""Device profiles (`conf/device/*.yaml`): where the artifact will run and what that place is fast at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from compressor.config.schema import Count, FileName, Positive, Version, settings

Address = Annotated[str, Field(pattern=r"^(ssh://)?[A-Za-z0-9_.][^\s\x00-\x1f\x7f'\"]*$")]
"""What the system's ssh takes for a machine: user@board, ssh://user@board:port, or a name of its configuration."""
Program = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f-][^\x00-\x1f\x7f]*$")]
"""A command's name or path."""
NumberFormat = Literal["float32", "float16", "dynamic_int8", "static_int8"]


@settings
class Provider:
    """One ONNX Runtime execution provider with its options."""

    name: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@settings
class Identity:
    """How to recognise the device from inside it; every given line must hold."""

    machine: list[str] = dataclasses.field(default_factory=list)  # `uname -m`, any of these
    cpu_contains: list[str] = dataclasses.field(default_factory=list)  # text in the processor's name, any of these
    cpu_flags: list[str] = dataclasses.field(default_factory=list)  # all of these in /proc/cpuinfo
    cpu_lacks: list[str] = dataclasses.field(default_factory=list)  # none of these in /proc/cpuinfo
    board_contains: str | None = None  # text in /proc/device-tree/model
    paths: list[str] = dataclasses.field(default_factory=list)  # all are there


@settings
class DeviceProfile:
    """A place where artifacts run. `number_format` and `why` say which file it gets and for what reason."""

    name: FileName
    description: str
    runtime: Literal["onnxruntime"] = "onnxruntime"  # the only one so far: a profile for another is refused
    runtime_version: Version | None = None  # the oldest that the device may have; None: not known
    runtime_newest: Version | None = None  # the newest that is to be had for it; None: as new as any
    oldest_python: Version | None = None  # that its system brings
    providers: list[Provider]
    identity: Identity = dataclasses.field(default_factory=Identity)
    threads: Count | None = None  # None: all cores of the machine
    memory_mb: Positive | None = None  # of the whole device; gates.max_memory_mb cannot be above it
    emulated_cpu: str | None = None  # QEMU's model of its 64-bit Arm cores: the same instruction sets
    emulate: bool = False  # also run a sample on them under emulation, which takes no times
    system_memory_mb: Positive | None = None  # that its system keeps for itself; None: a quarter, 256 to 1024 MiB
    number_format: NumberFormat = "float32"
    activation_signed: bool = False  # static int8: signed activations
    activation_symmetric: bool = False
    reduce_range: bool = False  # 7-bit weights for int8 without VNNI or dot-product instructions
    per_channel: bool = True
    max_opset: Count = 17  # newest operator set that its runtime reads
    max_ir: Count = 9  # newest ONNX file version (IR) that its runtime reads
    dial: Literal["optional", "required", "fixed"] = "optional"
    power: Literal["none", "rapl", "ina3221"] = "none"
    why: str = ""
    sources: list[str] = dataclasses.field(default_factory=list)
    host: Address | None = None  # where the board is, for ssh; None: figures are taken on this machine
    python: Program = "python3"  # the board's Python that has numpy and onnxruntime

    @property
    def runs_on_cpu(self) -> bool:
        """Whether its first provider is the CPU's."""
        return not self.providers or self.providers[0].name == "CPUExecutionProvider"


PRIVATE = ("host", "python")
"""Settings that say how one user reaches a board: they stand in no manifest."""


def without_private(words: Sequence[str]) -> list[str]:
    """Words of a command line without those settings of a device that are `PRIVATE`."""
    private = {f"device.{key}" for key in PRIVATE}
    return [word for word in words if word.partition("=")[0].lstrip("+") not in private]


def public(profile: DeviceProfile) -> dict[str, Any]:
    """A profile as plain values, without what is `PRIVATE`."""
    return {key: value for key, value in dataclasses.asdict(profile).items() if key not in PRIVATE}

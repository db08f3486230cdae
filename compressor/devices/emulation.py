"""Emulated 64-bit Arm cores: what a file answers on Arm's kernels, and never how long it takes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.config.device import DeviceProfile
from compressor.devices import child, emulator, host
from compressor.devices.arm_cores import CORES, HWCAP_DOT_PRODUCT, guest_root
from compressor.devices.child import CPU, LocalPlace
from compressor.errors import DeviceError, RequestError

TIMELESS = ("outputs", "facts")
"""What the probe may be asked for here: nothing that takes a time, memory or energy."""
_FACTS = (
    "import ctypes, json, platform; f = ctypes.CDLL(None).getauxval; f.restype = ctypes.c_ulong; "
    "f.argtypes = [ctypes.c_ulong]; print(json.dumps([platform.machine(), f(16)]))"
)


@dataclass(frozen=True)
class EmulatedPlace:
    """QEMU in user mode with the cores of a profile; a `Place` that gives answers and refuses to measure."""

    profile: DeviceProfile
    emulator: emulator.Emulator
    root: Path
    on_device = False
    facts = None
    memory_mb = None

    @property
    def command(self) -> tuple[str, ...]:
        """What starts the Arm Python."""
        return (self.emulator.qemu, "-L", str(self.root), "-cpu", cpu_of(self.profile), self.emulator.python)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the Arm Python."""
        return emulator.python_environment(self.emulator.system, self.emulator.site)

    @property
    def measured_on(self) -> str:
        """Where answers come from, in words."""
        return (
            f"an emulation of {cpu_of(self.profile)} for {self.profile.name} ({self.emulator.version}, ONNX Runtime "
            f"{self.emulator.onnxruntime_version}), which takes no times"
        )

    def placement(self) -> dict[str, Any]:
        """Request entries: ONNX Runtime's CPU kernels, whatever the profile's providers are; no GPU is emulated."""
        return {"providers": [[CPU, {}]], "threads": child.threads_for(self.profile), "cpus": None}

    def run_probe(
        self,
        request: Mapping[str, Any],
        folder: Path,
        *,
        timeout_s: float,
        on_rows: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """Answer one request for outputs; raises `DeviceError` for any that would measure something."""
        if request["mode"] not in TIMELESS:
            raise DeviceError(f"'{request['mode']}' is not taken of an emulator: its figures are no device's.")
        place = LocalPlace(self.profile, command=(*self.command, "-P"), environment=self.environment)
        return place.run_probe(request, folder, timeout_s=timeout_s, on_rows=on_rows)

    def dot_product(self) -> bool:
        """Whether programs there find dot-product instructions, by which int8 kernels are chosen."""
        done = subprocess.run(
            [*self.command, "-c", _FACTS], capture_output=True, text=True, env=self.environment, check=False
        )
        if done.returncode:
            raise DeviceError(f"the emulated Python does not start: {done.stderr.strip()[-300:]}")
        machine, capabilities = json.loads(done.stdout)
        if machine != "aarch64":
            raise DeviceError(f"the emulated Python runs on {machine}: run `{emulator.INSTALL}` again.")
        return bool(capabilities & HWCAP_DOT_PRODUCT)


def cpu_of(profile: DeviceProfile) -> str:
    """QEMU's model of the device's cores. Raises `RequestError` for a device that is not emulated."""
    if profile.emulated_cpu is None:
        raise RequestError(
            f"device.emulate=true is not possible: '{profile.name}' names no device.emulated_cpu; devices with 64-bit "
            f"Arm cores do ({', '.join(CORES)})."
        )
    if profile.emulated_cpu not in CORES:
        raise RequestError(
            f"device.emulated_cpu = {profile.emulated_cpu!r} is not possible: choose from {', '.join(CORES)}."
        )
    return profile.emulated_cpu


@contextmanager
def emulated(profile: DeviceProfile, onnxruntime: str | None = None) -> Iterator[EmulatedPlace]:
    """The emulated device. Raises `RequestError` for one that has none, `DeviceError` where it is not installed."""
    cpu = cpu_of(profile)
    found = emulator.installed(onnxruntime)
    with child.work_folder() as folder:
        root = guest_root(Path(found.system), cpu, host.cores(), folder / "root")
        yield EmulatedPlace(profile, found, root)

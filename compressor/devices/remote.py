"""A board as the place where the probe runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compressor.config.device import DeviceProfile
from compressor.devices import answer, board_setup, child, host, identity
from compressor.devices.board import Board, content_key
from compressor.errors import DeviceError, WrongDeviceError

FACTS_TIMEOUT_S = 120.0
_NOT_TOLD = ("cpus", "paths", "import_error")
"""Facts that serve the measurement alone and stand in no manifest."""
_ARM_64 = {"aarch64", "arm64"}
_ARM_ENVIRONMENT = {"OPENBLAS_CORETYPE": "ARMV8"}
"""numpy 1.19.5, the last one for Python 3.6, takes some cores for others and dies by SIGILL as it is imported."""


class RemotePlace:
    """A board that a profile describes, over an open connection. A `Place`."""

    on_device = True

    def __init__(self, profile: DeviceProfile, board: Board) -> None:
        """Ask the board what it is.

        Raises `WrongDeviceError` if it is not what the profile describes, and `DeviceSetupError` if its Python lacks
        what measuring needs.
        """
        self.profile, self.board = profile, board
        self.clock_offset_s = board.clock_offset_s()
        found = self._facts()
        difference = identity.mismatch(profile, found)
        if difference:
            raise WrongDeviceError(f"{board.address} is not {profile.name}: {difference}.")
        board_setup.require(profile, board.address, board.python, found)
        self._all = found
        self.facts = {
            **{name: value for name, value in found.items() if name not in _NOT_TOLD},
            "flags": [name for name in host.INSTRUCTION_SETS if name in found["flags"]],
        }

    @property
    def measured_on(self) -> str:
        """Where figures are taken: the device, by what the board says of itself."""
        return identity.named(self.profile, self._all)

    @property
    def memory_mb(self) -> float | None:
        """What the board shows."""
        found = self._all["memory_mb"]
        return None if found is None else float(found)

    def placement(self) -> dict[str, Any]:
        """Request entries: providers and threads as the profile says, and no more threads than the board has."""
        cores = int(self._all["cores"])
        threads = min(self.profile.threads or cores, cores)
        cpus = list(self._all["cpus"])
        return {
            "providers": [[provider.name, dict(provider.options)] for provider in self.profile.providers],
            "threads": threads,
            "cpus": cpus[:threads] if threads < len(cpus) else None,
        }

    def run_probe(
        self,
        request: Mapping[str, Any],
        folder: Path,
        *,
        timeout_s: float,
        on_rows: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """Copy what the request needs, run the probe on the board, bring back what it wrote.

        Raises `DeviceError` and its kinds, each one sentence; a probe that hangs is killed on the board.
        """
        asked = {**request, "result": "result.json", "progress": "progress"}
        self.board.put("probe.py", child.PROBE)
        if "model" in request:
            model = Path(request["model"])
            asked["model"] = f"{content_key(model)[:16]}.onnx"  # so TensorRT's engines there are this content's, too
            self.board.put(asked["model"], model)
        for kind in ("inputs", "tokenizer", "texts"):
            if kind in request:
                self.board.put(str(request[kind]), folder / str(request[kind]))
        threads = dict.fromkeys(child.THREAD_VARIABLES, str(request.get("threads", 1)))
        defaults = environment_for(self.profile)
        code = self.board.run(asked, threads, defaults, timeout_s=timeout_s, on_rows=on_rows)
        if code is None:
            raise answer.too_slow(timeout_s, f" on {self.board.address}")
        result, log = folder / "result.json", folder / "log"
        result.unlink(missing_ok=True)
        self.board.get("log", log)
        self.board.get("result.json", result)
        found = answer.read(code, result, log, request, where=f" on {self.board.address}")
        if "outputs" in request and not self.board.get(str(request["outputs"]), folder / str(request["outputs"])):
            raise DeviceError(f"{self.board.address} gave no outputs back.")
        for moment in ("started", "ended", "idle_started", "idle_ended"):
            if moment in found:
                found[moment] -= self.clock_offset_s
        return found

    def _facts(self) -> dict[str, Any]:
        request = {"mode": "facts", "paths": list(self.profile.identity.paths)}
        with tempfile.TemporaryDirectory(prefix="compressor-facts-") as folder:
            return self.run_probe(request, Path(folder), timeout_s=FACTS_TIMEOUT_S)


def environment_for(profile: DeviceProfile) -> dict[str, str]:
    """Variables that the board's Python gets where the board does not set them itself."""
    machines = set(profile.identity.machine)
    return dict(_ARM_ENVIRONMENT) if machines and machines <= _ARM_64 else {}

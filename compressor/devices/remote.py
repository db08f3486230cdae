"""A board as the place where the probe runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compressor.config import runtime
from compressor.config.device import DeviceProfile
from compressor.devices import answer, child, host, identity
from compressor.devices.board import Board, content_key
from compressor.errors import DeviceError, DeviceSetupError, WrongDeviceError

FACTS_TIMEOUT_S = 120.0


class RemotePlace:
    """A board that a profile describes, over an open connection. A `Place`."""

    on_device = True

    def __init__(self, profile: DeviceProfile, board: Board) -> None:
        """Ask the board what it is.

        Raises `WrongDeviceError` if it is not what the profile describes, and `DeviceSetupError` if numpy or
        onnxruntime are missing there, or too old.
        """
        self.profile, self.board = profile, board
        self.clock_offset_s = board.clock_offset_s()
        found = self._facts()
        difference = identity.mismatch(profile, found)
        if difference:
            raise WrongDeviceError(f"{board.address} is not {profile.name}: {difference}.")
        _require_libraries(profile, board, found)
        self._all = found
        self.facts = {
            **{name: value for name, value in found.items() if name not in ("cpus", "import_error")},
            "flags": [name for name in host.INSTRUCTION_SETS if name in found["flags"]],
        }

    @property
    def measured_on(self) -> str:
        """Where figures are taken: the device, by what the board says of itself."""
        return f"{self.profile.name} ({self._all['board'] or self._all['cpu']})"

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
            asked["model"] = f"{content_key(model)[:16]}.onnx"
            self.board.put(asked["model"], model)
        for kind in ("inputs", "tokenizer", "texts"):
            if kind in request:
                self.board.put(str(request[kind]), folder / str(request[kind]))
        threads = dict.fromkeys(child.THREAD_VARIABLES, str(request.get("threads", 1)))
        code = self.board.run(asked, threads, timeout_s=timeout_s, on_rows=on_rows)
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
        with tempfile.TemporaryDirectory(prefix="compressor-facts-") as folder:
            return self.run_probe({"mode": "facts"}, Path(folder), timeout_s=FACTS_TIMEOUT_S)


def _require_libraries(profile: DeviceProfile, board: Board, facts: Mapping[str, Any]) -> None:
    python, address = board.python, board.address
    for library in ("numpy", "onnxruntime"):
        if facts.get(library) is None:
            reason = facts.get("import_error") if library == "onnxruntime" else None
            why = f" ({reason})" if reason and not str(reason).startswith("No module named 'onnxruntime'") else ""
            raise DeviceSetupError(
                f"{library} is missing on {address}{why}: run '{python} -m pip install numpy onnxruntime' there, or "
                "name a Python that has it by device.python=PATH."
            )
    oldest = profile.runtime_version or ".".join(map(str, runtime.OLDEST_ATTENTION))
    if _numbers(facts["onnxruntime"]) < _numbers(oldest):
        raise DeviceSetupError(
            f"onnxruntime {facts['onnxruntime']} on {address} is too old: {profile.name} needs {oldest} or newer "
            f"('{python} -m pip install --upgrade onnxruntime' there; device.runtime_version names an older one, for "
            "which graphs are written otherwise)."
        )


def _numbers(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        parts.append(int(digits or 0))
    return tuple(parts)

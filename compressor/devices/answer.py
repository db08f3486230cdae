"""What a probe left behind, read with care: its answer, or why there is none, in one sentence."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compressor.errors import DeviceError, DeviceMemoryError, DeviceSetupError

_LAST_WORDS = 600
_NO_ROOM = "No space left on device"
_ILLEGAL = "another version of numpy or onnxruntime may not; numpy 1.19.5 on Arm needs OPENBLAS_CORETYPE=ARMV8"
_TOO_OLD = ("Unsupported model IR version", "pset", "is not a registered function")
"""What a runtime says of a file that is newer than itself."""


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _times(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_number(entry) and entry > 0 for entry in value)


def _number_or_none(value: object) -> bool:
    return value is None or _number(value)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _text(value: object) -> bool:
    return isinstance(value, str)


_RUN: dict[str, Callable[[object], bool]] = {"providers": _texts, "threads": _number, "onnxruntime": _text}
_NEEDED: dict[str, dict[str, Callable[[object], bool]]] = {
    "speed": {
        **_RUN,
        "times_ms": _times,
        "first_call_ms": _number,
        "session_ms": _number,
        "rows": _number,
        "layers_run": _number_or_none,
    },
    "turns": {**_RUN, "times_ms": lambda value: isinstance(value, list) and all(_times(entry) for entry in value)},
    "memory": {"peak_memory_mb": _number_or_none, "baseline_memory_mb": _number_or_none},
    "energy": {"energy_mj": _number_or_none, "note": _text},
    "outputs": {**_RUN, "rows": _number},
    "tokenize": {"times_ms": lambda value: value == [] or _times(value), "note": _text},
    "facts": {
        **dict.fromkeys(("machine", "cpu", "python", "os"), _text),
        **dict.fromkeys(("flags", "providers", "paths"), _texts),
        **dict.fromkeys(("cores", "bits"), _number),
        "memory_mb": _number_or_none,
    },
}
"""What an answer must hold, by mode."""


def read(code: int, result: Path, log: Path, request: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """The probe's answer to a request; `code` is its exit code, negative for a signal, `where` " on BOARD".

    Raises `DeviceError` with its own words where it failed, with its last ones where it could not even say so, and
    for an answer that is damaged; `DeviceSetupError` where the runtime is too old for the file.
    """
    name = Path(str(request.get("model", "the probe"))).name
    if not result.is_file():
        raise _died(code, log, name, where)
    try:
        answer = json.loads(result.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise DeviceError(f"the answer of the process that ran {name}{where} is damaged: {error}.") from error
    if isinstance(answer, dict) and "error" in answer:
        raise _failed(str(answer["error"]), bool(answer.get("out_of_memory")), name, where)
    needed = _NEEDED[request["mode"]]
    wrong = [key for key, right in needed.items() if not isinstance(answer, dict) or not right(answer.get(key))]
    if wrong:
        raise DeviceError(f"the answer of the process that ran {name}{where} is damaged: '{wrong[0]}' is not right.")
    return dict(answer)


def too_slow(timeout_s: float, where: str = "") -> DeviceError:
    """The error for a probe that had to be stopped."""
    return DeviceError(
        f"the measurement{where} did not end within {timeout_s:.0f} s and was stopped; "
        "use fewer runs or rows, or look for what else keeps the machine busy."
    )


def _died(code: int, log: Path, name: str, where: str) -> DeviceError:
    words = log.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_WORDS:] if log.is_file() else ""
    if _NO_ROOM in words:
        return DeviceError(f"the disk is full{where}: the process that ran {name} could not write its answer.")
    end = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    kind: type[DeviceError] = DeviceError
    if code == -signal.SIGKILL:
        kind, end = DeviceMemoryError, f"{end}, as a system does that runs out of memory"
    if code == -signal.SIGILL:
        kind, end = DeviceSetupError, f"{end}: a library there uses instructions that its processor lacks ({_ILLEGAL})"
    return kind(f"the process that ran {name}{where} {end}; its last words: {words or 'it said nothing'}")


def _failed(reason: str, out_of_memory: bool, name: str, where: str) -> DeviceError:
    if out_of_memory:
        return DeviceMemoryError(f"{name} ran out of memory{where}: {reason}")
    if _NO_ROOM in reason:
        return DeviceError(f"the disk is full{where}: the outputs of {name} could not be written.")
    if any(sign in reason for sign in _TOO_OLD):
        return DeviceSetupError(f"onnxruntime{where} is too old for {name}: {reason}")
    return DeviceError(f"{name} could not be run{where}: {reason}")

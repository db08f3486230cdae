"""Every error that a user can cause: one class each, one clear sentence, an exit code.

Exit codes: 0 written, 1 anything else, 2 the request is wrong, 3 a gate refused,
4 a device could not be reached or measured.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CompressorError(Exception):
    """Base of all errors that the command line shows as one sentence, without a traceback."""

    exit_code = 1


class RequestError(CompressorError):
    """The request itself is wrong: an unknown key, a wrong type, an impossible value."""

    exit_code = 2


class UnknownNameError(RequestError):
    """A name (recipe, stage, pass, device, key ...) that does not exist; suggests the nearest."""

    def __init__(self, kind: str, name: str, options: Iterable[str], where: str = "") -> None:
        known = sorted(options)
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else f"choose from: {', '.join(known)}."
        place = f" in {where}" if where else ""
        super().__init__(f"unknown {kind} '{name}'{place}: {hint}")


class DataError(RequestError):
    """A data file is missing, empty, truncated, wrongly encoded, or its content contradicts itself."""


class CheckpointError(RequestError):
    """A checkpoint cannot be used: damaged, pickled, not BERT-like, or made for another task."""


class TaskError(RequestError):
    """A task that the recipe, the stage or the data cannot do."""


class DialError(RequestError, ValueError):
    """A length configuration `keep` that grows, leaves (0, 1] or has the wrong number of entries."""


class TrainingError(CompressorError):
    """Training cannot go on, for example because the loss is no longer a number."""


class ExportError(CompressorError):
    """A checkpoint could not be turned into an ONNX graph."""


class FusionError(CompressorError):
    """A fusion that the device relies on did not find the nodes it must find."""


class PassError(CompressorError):
    """A graph pass failed or would give a graph that does not do what was asked."""


class StorageError(CompressorError):
    """The disk is full or a file could not be written or read."""


class ArtifactError(CompressorError):
    """An artifact is damaged, incomplete, or not one of ours."""


class ArtifactExistsError(RequestError):
    """Another artifact is in the way and `overwrite=true` was not given."""


class GateRefusedError(CompressorError):
    """The result misses a limit that it had to meet; no artifact was written."""

    exit_code = 3


class DeviceError(CompressorError):
    """The device could not be reached or measured, or is not the one that its profile describes."""

    exit_code = 4


class UnreachableError(DeviceError):
    """A board does not answer, refuses the login, shows another host key, or was lost midway."""


class DeviceMemoryError(DeviceError):
    """A model needs more memory than there is where it is run."""


class DeviceSetupError(DeviceError):
    """A board lacks what measuring needs: Python, numpy or onnxruntime, or has them too old."""


class WrongDeviceError(DeviceError):
    """A board is not the one that its profile describes."""

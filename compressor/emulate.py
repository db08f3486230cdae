"""The verb `emulator`: put together, show or remove what emulated Arm cores need."""

from __future__ import annotations

import re
from collections.abc import Sequence

from compressor.console import Console
from compressor.devices import emulator
from compressor.errors import RequestError, UnknownNameError

ACTIONS = ("install", "show", "remove")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def manage(words: Sequence[str], settings: Sequence[str]) -> int:
    """Do what the words ask for; `settings` may be onnxruntime=VERSION.

    Raises `RequestError` for anything else, and `DeviceError` for what could not be fetched.
    """
    if len(words) != 1 or words[0] not in ACTIONS:
        raise UnknownNameError("emulator", " ".join(words) or "(nothing)", ACTIONS)
    version = _version(settings)
    say = Console().line
    if words[0] == "remove":
        emulator.remove()
        say(f"removed: {emulator.folder()}")
    elif words[0] == "show":
        found = emulator.installed(version)
        say(f"{found.version}, Python {found.python_version}, numpy {found.numpy_version} in {emulator.folder()}")
        say(f"ONNX Runtime: {', '.join(emulator.versions())}")
    else:
        say(f"into {emulator.folder()}, without rights and nowhere else: a 64-bit Arm Python, QEMU unless it is there,")
        say("and the wheels of ONNX Runtime and numpy, by this machine's apt-get and pip (about 120 MB)")
        found = emulator.install(version, Console())
        say(f"ready: {found.version}, Python {found.python_version}, ONNX Runtime {found.onnxruntime_version}")
    return 0


def _version(settings: Sequence[str]) -> str | None:
    for setting in settings:
        key, _, value = setting.partition("=")
        if key != "onnxruntime":
            raise UnknownNameError("key", key, ["onnxruntime"], "emulator")
        if not _VERSION.fullmatch(value):
            raise RequestError(f"onnxruntime = {value!r} is not possible: give a whole version, such as 1.17.0.")
        return value
    return None

"""Programs and modules that some tests need: found, or the test is skipped visibly; where all are required it fails."""

from __future__ import annotations

import importlib
import os
import shutil

import pytest

ALL = "COMPRESSOR_TESTS_REQUIRE_ALL"
"""Set to 1 (as CI does), what is missing is a failure."""
_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"


def require(program: str, how: str) -> str:
    """The path of a program, system folders included; `how` says what installs it.

    Skips the test that asks (or the module, from its top or a fixture) where the program is missing, and fails it
    where `COMPRESSOR_TESTS_REQUIRE_ALL=1`.
    """
    found = shutil.which(program) or shutil.which(program, path=_SYSTEM)
    if found is None:
        missing(f"{program} is missing: {how}")
    return str(found)


def require_module(name: str, how: str) -> None:
    """The same of a Python module that comes with an extra."""
    try:
        importlib.import_module(name)
    except ImportError:
        missing(f"{name} is missing: {how}")


def missing(reason: str) -> None:
    """Skip with `reason`, or fail with it where nothing may be skipped."""
    if os.environ.get(ALL) == "1":
        pytest.fail(f"{reason} ({ALL}=1: this test may not be skipped)", pytrace=False)
    pytest.skip(reason, allow_module_level=True)

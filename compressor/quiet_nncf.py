"""NNCF without its usage reports and its messages."""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import Any


def load_nncf(*modules: str) -> Any:
    """Import NNCF, and further modules of it by dotted name, with its usage reports switched off.

    NNCF swaps its reporter for an empty one if `NNCF_CI` is set while it is imported; `opt_in_out --opt_out`
    would change the user's settings of other programs too.
    """
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        import nncf

        for module in modules:
            import_module(module)
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
    nncf.set_log_level(logging.ERROR)
    return nncf

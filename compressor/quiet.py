"""Libraries that keep their chatter to themselves: our own lines and errors say what matters."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib import import_module
from typing import Any


def quieten() -> None:
    """For the whole process; where the caller's variables and options say otherwise, they stand."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    for name in ("torch.utils._pytree", "torchao"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not sys.warnoptions:
        warnings.filterwarnings("ignore")


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

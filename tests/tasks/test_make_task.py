from __future__ import annotations

import subprocess
import sys

import pytest

from compressor.config.run import TASK_NAMES, FeatureSettings
from compressor.errors import UnknownNameError
from compressor.tasks import TASKS, make_task


def test_every_task_name_has_a_task() -> None:
    assert set(TASKS) == set(TASK_NAMES)
    assert make_task("token-classification", FeatureSettings(), ["O"]).labels == ("O",)


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown task 'text-clasification': did you mean 'text-classification'\?"
    ):
        make_task("text-clasification", FeatureSettings())


def test_tasks_and_data_import_nothing_heavy() -> None:
    code = (
        "import sys, compressor.tasks, compressor.data.files, compressor.data.hub, compressor.data.demo.teacher\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

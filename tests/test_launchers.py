"""Hydra's launcher plug-ins: jobs in other processes, answers in order, what is not there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from compressor import launchers
from compressor.errors import RequestError, UnknownNameError
from compressor.request import build
from tests.require import ALL, require_module

JOBLIB, HOW = "hydra_plugins.hydra_joblib_launcher", "pip install 'compressor[dev]'"


def square(job: int) -> tuple[int, int]:
    """A job's answer and its process; a negative one fails."""
    if job < 0:
        raise ValueError("below nothing")
    return job * job, os.getpid()


def test_where_nothing_may_be_skipped_what_is_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, JOBLIB, None)  # as if it were not installed
    monkeypatch.setenv(ALL, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{JOBLIB} is missing: pip install"):
        require_module(JOBLIB, HOW)
    monkeypatch.delenv(ALL)
    with pytest.raises(pytest.skip.Exception, match=f"{JOBLIB} is missing: pip install"):
        require_module(JOBLIB, HOW)


def test_jobs_of_joblib_run_in_other_processes_in_order(tmp_path: Path) -> None:
    require_module(JOBLIB, HOW)
    answers = launchers.launch("joblib", ["hydra.launcher.n_jobs=2"], square, [3, -1, 5], tmp_path)
    assert [answers[0][0], answers[2][0]] == [9, 25]
    assert isinstance(answers[1], ValueError)
    assert os.getpid() not in (answers[0][1], answers[2][1])


def compose(job: str) -> str:
    """A job that composes a request, as runs do."""
    return build([f"recipe={job}"]).recipe.name


@pytest.mark.parametrize(("launcher", "settings"), [("basic", []), ("joblib", ["hydra.launcher.n_jobs=1"])])
def test_jobs_compose_requests(launcher: str, settings: list[str], tmp_path: Path) -> None:
    if launcher != "basic":
        require_module(JOBLIB, HOW)
    assert launchers.launch(launcher, settings, compose, ["int8", "minilm"], tmp_path) == ["int8", "minilm"]


def test_hydras_own_launcher_runs_here(tmp_path: Path) -> None:
    assert launchers.launch("basic", [], square, [2], tmp_path) == [(4, os.getpid())]


def test_a_launcher_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="unknown launcher 'joblip': did you mean 'joblib'?"):
        launchers.launch("joblip", [], square, [1], tmp_path)
    monkeypatch.setattr(launchers, "names", lambda: ["basic"])
    with pytest.raises(RequestError, match="the launcher 'joblib' needs hydra-joblib-launcher: pip install"):
        launchers.require("joblib")


def test_a_setting_that_the_launcher_has_not(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="the launcher 'basic' cannot be set up"):
        launchers.launch("basic", ["hydra.launcher.n_jobs=2"], square, [1], tmp_path)

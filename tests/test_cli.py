"""The command line in processes of its own: exit codes, one-line errors, light verbs, a run that is killed."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compressor.arguments import sort_arguments
from compressor.cli import main
from compressor.errors import CompressorError
from tests.tiny import settings

ROOT = Path(__file__).resolve().parent.parent


def compressor(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "compressor", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["plan", "recipe=qualaminilm", "device=jetson"], ["--version"]]
)
def test_light_verbs_import_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from compressor.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'datasets', 'sklearn', 'scipy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_list_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "recipes", "stages"]) == 0
    shown = capsys.readouterr().out

    assert "qualaminilm" in shown and "drop_layers" in shown and "jetson" not in shown


def test_plan_shows_what_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "recipe=minilm", "device=jetson", f"output={tmp_path}"]) == 0
    shown = capsys.readouterr().out

    assert "227 million MACs" in shown and "454 million MACs" in shown
    assert [line.split()[1] for line in shown.splitlines() if line.startswith(("stage ", "export ", "pass "))] == [
        "drop_layers",
        "distill",
        "export",
        "fuse",
        "quantize",
    ]


def test_plan_shows_every_run_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-m", "recipe=int8", "seed=1,2", f"output={tmp_path}"]) == 0
    shown = capsys.readouterr().out

    assert "run 2 of 2: recipe=int8 seed=2" in shown
    assert shown.count("artifact: ") == 2


WRONG = [
    (["recipe=qualaminlm"], "error: unknown recipe 'qualaminlm': did you mean 'qualaminilm'?"),
    (["lst"], "error: unknown verb 'lst': did you mean 'list'?"),
    (["list", "recipe"], "error: unknown list 'recipe': did you mean 'recipes'?"),
    (["list", "a=3"], "error: 'a=3' means nothing to list."),
    (["--hlp"], "error: unknown option '--hlp': did you mean '--help'?"),
    (["--config-dir"], "error: --config-dir needs a value."),
    (["plan", "thing"], "error: 'thing' is not understood: settings are given as KEY=VALUE."),
    (["verify"], "error: verify needs one artifact: python -m compressor verify DIR"),
    (["cache"], "error: unknown cache '(nothing)': choose from: clean, list."),
    (["cache", "list", "x=1"], "error: unknown key 'x' in cache"),
    (["cache", "clean", "--max-gb", "much"], "error: --max-gb much is not possible: give a number of gigabytes."),
    (["cache", "clean", "--max-gb", "inf"], "error: --max-gb inf is not possible: give a number of gigabytes."),
    (["cache", "clean", "--max-gb", "nan"], "error: --max-gb nan is not possible: give a number of gigabytes."),
    (["cache", "clean"], "error: cache clean needs --max-gb N, to remove what was not used for longest down to N"),
    (["cache", "clean", "--all", "--max-gb", "1"], "error: cache clean needs --max-gb N, to remove what was not used"),
    (["--recipe", "minilm"], "error: '--recipe' is not understood: settings have no dashes, recipe=VALUE."),
    (["--device=host"], "error: '--device=host' is not understood: settings have no dashes, device=VALUE."),
    (["verify", "nowhere-to-be-found"], "is not a folder: give the folder of an artifact."),
    (["cache", "clean", "--max-gb="], "error: --max-gb is not possible: give a number of gigabytes."),
    (["plan", "data=files"], "error: data=files needs data.dev=PATH: the examples that the result is reported on."),
    (["plan", "data=files", "data.dev=/no/x.csv"], "error: /no/x.csv does not exist (nor does the folder /no)."),
    (["plan", "data=hub"], "error: data=hub needs data.name=NAME"),
    (["plan", "data=files", "data.dev=a,b.csv"], "quotes: 'data.dev=\"a,b.csv\"'."),
    (["verify", "x", "-m"], "error: --multirun means nothing to verify."),
    (["verify", "x", "--config-dir", "y"], "error: --config-dir means nothing to verify."),
    (["validate", "x", "-m"], "error: --multirun means nothing to validate."),
    (["list", "-m"], "error: --multirun means nothing to list."),
    (["plan", "--max-gb", "3"], "error: --max-gb means nothing to plan."),
    (["--max-gb", "3"], "error: --max-gb means nothing to run."),
    (["cache", "list", "--max-gb", "3"], "error: --max-gb means nothing to cache."),
    (["validate", "x", "~measure.runs"], "error: '~measure.runs' means nothing to validate: it takes device=NAME"),
    (["validate", "x", "data=files"], "error: 'data=files' means nothing to validate: it takes device=NAME"),
    (["validate", "x", "output="], "error: output= names no folder: give output=FOLDER."),
    (["validate", "x", "overwrite=true"], "error: 'overwrite' means nothing to validate without output=FOLDER."),
    (["validate", "x", "output=y", "overwrite=maybe"], "error: overwrite=maybe is not possible: true or false."),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_a_wrong_command_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()

    assert words in shown.err
    assert len(shown.err.splitlines()) == 1
    assert "Traceback" not in shown.err


def test_nothing_asked_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "python -m compressor recipe=NAME" in capsys.readouterr().out


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe=none", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_exit_code_1_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(arguments: object) -> int:
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(sys.modules["compressor.verbs"].VERBS, "list", broken)
    assert main(["list"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "error: ZeroDivisionError: oh (this is a bug" in shown


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(importlib.import_module("compressor.verbs").VERBS, "list", stopped)
    assert main(["list"]) == 130
    assert (
        capsys.readouterr().err
        == "error: interrupted; the same command goes on from what is done, inside a training from its last save.\n"
    )


def test_words_settings_and_options_are_sorted() -> None:
    found = sort_arguments(["cache", "clean", "--max-gb=2", "output=x", "--config-dir", "d", "-m"], ["cache"])

    assert (found.verb, found.words, found.settings) == ("cache", ["clean"], ["output=x"])
    assert (found.max_gb, found.config_dirs, found.multirun) == ("2", ["d"], True)


def test_a_run_from_another_folder_then_verify_validate_and_cache(exports: Path, tmp_path: Path) -> None:
    asked = settings("int8", exports, "device=host", "task=text-classification", "export_each_stage=false")
    done = compressor(*asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = str(exports / "int8" / "text-classification-demo" / "host")
    assert f"{folder}" in done.stdout.replace("\n", "")

    assert "sound" in compressor("verify", folder, cwd=tmp_path).stdout
    anew = compressor("validate", folder, "device=raspberry_pi_4", "measure.runs=3", cwd=tmp_path)
    assert anew.returncode == 0, anew.stderr
    assert "not raspberry_pi_4" in anew.stdout and "accuracy" in anew.stdout
    assert "entries" in compressor("cache", "list", f"output={exports}", cwd=tmp_path).stdout


def test_a_refused_run_is_exit_code_3_and_no_device_is_4(exports: Path, tmp_path: Path) -> None:
    asked = settings("int8", exports, "device=x86_avx512", "task=text-classification", "export_each_stage=false")
    refused = compressor(*asked, "gates.max_size_mb=0.01", cwd=tmp_path)
    assert refused.returncode == 3
    assert refused.stderr.startswith("error: no artifact was written: max_size_mb")

    away = [word.replace("x86_avx512", "jetson") for word in asked]
    unmeasured = compressor(*away, "gates.require_device=true", cwd=tmp_path)
    assert unmeasured.returncode == 4


def test_a_sweep_runs_everything_and_tells_of_the_first_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds: list[int] = []

    def run(request: object, progress: object, *, again: bool) -> object:
        seeds.append(request.seed)  # type: ignore[attr-defined]
        raise CompressorError(f"seed {seeds[-1]} failed")

    monkeypatch.setattr("compressor.pipeline.run", run)
    assert main(["-m", "recipe=int8", "seed=1,2", f"output={tmp_path}"]) == 1
    shown = capsys.readouterr()
    assert seeds == [1, 2]
    assert "run 2 of 2: recipe=int8 seed=2" in shown.out
    first, second = shown.err.splitlines()
    assert first.endswith("seed 1 failed") and second.endswith("seed 2 failed")


def test_a_killed_run_goes_on_from_its_last_finished_step(tmp_path: Path) -> None:
    asked = settings("minilm", tmp_path / "out", "device=host", "task=text-classification", "export_each_stage=false")
    longer = [word.replace("max_steps=2", "max_steps=100000") for word in asked]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-m", "compressor", *longer, "recipe.stages.distill.epochs=100000"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    cache = tmp_path / "out" / ".cache"
    deadline = time.monotonic() + 240
    while not list((cache / ".new").glob("distill-*")):
        assert child.poll() is None, "the run ended before it reached the training stage"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    first = {path.name: path.stat().st_ino for path in cache.glob("drop_layers-*")}

    done = compressor(*asked, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert {path.name: path.stat().st_ino for path in cache.glob("drop_layers-*")} == first != {}

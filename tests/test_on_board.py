"""Whole runs whose figures are taken on a board, against a real ssh server on loopback."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from compressor.artifact.manifest import read
from compressor.errors import GateRefusedError, UnknownNameError, UnreachableError, WrongDeviceError
from compressor.pipeline import run
from compressor.progress import Silent
from compressor.revalidate import keep, revalidate
from compressor.validation import on_board
from tests import sshd
from tests.tiny import request

MEASURE = ["measure.runs=2", "measure.rounds=1", "measure.device_rows=4"]
BOARD = [f"device.host={sshd.ADDRESS}", f"device.python={sys.executable}"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with sshd.running(tmp_path_factory.mktemp("board")) as started:
        yield started


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with profiles: the machine behind the server, and one that it is not."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "device").mkdir()
    lines = {"description": "this machine by ssh", "providers": [{"name": "CPUExecutionProvider"}], "threads": 1}
    for name, machine in (("loopback", platform.machine()), ("abacus", "abacus")):
        profile = {**lines, "name": name, "identity": {"machine": [machine]}, "memory_mb": 4096.0}
        (folder / "device" / f"{name}.yaml").write_text(json.dumps(profile))
    return folder


def asked(output: Path, own: Path, device: str, *more: str):
    return request("int8", output, f"hydra.searchpath=[{own}]", f"device={device}", "task=text-classification",
                   "export_each_stage=false", "gates.require_device=true", "gates.max_latency_ms=100000", *MEASURE,
                   *BOARD, *more)  # fmt: skip


@pytest.fixture(scope="module")
def artifact(server, own: Path, exports: Path) -> Path:
    outcome = run(asked(exports, own, "loopback"))
    assert server.left_behind() == []
    return outcome.artifact


def test_figures_are_the_devices_own_and_name_nobody(artifact: Path, server) -> None:
    manifest = read(artifact)
    assert manifest.board["machine"] == platform.machine() and manifest.board["cores"] >= 1
    assert manifest.speed["artifact"]["on_device"] and manifest.speed["artifact"]["fits_memory"]
    verdicts = {verdict["name"]: verdict for verdict in manifest.gates}
    assert verdicts["max_latency_ms"]["judged"] and verdicts["max_latency_ms"]["passed"]
    assert verdicts["min_device_agreement"]["value"] == 100.0
    assert verdicts["min_device_agreement"]["note"].startswith("answers of loopback (")
    check = manifest.board_check
    assert check["examples"] == 4 and check["same"] == 100.0 and check["max_abs"] < 1e-3
    assert check["metrics"] == check["metrics_here"]
    text = (artifact / "manifest.json").read_text() + (artifact / "README.md").read_text()
    for private in (str(server.folder), sys.executable, "device.host", f'"{sshd.ADDRESS}"', "127.0.0.1"):
        assert private not in text.replace('"board":', "")


def test_an_artifact_is_measured_anew_there(artifact: Path, own: Path, server, tmp_path: Path) -> None:
    found = revalidate(artifact, [*MEASURE, *BOARD], [str(own)], Silent())
    assert found.measured_on.startswith("loopback (")
    lines = {name: now for name, _, now in found.lines}
    assert lines["same answers on 4 examples"] == "100.0 %" and lines["fits 3072 MiB"] == "yes"
    found.require()
    assert server.left_behind() == []
    keep(found, tmp_path / "anew")
    manifest, text = read(tmp_path / "anew"), (tmp_path / "anew" / "manifest.json").read_text()
    assert manifest.board is not None and manifest.speed["artifact"]["on_device"]
    assert manifest.command == ["validate", str(artifact), *MEASURE]
    assert sshd.ADDRESS not in text and sys.executable not in text


def test_a_wrong_or_unreachable_board_ends_a_run_before_any_work(own: Path, tmp_path: Path, artifact: Path) -> None:
    with pytest.raises(WrongDeviceError, match="board is not abacus: expected a processor of the kind abacus"):
        run(asked(tmp_path, own, "abacus"))
    with pytest.raises(UnreachableError, match="Connection refused"):
        run(asked(tmp_path, own, "loopback", "device.host=ssh://127.0.0.1:1"))
    with pytest.raises(WrongDeviceError, match="board is not abacus"):
        revalidate(artifact, ["device=abacus", *BOARD], [str(own)], Silent())
    with pytest.raises(UnknownNameError, match=r"unknown key 'device.hots' in validate: did you mean 'device.host'"):
        revalidate(artifact, ["device.hots=board"], [], Silent())


def test_a_board_that_answers_otherwise_is_refused(artifact: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an int8 kernel would that saturates: the same file, other answers."""
    real = on_board.run_features

    def saturated(*arguments, place=None, **options):
        outputs = real(*arguments, place=place, **options)
        return [{name: -np.sign(value) for name, value in row.items()} if place else row for row in outputs]

    monkeypatch.setattr(on_board, "run_features", saturated)
    found = revalidate(artifact, [*MEASURE, *BOARD], [str(own)], Silent())
    assert dict((name, now) for name, _, now in found.lines)["same answers on 4 examples"] != "100.0 %"
    with pytest.raises(GateRefusedError, match="min_device_agreement: .* limit 95 % of the examples answered there"):
        found.require()


def test_no_rows_or_no_board_is_no_check(artifact: Path) -> None:
    profile = dataclasses.replace(request("int8", "out").device)
    assert on_board.check_on_board(artifact / "model.onnx", None, [object()], None, profile) is None
    profile = dataclasses.replace(profile, host="board")
    assert on_board.check_on_board(artifact / "model.onnx", None, [object()], None, profile, rows=0) is None

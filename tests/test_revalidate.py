"""Measuring an artifact anew: what it needs, and what it says of gates that cannot be judged here."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from compressor.artifact.manifest import read
from compressor.cli import main
from compressor.devices import emulator
from compressor.errors import DataError, DeviceError, RequestError, UnknownNameError
from compressor.pipeline import run
from compressor.progress import Silent
from compressor.revalidate import Revalidation, revalidate
from tests.require import missing
from tests.tiny import request

MEASURE = ["measure.runs=2", "measure.rounds=1"]


def table(path: Path, rows: int, start: int = 0) -> Path:
    path.write_text(
        "text,label\n" + "".join(f"the parcel number {start + n} came late,delivery\n" for n in range(rows))
    )
    return path


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of files, with a gate that needs the teacher's speed; its training file is gone since."""
    folder = tmp_path_factory.mktemp("anew")
    train, dev = table(folder / "train.csv", 20, 100), table(folder / "dev.csv", 6)
    asked = request(
        "int8",
        folder,
        "device=host",
        "task=text-classification",
        "data=files",
        f"data.train={train}",
        f"data.dev={dev}",
        "gates.min_speedup=0.01",
        "export_each_stage=false",
    )
    outcome = run(asked)
    train.unlink()
    return outcome.artifact


def anew(artifact: Path, *more: str) -> Revalidation:
    return revalidate(artifact, [*MEASURE, *more], [], Silent())


def test_neither_training_data_nor_the_teacher_is_needed(artifact: Path) -> None:
    found = anew(artifact)

    assert [line[0] for line in found.lines][:2] == ["accuracy", "macro_f1"]
    assert all(now for _, _, now in found.lines)
    verdicts = {verdict.name: verdict for verdict in found.verdicts}
    assert not verdicts["min_speedup"].judged
    assert "the teacher is not part of the artifact" in verdicts["min_speedup"].sentence()
    assert verdicts["parity"].passed
    found.require()


def test_a_latency_that_is_another_one_now_is_told(artifact: Path) -> None:
    file = artifact / "manifest.json"
    kept = file.read_text()
    content = json.loads(kept)
    content["speed"]["artifact"]["p50_ms"] *= 50
    try:
        file.write_text(json.dumps(content))
        found = {name: now for name, _, now in anew(artifact).lines}
        content["speed"]["artifact"]["threads"] += 1
        file.write_text(json.dumps(content))
        others = [name for name, _, _ in anew(artifact).lines]
    finally:
        file.write_text(kept)
    assert found["then and now differ by"].endswith("%: the machine was too noisy, then or now")
    assert "then and now differ by" not in others


def test_figures_taken_anew_are_a_run_that_report_gathers(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["validate", str(artifact), "device=raspberry_pi_4", *MEASURE]

    assert main([*words, "output=anew"]) == 0

    assert "written: anew" in capsys.readouterr().out
    assert sorted(path.name for path in Path("anew").iterdir()) == ["manifest.json", "report.html"]
    then, now = read(artifact), read(tmp_path / "anew")
    assert now.device["name"] == "raspberry_pi_4" and now.request_key == then.request_key
    assert now.command == words and now.metrics == then.metrics and now.files == {}
    assert list(now.speed) == ["artifact"] and "not raspberry_pi_4" in now.speed["artifact"]["measured_on"]
    assert [row.p50_ms for row in now.stages] == [None] * (len(then.stages) - 1) + [now.speed["artifact"]["p50_ms"]]
    assert {one.name for one in now.measurements} >= {"accuracy", "size", "latency p50", "peak memory"}
    assert main(["report", str(artifact), "anew", "output=all.html"]) == 0
    with Path("runs.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["device"] for line in lines] == ["host", "raspberry_pi_4"]
    assert [line["measured"] for line in lines] == ["on the device", "other machine"]

    assert main([*words, 'output="a (1)"']) == 0 and (tmp_path / "a (1)" / "manifest.json").is_file()
    assert main(["report", "anew", 'output="b (1).html"']) == 0 and Path("b (1).html").is_file()
    assert main([*words, "output=anew"]) == 2
    assert "anew holds figures already: overwrite=true replaces them" in capsys.readouterr().err
    assert main([*words, "output=anew", "overwrite=true"]) == 0
    assert read(tmp_path / "anew").command == words


def test_figures_never_take_an_artifacts_place(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    for place, said in ((artifact, "which figures do not replace"), (tmp_path, "holds file, which figures do not"),
                        (tmp_path / "file", "is a file")):  # fmt: skip
        assert main(["validate", str(artifact), *MEASURE, f"output={place}", "overwrite=true"]) == 2
        assert said in capsys.readouterr().err
    assert (artifact / "model.onnx").is_file() and (tmp_path / "file").read_text() == "mine"


def test_missed_gates_are_written_too(artifact: Path, tmp_path: Path) -> None:
    file = artifact / "manifest.json"
    kept = file.read_text()
    content = json.loads(kept)
    content["request"]["gates"]["max_size_mb"] = 0.001
    try:
        file.write_text(json.dumps(content))
        assert main(["validate", str(artifact), *MEASURE, f"output={tmp_path / 'anew'}"]) == 3
    finally:
        file.write_text(kept)
    verdicts = {gate["name"]: gate["passed"] for gate in read(tmp_path / "anew").gates}
    assert verdicts["max_size_mb"] is False and verdicts["parity"] is True
    assert "It misses its gates." in (tmp_path / "anew" / "report.html").read_text()


def test_data_that_has_moved_can_be_named(artifact: Path, tmp_path: Path) -> None:
    dev = artifact.parents[2] / "dev.csv"
    moved = dev.rename(tmp_path / "moved.csv")
    try:
        with pytest.raises(DataError, match=r"dev\.csv.*Give the held-out data by data\.dev=FILE"):
            anew(artifact)
        assert anew(artifact, f"data.dev={moved}").verdicts
        with pytest.raises(DataError, match="the held-out data is not what the artifact was judged on"):
            anew(artifact, f"data.dev={table(tmp_path / 'other.csv', 7)}")
    finally:
        moved.rename(dev)


def test_what_cannot_be_changed(artifact: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown key 'seed'"):
        anew(artifact, "seed=3")
    with pytest.raises(
        DataError, match="the meter's log @x.csv cannot be read"
    ):  # as Hydra reads it, which YAML cannot
        anew(artifact, "measure.meter_log=@x.csv")


@pytest.fixture(scope="module")
def emulator_is_there() -> None:
    try:
        emulator.installed()
    except DeviceError as error:
        missing(str(error))


def test_answers_of_emulated_arm_cores(emulator_is_there: None, artifact: Path) -> None:
    """The model's int8 products on a Raspberry Pi's kernels; every time is this machine's and says so."""
    found = anew(artifact, "device=raspberry_pi_4", "device.emulate=true")
    lines = {name: now for name, _, now in found.lines}
    assert lines["answers compared with those of"].startswith("an emulation of cortex-a72 for raspberry_pi_4 (QEMU")
    assert lines["same answers on 6 examples"] == "100.0 %"
    assert lines["accuracy there, on those"] == lines["accuracy"]
    assert "emulation" not in found.measured_on and "not raspberry_pi_4" in found.measured_on
    verdicts = {verdict.name: verdict for verdict in found.verdicts}
    assert verdicts["min_device_agreement"].passed
    assert (
        "(answers of an emulation of cortex-a72 for raspberry_pi_4 (QEMU" in verdicts["min_device_agreement"].sentence()
    )


def test_a_run_keeps_answers_of_emulated_cores_and_no_times(emulator_is_there: None, tmp_path: Path) -> None:
    asked = request(
        "int8", tmp_path, "device=raspberry_pi_5", "device.emulate=true", "task=text-classification",
        "export_each_stage=false",
    )  # fmt: skip
    manifest = read(run(asked).artifact)
    assert manifest.board_check is not None
    assert manifest.board_check["measured_on"].startswith("an emulation of cortex-a76 for raspberry_pi_5")
    assert manifest.board_check["same"] == 100.0
    assert not [one.name for one in manifest.measurements if "emulation" in one.where + one.how]
    assert not any(one.on_device for one in manifest.measurements if one.unit in ("ms", "MiB", "mJ a call"))


def test_what_cannot_be_emulated(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="device.emulate=true is not possible: 'udoo_2gb' names no"):
        anew(artifact, "device=udoo_2gb", "device.emulate=true")
    with pytest.raises(RequestError, match="device.host and device.emulate=true contradict each other"):
        anew(artifact, "device=raspberry_pi_4", "device.emulate=true", "device.host=pi")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DeviceError, match="no emulator with ONNX Runtime .* is installed: run"):
        anew(artifact, "device=raspberry_pi_4", "device.emulate=true")

"""Answers of real Arm kernels under emulation; no figure of theirs is a time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from compressor.config.run import MeasureSettings
from compressor.devices import emulation, emulator, measure, profiles
from compressor.devices.arm_cores import CORES, guest_root
from compressor.devices.outputs import run_features
from compressor.errors import DeviceError, RequestError
from compressor.progress import Silent
from compressor.tasks.base import Feature
from tests.graph.exported import adaptive_settings, export_model, fuse, save_model, task_of
from tests.require import missing

CONF = Path(__file__).parents[2] / "conf" / "device"
OLD_CORES, NEW_CORES = "raspberry_pi_4_2gb", "arm_server"


@pytest.fixture(scope="module")
def ready() -> emulator.Emulator:
    try:
        return emulator.installed()
    except DeviceError as error:
        missing(str(error))
        raise


@pytest.fixture(scope="module")
def int8_model(tmp_path_factory) -> Path:
    """A length-adaptive BERT with int8 products, fused as for a Raspberry Pi."""
    folder = tmp_path_factory.mktemp("int8")
    task = task_of("text-classification")
    save_model(folder, "bert", task, adaptive_settings(task.name, keep=[1.0, 0.75, 0.5]))
    fused = fuse(export_model(folder, task), folder, task=task).path
    quantize_dynamic(
        fused, folder / "int8.onnx", per_channel=True, weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": 1, "MatMulConstBOnly": True},
    )  # fmt: skip
    return folder / "int8.onnx"


def texts() -> list[Feature]:
    random = np.random.default_rng(0)
    rows = [random.integers(5, 90, length).tolist() for length in (3, 12, 7)]
    return [
        Feature(inputs={"input_ids": row, "attention_mask": [1] * len(row)}, labels={}, example=index)
        for index, row in enumerate(rows)
    ]


@pytest.mark.parametrize("name", [OLD_CORES, NEW_CORES])
def test_an_int8_model_answers_there_as_here(name: str, ready, int8_model: Path) -> None:
    profile = profiles.load(name, [CONF])
    here = run_features(int8_model, profile, texts())
    with emulation.emulated(profile) as place:
        assert place.dot_product() == (name == NEW_CORES)
        there = run_features(int8_model, profile, texts(), place=place)
        assert not place.on_device and "emulation of" in place.measured_on and name in place.measured_on
    scale = max(np.abs(row["logits"]).max() for row in here)
    for one, other in zip(here, there, strict=True):
        assert np.abs(one["logits"] - other["logits"]).max() < 0.02 * scale


def test_the_oldest_runtime_of_the_board_answers_the_same(ready, int8_model: Path) -> None:
    profile = profiles.load(OLD_CORES, [CONF])
    oldest = f"{profile.runtime_version}.0"
    try:
        emulator.installed(oldest)
    except DeviceError as error:
        missing(str(error))
    here = run_features(int8_model, profile, texts())
    with emulation.emulated(profile, oldest) as place:
        there = run_features(int8_model, profile, texts(), place=place)
        assert f"ONNX Runtime {oldest}" in place.measured_on
    scale = max(np.abs(row["logits"]).max() for row in here)
    for one, other in zip(here, there, strict=True):
        assert np.abs(one["logits"] - other["logits"]).max() < 0.02 * scale


@pytest.mark.parametrize("name", [OLD_CORES, NEW_CORES])
def test_sums_of_bytes_do_not_saturate(name: str, ready, tmp_path: Path) -> None:
    """The largest products of bytes, which x86 without VNNI adds in 16 bits; Arm kernels need no reduced range."""
    weights = np.where(np.random.default_rng(0).random((64, 16)) < 0.8, 127, -128).astype(np.int8)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 16])
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("MatMulInteger", ["bytes", "weights"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["logits"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(nodes, "bytes", [ids], [out], [numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "bytes.onnx")
    row = [255] * 63 + [1]
    feature = Feature(inputs={"input_ids": row}, labels={}, example=0)
    profile = profiles.load(name, [CONF])
    with emulation.emulated(profile) as place:
        found = run_features(tmp_path / "bytes.onnx", profile, [feature], place=place, token_outputs=[])
    np.testing.assert_array_equal(found[0]["logits"], np.asarray(row) @ weights.astype(np.int64))


def test_it_measures_nothing(ready, int8_model: Path) -> None:
    profile = profiles.load(OLD_CORES, [CONF])
    inputs = {"input_ids": np.ones((1, 4), np.int64), "attention_mask": np.ones((1, 4), np.int64)}
    with (
        emulation.emulated(profile) as place,
        pytest.raises(DeviceError, match="'speed' is not taken of an emulator: its figures are no device's"),
    ):
        measure.measure_speed(int8_model, profile, MeasureSettings(), inputs, place=place)


def test_devices_that_are_not_emulated_are_one_clear_error() -> None:
    profile = profiles.load("up2_2gb", [CONF])
    with pytest.raises(
        RequestError, match=r"'up2_2gb' names no device.emulated_cpu; .*64-bit Arm cores do \(cortex-a53"
    ):
        emulation.cpu_of(profile)
    with pytest.raises(RequestError, match=r"device.emulated_cpu = 'z80' is not possible: choose from cortex-a53"):
        emulation.cpu_of(dataclasses.replace(profile, emulated_cpu="z80"))
    for name in CONF.glob("*.yaml"):
        asked = profiles.load(name.stem, [CONF]).emulated_cpu
        assert asked is None or asked in CORES


def test_what_is_not_installed_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DeviceError, match=r"run `python -m compressor emulator install`\.$"):
        emulator.installed()
    with pytest.raises(DeviceError, match=r"with ONNX Runtime 1\.9 .* emulator install onnxruntime=1\.9`"):
        emulator.installed("1.9")
    place = tmp_path / "compressor" / "aarch64" / f"onnxruntime-{emulator.here()}"
    place.mkdir(parents=True)
    parts = dict.fromkeys((field.name for field in dataclasses.fields(emulator.Emulator)), str(tmp_path / "gone"))
    (place / "emulator.json").write_text(json.dumps(parts))
    with pytest.raises(DeviceError, match="is not whole any more"):
        emulator.installed()
    emulator.remove()
    assert emulator.versions() == []


def test_an_install_that_fails_says_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(DeviceError, match="there is no apt-get here"):
        emulator.install(None, Silent())
    for name, text in {
        "dpkg-deb": "exit 0",
        "dpkg": "echo amd64",
        "apt-get": "echo no route to host >&2; exit 100",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    with pytest.raises(DeviceError, match="could not be installed: apt-get failed: no route to host"):
        emulator.install(None, Silent())
    assert [path.name for path in emulator.folder().iterdir()] == [], "nothing half done is left"


def test_the_guest_is_shown_arm_cores(tmp_path: Path) -> None:
    (tmp_path / "system" / "lib").mkdir(parents=True)
    root = guest_root(tmp_path / "system", "cortex-a76", 2, tmp_path / "root")
    shown = (root / "proc" / "cpuinfo").read_text()
    assert shown.count("CPU part\t: 0xd0b") == 2 and shown.count("asimddp") == 2
    assert (root / "lib").resolve() == tmp_path / "system" / "lib"

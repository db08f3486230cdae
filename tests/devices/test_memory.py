"""Does a model fit? Runs under a real limit, and what ends them told apart."""

import dataclasses
import os
import platform
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.config.device import DeviceProfile, Identity, Provider
from compressor.config.run import MeasureSettings
from compressor.devices import answer, child, host, measure, probe
from compressor.devices.limits import memory_limit_mb
from compressor.errors import DeviceMemoryError

QUICK = MeasureSettings(warmup=0, runs=1, rounds=1)
NEEDED_MB = 500
PLAIN = DeviceProfile(name="small", description="", providers=[Provider(name="CPUExecutionProvider")], threads=1)


@pytest.fixture(scope="module")
def hungry(tmp_path_factory):
    """A small file whose graph fills `NEEDED_MB`."""
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    total = helper.make_tensor_value_info("total", TensorProto.FLOAT, None)
    count = numpy_helper.from_array(np.asarray([NEEDED_MB * 2**18], np.int64), "count")
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["values"], ["sum"], keepdims=0),
        helper.make_node("Expand", ["sum", "count"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["total"], keepdims=0),
    ]
    graph = helper.make_graph(nodes, "hungry", [ids], [total], [count])
    path = tmp_path_factory.mktemp("hungry") / "hungry.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(("memory_mb", "fits"), [(600.0, False), (4096.0, True)])
def test_fitting_is_a_result_of_a_run_under_the_limit(hungry, inputs, memory_mb, fits):
    profile = dataclasses.replace(PLAIN, memory_mb=memory_mb)
    speed = measure.measure_speed(hungry, profile, QUICK, {"input_ids": inputs["input_ids"]})
    assert speed.fits_memory is fits
    assert speed.memory_limit_mb == memory_limit_mb(profile)
    assert speed.peak_memory_mb > NEEDED_MB  # known in either case
    assert speed.memory_note.startswith(f"run under {speed.memory_limit_mb:.0f} MiB by ")
    assert speed.memory_note.endswith("(out of memory)") is not fits


def test_a_row_that_may_run_out_of_memory_has_no_speed(graph, inputs, monkeypatch):
    real = child.LocalPlace.run_probe

    def tight(place, request, folder, **options):
        if request["model"].endswith("tiny.onnx") or request["mode"] != "speed":
            return real(place, request, folder, **options)
        (folder / "log").write_text("")
        return answer.read(-9, folder / "none.json", folder / "log", request)

    monkeypatch.setattr(child.LocalPlace, "run_probe", tight)
    teacher = measure.Row("teacher", Path("large.onnx"), inputs)
    rows = [teacher, measure.Row("artifact", graph, inputs)]
    assert list(measure.measure_many(rows, PLAIN, QUICK, may_fail=["teacher"])) == ["artifact"]
    with pytest.raises(DeviceMemoryError, match=r"large.onnx was killed by signal 9, as a system does that runs out"):
        measure.measure_many(rows, PLAIN, QUICK)


def test_without_a_known_memory_nothing_is_tried(graph, inputs):
    speed = measure.measure_speed(graph, PLAIN, QUICK, inputs)
    assert speed.fits_memory is None and speed.memory_limit_mb is None
    assert speed.memory_note == "not tried: the profile names no memory"


def test_the_limit_is_that_of_the_memory_which_the_device_itself_shows(graph, inputs, monkeypatch):
    here = Identity(machine=[platform.machine()])
    monkeypatch.setattr(host, "memory_mb", lambda: 3000)
    profile = dataclasses.replace(PLAIN, memory_mb=4096.0, identity=here)
    assert measure.measure_speed(graph, profile, QUICK, inputs).memory_limit_mb == 3000 - 1024
    elsewhere = dataclasses.replace(profile, identity=Identity(machine=["abacus"]))
    assert measure.measure_speed(graph, elsewhere, QUICK, inputs).memory_limit_mb == 4096 - 1024


def test_nothing_is_tried_where_a_gpu_takes_what_is_not_counted(graph, inputs, monkeypatch):
    """A GPU's session, run on the CPU."""
    gpu = "CUDAExecutionProvider"
    real_placement, real_run = child.LocalPlace.placement, child.LocalPlace.run_probe

    def placement(place):
        return {**real_placement(place), "providers": [[gpu, {}], [child.CPU, {}]]}

    def run(place, request, folder, **options):
        answer = real_run(place, {**request, "providers": [[child.CPU, {}]]}, folder, **options)
        return {**answer, "providers": [gpu, child.CPU]}

    monkeypatch.setattr(child.LocalPlace, "placement", placement)
    monkeypatch.setattr(child.LocalPlace, "run_probe", run)
    speed = measure.measure_speed(graph, dataclasses.replace(PLAIN, memory_mb=4096.0), QUICK, inputs)
    assert speed.fits_memory is None and speed.memory_limit_mb is None and speed.peak_memory_mb > 5
    assert speed.memory_note == "not tried: what CUDAExecutionProvider takes on the GPU is not counted"


@pytest.mark.parametrize(
    ("memory", "system", "found", "limit"),
    [(2048.0, None, None, 1536.0), (512.0, None, None, 256.0), (16384.0, None, None, 15360.0),
     (2048.0, 100.0, None, 1948.0), (2048.0, None, 1848.0, 1336.0), (100.0, None, None, 64.0)],
)  # fmt: skip
def test_the_system_keeps_its_share(memory, system, found, limit):
    assert memory_limit_mb(dataclasses.replace(PLAIN, memory_mb=memory, system_memory_mb=system), found) == limit


def stand_in(tmp_path, monkeypatch, text):
    """A process in the probe's place that begins under its limit and then does `text`."""
    path = tmp_path / "stand_in.py"
    path.write_text(
        "import json, os, sys\nrequest = json.load(open(sys.argv[1]))\n"
        "open(request['result'] + '.begun', 'w').close()\n" + text
    )
    monkeypatch.setattr(probe, "__file__", str(path))
    return {"mode": "memory", "result": str(tmp_path / "result.json")}


@pytest.mark.parametrize(
    ("text", "group", "fits", "note"),
    [
        ("os.kill(os.getpid(), 9)", True, False, "out of memory"),
        ("os.kill(os.getpid(), 11)", True, None, "was ended by signal 11"),
        ("os.kill(os.getpid(), 9)", False, None, "was ended by signal 9"),
        ("sys.exit('terminate called after throwing std::bad_alloc')", False, False, "out of memory"),
        ("sys.exit('the model is wrong')", False, None, "ended with exit code 1: the model is wrong"),
    ],
)
def test_out_of_memory_is_told_from_a_crash(tmp_path, monkeypatch, text, group, fits, note):
    request = stand_in(tmp_path, monkeypatch, text)
    monkeypatch.setattr(probe, "cgroup_commands", lambda limit: [["env"]] if group else [])
    found, under, why, answer = probe.limited(request, 100.0)
    assert found is fits and note in why and answer is None
    assert under == (probe.CGROUP if group else probe.DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["stand_in.py"]


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), 9)", "raise MemoryError", "raise RuntimeError('std::bad_alloc')"]
)
def test_what_does_not_fit_stays_known_when_the_run_without_a_limit_fails_too(
    graph, inputs, tmp_path, monkeypatch, end
):
    """The system kills it, or it ends itself."""
    (tmp_path / "real.py").write_text(child.PROBE.read_text())
    (tmp_path / "stand_in.py").write_text(
        f"import os, sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport real\n"
        "real.limited = lambda request, limit: (False, 'rlimit_data', 'out of memory', None)\n"
        f"def peak(request):\n    {end}\nreal.peak = peak\nsys.exit(real.main(sys.argv[1]))\n"
    )
    monkeypatch.setattr(child, "PROBE", tmp_path / "stand_in.py")
    speed = measure.measure_speed(graph, dataclasses.replace(PLAIN, memory_mb=2048.0), QUICK, inputs)
    assert speed.fits_memory is False and speed.memory_limit_mb == 1536 and speed.peak_memory_mb is None
    assert speed.memory_note == "run under 1536 MiB by RLIMIT_DATA (out of memory)"


def test_another_failure_of_the_run_without_a_limit_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "limited", lambda request, limit: (False, "rlimit_data", "out of memory", None))
    monkeypatch.setattr(probe, "peak", lambda request: {}["no such key"])
    with pytest.raises(KeyError):
        probe.memory({"limit_mb": 100.0, "result": str(tmp_path / "result.json")})


def test_a_control_group_that_does_not_hold_is_not_believed(graph, inputs, tmp_path, monkeypatch):
    """`systemd-run` is there and succeeds, but the memory controller is switched off (as on Raspberry Pi OS)."""
    script = tmp_path / "systemd-run"
    script.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert probe.cgroup_commands(2**20)[0][0] == "systemd-run"
    speed = measure.measure_speed(graph, dataclasses.replace(PLAIN, memory_mb=2048.0), QUICK, inputs)
    assert speed.fits_memory is True and "by RLIMIT_DATA" in speed.memory_note


def test_the_limit_of_a_control_group_is_read_back(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/user.slice/run-1.scope\n")
    group = tmp_path / "sys/fs/cgroup/user.slice/run-1.scope"
    group.mkdir(parents=True)
    for text, holds in (("1048576\n", True), ("max\n", False), ("2097152\n", False)):
        (group / "memory.max").write_text(text)
        if holds:
            probe.hold(probe.CGROUP, 2**20, str(tmp_path))
        else:
            with pytest.raises(probe.ProbeError, match=f"not in force: its control group has memory.max = {text[:3]}"):
                probe.hold(probe.CGROUP, 2**20, str(tmp_path))

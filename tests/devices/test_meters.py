"""Power meters, read from trees of files as kernels lay them out."""

import dataclasses
import time
from pathlib import Path

import pytest

from compressor.config.run import MeasureSettings
from compressor.devices import child, measure, probe

ORIN_NANO = {  # JetPack 6: hwmon, millivolts and milliamperes
    "sys/class/hwmon/hwmon0/name": "thermal\n",
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon1/in1_input": "5000\n",
    "sys/class/hwmon/hwmon1/curr1_input": "1200\n",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV\n",
    "sys/class/hwmon/hwmon1/in2_input": "5000\n",
    "sys/class/hwmon/hwmon1/curr2_input": "300\n",
    "sys/class/hwmon/hwmon1/in3_label": "VDD_SOC\n",
    "sys/class/hwmon/hwmon1/in3_input": "5000\n",
    "sys/class/hwmon/hwmon1/curr3_input": "200\n",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages\n",
    "sys/class/hwmon/hwmon1/in7_input": "9\n",
}
NANO = {  # JetPack 4: the older driver under iio, milliwatts
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": "2500\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_voltage0_input": "5000\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_current0_input": "500\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_1": "POM_5V_GPU\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power1_input": "100\n",
}
TX2 = {  # two monitors; the module's rail is on the second
    "sys/bus/i2c/drivers/ina3221x/0-0040/iio:device0/rail_name_0": "VDD_SYS_GPU\n",
    "sys/bus/i2c/drivers/ina3221x/0-0040/iio:device0/in_power0_input": "152\n",
    "sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1/rail_name_0": "VDD_IN\n",
    "sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1/in_power0_input": "3300\n",
}
NO_TOTAL = {name: text for name, text in ORIN_NANO.items() if "1_" not in name.rsplit("/", 1)[1]}
RAPL = {
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "sys/class/powercap/intel-rapl:1/name": "package-1\n",
    "sys/class/powercap/intel-rapl:2/name": "psys\n",  # the whole machine, on laptops from Skylake on
    "sys/class/powercap/intel-rapl:2/max_energy_range_uj": "1000\n",
    "sys/class/powercap/intel-rapl:2/energy_uj": "0\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "1000\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "990\n",
    "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj": "1000\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "5\n",
    "sys/class/powercap/intel-rapl:1/max_energy_range_uj": "1000\n",
    "sys/class/powercap/intel-rapl:1/energy_uj": "0\n",
}


def tree(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


@pytest.mark.parametrize(("files", "rail", "watts"), [(ORIN_NANO, "VDD_IN", 6.0), (NANO, "POM_5V_IN", 2.5),
                                                      (TX2, "VDD_IN", 3.3)])  # fmt: skip
def test_the_rail_of_the_whole_module_is_chosen(tmp_path, files, rail, watts):
    meter = probe.Ina3221(tree(tmp_path, files))
    assert f"rail {rail} of the whole module, read every 10 ms" in meter.note
    assert meter.watts() == pytest.approx(watts)


def test_the_sampler_sums_up_power_over_time(tmp_path):
    meter = probe.Ina3221(tree(tmp_path, ORIN_NANO))
    power = tmp_path / "sys/class/hwmon/hwmon1/curr1_input"
    for milliamperes in ("1200\n", "2400\n"):
        power.write_text(milliamperes)
        start = time.perf_counter()
        meter.start()
        time.sleep(0.25)
        joules, seconds = meter.joules(), time.perf_counter() - start
        assert joules == pytest.approx(float(milliamperes) * 5e-3 * seconds, rel=0.05)
        assert len(meter.readings) >= 5


@pytest.mark.parametrize(
    ("files", "meter", "why"),
    [({}, "ina3221", "no INA3221 power monitor"), ({}, "rapl", "no readable RAPL counter"),
     (NO_TOTAL, "ina3221", "no rail of the whole module, only VDD_CPU_GPU_CV, VDD_SOC")],
)  # fmt: skip
def test_what_is_not_there_is_not_measured(tmp_path, files, meter, why):
    answer = probe.energy({"meter": meter, "root": tree(tmp_path, files)})
    assert answer["energy_mj"] is None and answer["note"].startswith("not measured: ") and why in answer["note"]


def test_rapl_counts_packages_once_and_may_wrap(tmp_path):
    meter = probe.Rapl(tree(tmp_path, RAPL))
    meter.start()
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("40\n")
    (tmp_path / "sys/class/powercap/intel-rapl:1/energy_uj").write_text("100\n")
    (tmp_path / "sys/class/powercap/intel-rapl:2/energy_uj").write_text("400\n")
    assert meter.joules() == pytest.approx((50 + 100) / 1e6)


def asked(graph, inputs, folder, **more):
    folder.mkdir(exist_ok=True)
    child.write_arrays(folder / "inputs.npz", {f"0/{name}": array for name, array in inputs.items()})
    return {"model": str(graph), "inputs": str(folder / "inputs.npz"), "threads": 1, "warmup": 0, "seconds": 0.2,
            "idle_seconds": 0.2, "providers": [["CPUExecutionProvider", {}]], **more}  # fmt: skip


def test_a_meter_that_fails_midway_is_not_measured(graph, inputs, tmp_path, monkeypatch):
    root = tree(tmp_path / "root", ORIN_NANO)
    (tmp_path / "root/sys/class/hwmon/hwmon1/curr1_input").write_text("nan\n")
    answer = probe.energy(asked(graph, inputs, tmp_path / "work", meter="ina3221", root=root))
    assert answer == {"energy_mj": None, "note": "not measured: the INA3221 could not be read all the time"}
    root = tree(tmp_path / "other", RAPL)
    monkeypatch.setattr(probe.time, "sleep", lambda _: Path(root, "sys/class/powercap/intel-rapl:1/energy_uj").unlink())
    answer = probe.energy(asked(graph, inputs, tmp_path / "work", meter="rapl", root=root))
    assert answer["energy_mj"] is None and "could not be read any more" in answer["note"]


def test_idle_is_told_apart(graph, inputs, tmp_path):
    root = tree(tmp_path / "root", ORIN_NANO)
    before = time.time()
    answer = probe.energy(asked(graph, inputs, tmp_path / "work", meter="ina3221", root=root))
    assert answer["idle_w"] == pytest.approx(6.0, rel=0.1) and answer["power_w"] == pytest.approx(6.0, rel=0.1)
    seconds = answer["ended"] - answer["started"]
    assert answer["energy_mj"] == pytest.approx(6.0 * seconds * 1e3 / answer["calls"], rel=0.1)
    assert abs(answer["energy_above_idle_mj"]) < 0.1 * answer["energy_mj"]
    assert (
        before <= answer["idle_started"] < answer["idle_ended"] <= answer["started"] < answer["ended"] < time.time() + 1
    )


def test_energy_is_not_measured_elsewhere_or_without_a_meter(graph, inputs, elsewhere):
    quick = MeasureSettings(warmup=0, runs=1, rounds=1)
    note = measure.measure_speed(graph, dataclasses.replace(elsewhere, power="rapl"), quick, inputs).energy_note
    assert note == "not measured: this machine is not board"

"""Energy from meters' logs, in the forms that pyummeter (UM25C) and loggers of an INA219 write."""

from __future__ import annotations

import datetime
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from compressor.config.run import MeasureSettings
from compressor.devices import child, energy, measure, meter_log, profiles
from compressor.errors import DataError

LOGS = Path(__file__).parent / "meter_logs"
START = datetime.datetime(2025, 3, 14, 10, 0, 0).timestamp()
CONF = Path(__file__).parents[2] / "conf" / "device"


def run(idle: tuple[float, float], busy: tuple[float, float], calls: int = 100) -> dict[str, float]:
    """An energy run as the probe tells it; moments in seconds after the log's first sample."""
    return {
        "idle_started": START + idle[0], "idle_ended": START + idle[1],
        "started": START + busy[0], "ended": START + busy[1], "calls": calls,
    }  # fmt: skip


def test_a_um25c_log_of_pyummeter() -> None:
    found = meter_log.energy(LOGS / "pyummeter.csv", run((2, 18), (21, 49)))
    assert found["power_w"] == pytest.approx(5.08 * 0.95, rel=0.01)
    assert found["idle_w"] == pytest.approx(5.12 * 0.55, rel=0.01)
    assert found["energy_mj"] == pytest.approx(5.08 * 0.95 * 28 * 10, rel=0.01)
    assert found["energy_above_idle_mj"] == pytest.approx((5.08 * 0.95 - 5.12 * 0.55) * 28 * 10, rel=0.02)
    assert found["note"] == "the meter's log pyummeter.csv: 55 samples in 28.0 s"


def test_an_ina219_log_with_times_of_day_and_milliwatts() -> None:
    found = meter_log.energy(LOGS / "ina219.csv", run((1, 14), (16, 24), calls=8))
    assert found["power_w"] == pytest.approx(5.0, rel=0.01) and found["idle_w"] == pytest.approx(2.5, rel=0.01)
    assert found["energy_above_idle_mj"] == pytest.approx(2500, rel=0.02)


@pytest.mark.parametrize(
    "text",
    [
        "timestamp,bus_voltage_V,current_mA\n{t},5.0,{ma}\n",
        "Time (ms);Current [A];Voltage [mV]\n{t_ms};{a_comma};5000\n",
        "time\tpower_mW\n{iso}\t{mw}\n",
        "date,volts,amps\n{iso_slash},5.0,{a}\n",
        "Date,Time,Current (mA),Voltage (V)\n{day},{clock},{ma},5.0\n",
        "Date,Time,Current (mA),Voltage (V)\n{iso},7,{ma},5.0\n",
        "timestamp,date,power_mW\n{t},{day},{mw}\n",
        "timestamp,date,power_mW\n{iso},{day},{mw}\n",
        "Date,Time,power_mW\n{t},{clock},{mw}\n",
        "time,power_mW\n{t_ns},{mw}\n",
        "time,power_mW\n{t_us},{mw}\n",
        "time_us,power_mW\n{t_us},{mw}\n",
    ],
)
def test_columns_and_units_by_their_names(text: str, tmp_path: Path) -> None:
    """Power rises by a watt a second: the trapezoid rule is exact, also between samples."""
    head, line, _ = text.split("\n")
    rows = [head]
    for second in range(11):
        moment, amperes = START + second, (1 + second) / 5
        iso = datetime.datetime.fromtimestamp(moment).isoformat(sep=" ")
        rows.append(
            line.format(
                t=f"{moment:.3f}",
                t_ms=f"{moment * 1e3:.0f}",
                t_us=f"{moment * 1e6:.0f}",
                t_ns=f"{moment * 1e9:.0f}",
                iso=iso,
                day=iso[:10],
                clock=iso[11:],
                iso_slash=iso.replace("-", "/"),
                a=amperes,
                a_comma=str(amperes).replace(".", ","),
                ma=amperes * 1e3,
                mw=amperes * 5e3,
            )  # fmt: skip
        )
    (tmp_path / "log.csv").write_text("\n".join(rows))
    log = meter_log.read(tmp_path / "log.csv")
    np.testing.assert_allclose(log.watts, np.arange(11) + 1)
    assert log.joules(START + 2.5, START + 7.5) == pytest.approx(5 * 6)


def test_a_day_that_is_not_understood_is_not_needed(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("Time,Date,power_W\n10:00:00,14/03/2025,2\n10:00:01,14/03/2025,2\n")
    assert meter_log.read(tmp_path / "log.csv", near=START + 5).seconds[0] == START


def test_midnight_between_the_log_and_the_run(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("time,power_W\n23:59:58,2\n23:59:59,2\n")
    midnight = datetime.datetime(2025, 3, 15).timestamp()
    assert meter_log.read(tmp_path / "log.csv", near=midnight + 5).seconds[0] == midnight - 2


GOOD = "time,power_W\n" + "".join(f"{START + second:.1f},2\n" for second in range(20))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"log.csv cannot be read: No such file"),
        ("", "is empty"),
        ("time,humidity\n1,2\n", r"no column for voltage and current among 'time', 'humidity'\. A time is needed"),
        ("power_W,volts\n1,2\n", "no column for time among"),
        ("time,power_W\n", "has 0 samples; at least 2"),
        ("time,power_W\n1,2\n2,x\n3,4\n", "log.csv, line 3: the power 'x' is not a number"),
        ("time,power_W\n1,2\n2,nan\n3,4\n", "line 3: the power 'nan' is not a number"),
        ("time,power_W\nyesterday,2\n2,2\n", "line 2: the time 'yesterday' is not understood"),
        *[
            (f"time,power_W\n{odd},2\n2,2\n", f"line 2: the time '{odd}' is no moment")
            for odd in ("nan", "inf", "-5", "1e300")
        ],
        ("Date,Time,power_W\n2025-03-14,7.5,2\n", "the time '2025-03-14 7.5' is not understood"),
        ("time,power_W\n5,2\n4,2\n", "line 3: its time is before that of the line above it"),
        (GOOD.replace(str(START)[:5], "90000"), "nothing of the run was logged: the log goes from .* Are the clocks"),
        ("\n".join(GOOD.split("\n")[:12]), "the log ends before the run did"),
        ("\n".join([GOOD.split("\n")[0], *GOOD.split("\n")[12:]]), "the log begins after the run did"),
        ("\n".join(GOOD.split("\n")[:10] + GOOD.split("\n")[15:]), r"there is no sample for 6\.0 s from"),
    ],
)
def test_a_bad_log_is_one_clear_error(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "log.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        meter_log.energy(tmp_path / "log.csv", run((1, 3), (4, 18)), patience_s=0)


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(GOOD + f"{START + 20:.1f}")
    assert len(meter_log.read(tmp_path / "log.csv").seconds) == 20


def test_a_measurement_reads_the_log_that_is_written_meanwhile(graph, inputs, tmp_path, monkeypatch) -> None:
    """A meter that writes 3 watts while nothing else is said of energy here."""
    monkeypatch.setitem(energy.ENERGY_SECONDS, "external", (0.5, 0.3))
    log, ended = tmp_path / "log.csv", threading.Event()

    def meter() -> None:
        with log.open("a", buffering=1) as file:
            while not ended.wait(0.05):
                file.write(f"{time.time():.3f},3.0\n")

    log.write_text(f"time,power_W\n{time.time() - 1:.3f},3.0\n{time.time():.3f},3.0\n")
    thread = threading.Thread(target=meter)
    thread.start()
    try:
        here = profiles.with_threads(profiles.load("host", [CONF]), 1)
        settings = MeasureSettings(warmup=1, runs=2, rounds=1, meter_log=str(log))
        speed = measure.measure_speed(graph, here, settings, inputs)
    finally:
        ended.set()
        thread.join()
    assert speed.power_w == pytest.approx(3.0) and speed.energy_above_idle_mj == pytest.approx(0, abs=1e-6)
    calls = speed.energy_run["calls"]
    seconds = speed.energy_run["ended"] - speed.energy_run["started"]
    assert speed.energy_mj == pytest.approx(3e3 * seconds / calls)
    assert speed.energy_note.startswith("the meter's log log.csv: ")
    with pytest.raises(DataError, match=r"none.csv cannot be read"):
        measure.measure_speed(
            graph, here, MeasureSettings(runs=1, rounds=1, meter_log=str(tmp_path / "none.csv")), inputs
        )


@pytest.mark.parametrize("line", ["", "{later},not a number\n"])
def test_trouble_with_the_log_after_the_run_costs_the_energy_alone(graph, inputs, tmp_path, monkeypatch, line) -> None:
    """The logger stopped, or wrote nonsense, while the model ran: a training may lie behind that."""
    monkeypatch.setitem(energy.ENERGY_SECONDS, "external", (0.2, 0.1))
    monkeypatch.setattr(meter_log, "LARGEST_GAP_S", 0.01)
    log = tmp_path / "log.csv"
    log.write_text(f"time,power_W\n{time.time() - 2:.3f},3.0\n{time.time() - 1:.3f},3.0\n")
    real = meter_log.energy

    def joined(path: Path, run: dict[str, float]) -> dict[str, float | str]:
        path.write_text(path.read_text() + line.format(later=time.time()))
        return real(path, run, patience_s=0)

    monkeypatch.setattr(meter_log, "energy", joined)
    here = profiles.with_threads(profiles.load("host", [CONF]), 1)
    settings = MeasureSettings(warmup=0, runs=1, rounds=1, meter_log=str(log))
    speed = measure.measure_speed(graph, here, settings, inputs)
    assert speed.energy_mj is None and speed.p50_ms > 0 and speed.energy_run["calls"] >= 1
    assert speed.energy_note.startswith("not measured: ") and "log.csv" in speed.energy_note


def test_what_is_no_log_at_all_is_said_before_anything_is_measured(graph, inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(child.LocalPlace, "run_probe", lambda *_, **__: pytest.fail("it was measured"))
    here = profiles.load("host", [CONF])
    (tmp_path / "log.csv").write_text("time,humidity\n1,2\n")
    with pytest.raises(DataError, match="no column for voltage and current"):
        measure.measure_speed(graph, here, MeasureSettings(meter_log=str(tmp_path / "log.csv")), inputs)

import dataclasses

import pytest

from compressor.config.run import GateSettings
from compressor.errors import DeviceError, GateRefusedError
from compressor.validation import gates
from compressor.validation.gates import Facts

FACTS = Facts(
    metric_name="f1", metric=88.0, teacher_metric=88.8, parity_max_abs=1e-5, parity_tolerance=1e-3,
    size_bytes=20_000_000,
    p50_ms=5.0, teacher_p50_ms=50.0, peak_memory_mb=300.0, device="jetson",
    measured_on="this machine (a cpu), not jetson",
)  # fmt: skip
ALL = GateSettings(
    max_metric_drop=1.0, min_metric=87.0, max_latency_ms=6.0, min_speedup=8.0, max_memory_mb=400.0, max_size_mb=25.0
)


def by_name(settings, facts=FACTS, on_device=True):
    return {verdict.name: verdict for verdict in gates.judge(settings, facts, on_device)}


def test_everything_is_judged_on_the_device():
    verdicts = by_name(ALL)
    assert list(verdicts) == ["max_metric_drop", "min_metric", "parity", "max_size_mb", "max_latency_ms", "min_speedup",
                              "max_memory_mb"]  # fmt: skip
    assert all(verdict.judged and verdict.passed for verdict in verdicts.values())
    assert verdicts["max_metric_drop"].value == pytest.approx(0.8)
    assert verdicts["min_speedup"].value == pytest.approx(10.0)
    gates.require(list(verdicts.values()))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"metric": 87.5, "teacher_metric": 88.6}, "max_metric_drop"),
        ({"metric": 86.9, "teacher_metric": 86.9}, "min_metric"),
        ({"metric": float("nan")}, "min_metric"),
        ({"teacher_metric": None}, "max_metric_drop"),
        ({"parity_max_abs": 2e-3}, "parity"),
        ({"parity_max_abs": float("inf")}, "parity"),
        ({"parity_max_abs": None}, "parity"),
        ({"size_bytes": 26_000_000}, "max_size_mb"),
        ({"p50_ms": 6.1}, "max_latency_ms"),
        ({"teacher_p50_ms": 39.0}, "min_speedup"),
        ({"peak_memory_mb": 401.0}, "max_memory_mb"),
    ],
)
def test_each_gate_refuses(change, name):
    verdicts = by_name(ALL, dataclasses.replace(FACTS, **change))
    assert verdicts[name].passed is False
    with pytest.raises(GateRefusedError, match=f"no artifact was written: .*{name}: .*limit .*: missed"):
        gates.require(list(verdicts.values()))


def test_null_switches_a_gate_off():
    assert list(by_name(GateSettings(max_metric_drop=None))) == ["parity"]


def test_elsewhere_speed_is_shown_but_not_judged_and_accuracy_is():
    slow = dataclasses.replace(FACTS, p50_ms=60.0, peak_memory_mb=999.0, metric=80.0, size_bytes=30_000_000)
    verdicts = by_name(ALL, slow, on_device=False)
    for name in ("max_latency_ms", "min_speedup", "max_memory_mb"):
        assert verdicts[name].judged is False and verdicts[name].passed is None
        assert verdicts[name].note == "measured on this machine (a cpu), not jetson"
    assert {v.name for v in gates.missed(list(verdicts.values()))} == {"max_metric_drop", "min_metric", "max_size_mb"}
    assert "not judged (measured on this machine" in verdicts["max_latency_ms"].sentence()


def test_require_device_is_an_error_elsewhere_and_quiet_on_it():
    strict = dataclasses.replace(ALL, require_device=True)
    with pytest.raises(DeviceError, match="require_device=true, but the figures were taken on this machine") as caught:
        gates.judge(strict, FACTS, False)
    assert caught.value.exit_code == 4
    assert len(gates.judge(strict, FACTS, True)) == 7


def test_a_speed_gate_without_a_figure_is_a_device_error():
    with pytest.raises(DeviceError, match="gates.max_memory_mb is set, but it could not be measured on jetson"):
        gates.judge(ALL, dataclasses.replace(FACTS, peak_memory_mb=None), True)


@pytest.mark.parametrize("same", [99.0, 60.0])
def test_whose_answers_were_compared_is_noted(same):
    where = "an emulation of cortex-a72 for raspberry_pi_4 (QEMU 7)"
    verdict = by_name(ALL, dataclasses.replace(FACTS, device_agreement=same, answers_from=where))[
        "min_device_agreement"
    ]
    assert verdict.passed is (same > 95) and verdict.note == f"answers of {where}"
    assert verdict.sentence().endswith(f"(answers of {where})")


def test_a_noisy_machine_is_told_beside_what_it_decides():
    facts = dataclasses.replace(FACTS, doubts=["rounds differ by 40 %"], p50_ms=7.0)
    verdicts = by_name(ALL, facts)
    assert verdicts["max_latency_ms"].sentence().endswith("missed (the machine was too noisy: rounds differ by 40 %)")
    assert "too noisy" in verdicts["min_speedup"].note and not verdicts["max_memory_mb"].note
    assert not by_name(ALL)["max_latency_ms"].note


def test_digits_that_a_manifest_has_rounded_away_lose_nothing():
    facts = dataclasses.replace(FACTS, metric=290 / 3, teacher_metric=96.6666666667)
    verdict = by_name(dataclasses.replace(ALL, max_metric_drop=0.0), facts)["max_metric_drop"]
    assert verdict.passed and verdict.value == 0
    facts = dataclasses.replace(facts, metric=96.6666666)
    assert not by_name(dataclasses.replace(ALL, max_metric_drop=0.0), facts)["max_metric_drop"].passed

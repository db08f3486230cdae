"""The page as text: whole, safe, and true to the figures it is given."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from compressor.artifact.manifest import Manifest, StageRow
from compressor.report import details
from compressor.report.entry import Entry, Figure
from compressor.report.page import _fixed, render, render_run, why_not
from compressor.report.plot import Dot, front, histogram, scatter, spread, ticks
from tests.report.made import manifest, many, without

VOID = ("meta", "line", "path", "rect", "input", "br", "circle")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def tags_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags.seen


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.parametrize("page", [render_run(manifest()), render([Entry.from_manifest(m) for m in many(5)], title="5")])
def test_a_page_is_whole_and_loads_nothing(page: str) -> None:
    seen = tags_of(page)
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in seen}
    assert not [attributes for _, attributes in seen if {"src", "style", "onclick"} & set(attributes)]
    assert not re.search(r"url\(|@import|innerHTML|document\.write|eval\(", page)
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
    ids = [attributes["id"] for _, attributes in seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for tag, attributes in seen if tag == "a"} <= set(ids)
    policy = next(a["content"] for t, a in seen if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy


def test_a_run_shows_steps_times_tokens_layers_and_where(tmp_path) -> None:
    page = render_run(manifest(on_device=False))
    assert page.count("this machine (a processor), not jetson") >= 4 and "other machine" in page
    assert "÷ 1.80" in page and "-0.30" in page  # the last step's p50 and metric against the one before
    assert "90 timed calls" in page and 'class="k0"' in page and "parcel" in page
    assert "kept by layer: 21, 18, 15, 12, 9, 6" in page
    assert "0.900 GMACs" in page and "0.470 in the mean" in page
    assert "the same as here in 98.4 % of 64 examples" in page and "an emulated Cortex-A72" in page
    assert data_of(page) and Entry.from_manifest(manifest()).value("tokenization_ms") == 0.21
    assert "not judged" in page and "not measured" in page and "/home/somebody" not in page.split("The request")[0]
    assert "1.0 % apart" not in page and "2.0 % apart" in page
    assert len(data_of(page)["points"]) == 3 + 3


def test_a_noisy_machine_is_told() -> None:
    noisy = manifest(rounds=(1.0, 1.06, 1.0))
    assert Entry.from_manifest(noisy).noisy and "too noisy: the medians of its 3 rounds" in render_run(noisy)
    steady = Entry.from_manifest(manifest(rounds=(1.0, 1.049, 1.0)))
    assert not steady.noisy and steady.steadiness.spread == pytest.approx(0.049)
    assert Entry.from_manifest(manifest(rounds=(1.0,))).steadiness.spread is None
    made = manifest()
    for name, value, said in (("round_p50_ms", [9.0, 10.0], "rounds differ by 11 %"), ("slowdown", 0.6, "60 % slower")):
        teacher = without(made, speed={**made.speed, "teacher": {**made.speed["teacher"], name: value}})
        assert f"beside the teacher {said}" in render_run(teacher).replace("the processor was ", "")
    assert "beside the teacher" not in render_run(made)


@pytest.mark.parametrize("rounds", [5, "x", [0.0, 1.0], None])
def test_odd_rounds_are_none(rounds: object) -> None:
    made = manifest()
    odd = without(made, speed={**made.speed, "artifact": {**made.speed["artifact"], "round_p50_ms": rounds}})
    assert Entry.from_manifest(odd).steadiness.spread is None


def test_the_interval_is_only_that_of_the_metric() -> None:
    found = Entry.from_manifest(manifest(metric=88.0)).figures["metric_drop"]
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.3, 2.8))
    made = manifest(metric=88.0)
    other = without(made, agreement={**made.agreement, "interval": {**made.agreement["interval"], "difference": -1.0}})
    assert Entry.from_manifest(other).figures["metric_drop"].low is None


def test_where_figures_come_from() -> None:
    here = Entry.from_manifest(manifest()).figures
    there = Entry.from_manifest(manifest(on_device=False)).figures
    assert (here["p50_ms"].origin, there["p50_ms"].origin, there["size_mb"].origin) == ("device", "host", "file")
    assert "energy_mj" in here and "energy_mj" not in there


def test_times_of_steps_and_settings_that_are_not_the_devices_are_marked() -> None:
    def marks(made: Manifest) -> list[dict[str, str]]:
        return [point["from"] for point in data_of(render_run(made))["points"]]

    assert marks(manifest()) == [{}] * 6
    assert marks(manifest(on_device=False)) == [{"p50_ms": "other machine"}] * 6
    made = manifest(on_device=False)  # measured anew on the device: the dial's times are still those of then
    anew = {**made.speed["artifact"], "on_device": True, "measured_on": "host (another processor)"}
    stages = [dataclasses.replace(row, p50_ms=None, measured_on=None) for row in made.stages[:-1]]
    last = dataclasses.replace(made.stages[-1], measured_on="host (another processor)")
    there = without(made, speed={"artifact": anew}, stages=[*stages, last])
    assert marks(there) == [{}, {}, {}] + [{"p50_ms": "other machine"}] * 3


def test_what_does_not_fit_is_said_of_a_single_run() -> None:
    made = manifest()
    artifact = {**made.speed["artifact"], "fits_memory": False}
    page = render_run(without(made, speed={"artifact": artifact}))
    assert "does not fit the device" in page and "does not fit" not in render_run(made)
    killed = render_run(without(made, speed={"artifact": {**artifact, "peak_memory_mb": None}}))
    assert "It does not run in the memory that the device has for it." in killed


def test_a_gate_says_whose_answers_it_judged() -> None:
    made = manifest()
    gate = {"name": "min_device_agreement", "limit": 95.0, "value": 80.0, "unit": "%", "judged": True, "passed": False,
            "note": "answers of an emulation of cortex-a72"}  # fmt: skip
    refused = Entry.from_manifest(without(made, gates=[gate]))
    assert refused.reason == "min_device_agreement: 80, limit 95 % (answers of an emulation of cortex-a72)"


def test_figures_that_were_taken_anew_name_no_artifact() -> None:
    made = manifest(refused=True)
    assert "No artifact was written." in render_run(made)
    page = render_run(without(made, command=["validate", "DIR", "device=host"]))
    assert "No artifact was written." not in page and "It misses its gates." in page and "To measure it:" in page


def test_what_others_wrote_is_text() -> None:
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    made = manifest(recipe=evil)
    made = dataclasses.replace(
        made, stages=[StageRow(name=evil, metric=1.0), StageRow(name="b", metric=2.0, p50_ms=1.0)]
    )
    for page in (render_run(made), render([Entry.from_manifest(made)] * 2, title=evil, problems=[evil], lead=[evil])):
        seen = tags_of(page)
        assert sum(tag == "script" for tag, _ in seen) == 2 and not any(tag == "img" for tag, _ in seen)
        assert data_of(page)["points"][-1]["label"] in (evil, "b", "smallest")


def test_a_bare_run_and_candidates_without_a_manifest() -> None:
    bare = without(manifest(), stages=[], gates=[], measurements=[], agreement=None, dial=None, depth=None, speed={})
    page = render_run(bare)
    assert "<svg" not in page and "Gates" not in page
    candidate = Entry(
        name="4x256 int8", state="ruled out", task="t", data="d", device="jetson", reason="p50 is at least 30 ms",
        figures={"p50_ms": Figure(30.0, "predicted", "the cost model"), "size_mb": Figure(5.0, "file")},
    )  # fmt: skip
    page = render([candidate, Entry.from_manifest(manifest())], title="Advice", limits={"p50_ms": 20.0, "metric": 80.0})
    tags_of(page)
    assert "latency p50 at most <b>20</b> ms" in page and "metric at least <b>80</b>" in page
    assert "p50 is at least 30 ms" in page and "predicted" in page and 'class="limit"' in page
    assert data_of(page)["limits"] == {"p50_ms": 20.0, "metric": 80.0}


def test_runs_of_different_data_are_compared_by_what_they_lost() -> None:
    one, other = manifest(data="goemotions"), manifest(data="wnut17", task="token-classification", p50_ms=9.0)
    start = data_of(render([Entry.from_manifest(m) for m in (one, other)], title="two"))["start"]
    assert start["y"] == "metric_drop"
    assert data_of(render([Entry.from_manifest(one)] * 2, title="two"))["start"]["y"] == "metric"


def test_an_advice_opens_with_the_metric_that_most_candidates_have() -> None:
    full = Entry.from_manifest(manifest())
    searched = {**full.figures, "search_metric": Figure(80.0, "file")}
    entries = [
        dataclasses.replace(full, figures=searched),
        dataclasses.replace(
            full, manifest=None, figures={"search_metric": Figure(79.0, "file"), "p50_ms": searched["p50_ms"]}
        ),
    ]  # fmt: skip
    limits = {"p50_ms": 20.0}
    assert data_of(render(entries, title="Advice", limits=limits))["start"]["y"] == "search_metric"
    assert data_of(render(entries, title="Advice", limits={**limits, "metric": 70.0}))["start"]["y"] == "metric"
    assert "metric on the search part" in render(entries, title="Advice", limits=limits)


def test_a_manifest_with_odd_values_is_told_not_raised() -> None:
    made = manifest()
    assert why_not(Entry.from_manifest(made)) == ""
    odd = Entry.from_manifest(made)
    assert why_not(dataclasses.replace(odd, manifest=without(made, agreement={"same": "much"})))
    huge = dataclasses.replace(made.stages[0], p50_ms=1e300)
    assert "is 1e+300" in why_not(dataclasses.replace(odd, manifest=without(made, stages=[huge, *made.stages[1:]])))
    assert why_not(dataclasses.replace(odd, manifest=without(made, speed={"artifact": {"times_ms": ["a", "b"]}})))


def test_steps_say_what_they_gained_and_cost() -> None:
    teacher, distilled, artifact = details.steps(manifest(metric=88.0, p50_ms=5.0))
    assert (teacher.metric.change, teacher.p50_ms.change) == ("", "")
    assert (distilled.metric.change, distilled.metric.better) == ("-1.70", False)
    assert (artifact.p50_ms.change, artifact.p50_ms.better, artifact.p50_ms.share) == ("÷ 1.80", True, 0.25)


def test_the_front_is_what_nothing_beats() -> None:
    points = [(1.0, 5.0), (2.0, 4.0), (2.0, 7.0), (3.0, 7.0), (4.0, 9.0)]
    assert front(points) == [(1.0, 5.0), (2.0, 7.0), (4.0, 9.0)]
    assert front(points, more_is_better=False) == [(1.0, 5.0), (2.0, 4.0)]


def test_marks_lie_where_they_belong() -> None:
    svg = scatter([Dot(0, 0, "a"), Dot(10, 5, "b<", "#x", 2, hollow=True)], x_label="x<", y_label="y", x_limit=20.0)
    xs = [float(x) for x in re.findall(r'<path class="dot[^"]*" d="M([\d.]+)', svg)]
    assert xs[0] < xs[1] and "x&lt;" in svg and "b&lt;" in svg and "hollow" in svg
    assert re.search(r'<text x="544.0"[^>]*>20</text>', svg), "the limit widens the axis"
    far = scatter([Dot(1, 0, "a"), Dot(10, 5, "b")], x_label="x", y_label="y", x_limit=1000.0, y_limit=-90.0)
    assert 'class="limit"' not in far and ">1000</text>" not in far, "or is left out, where it would press all together"
    flat = scatter([Dot(0, 3, "a"), Dot(0, 3, "b")], x_label="x", y_label="y")
    assert "nan" not in flat and "inf" not in flat
    assert ticks(0, 9.2) == [0, 2, 4, 6, 8, 10]


def test_there_is_no_minus_before_nothing() -> None:
    assert [_fixed(value) for value in (-0.001, -0.0, 0.0, -0.01, None)] == ["0.00", "0.00", "0.00", "-0.01", "–"]
    assert _fixed(-1234.5, 1) == "-1 234.5" and _fixed(-0.4, 0) == "0"


def test_histograms_hold_every_time() -> None:
    svg = histogram([1.0, 1.0, 1.1, 99.0], {"p50": 1.05, "p99": 2.0}, [1.0])
    bars = re.findall(r'class="bar" x="([\d.]+)" y="[\d.]+" width="[\d.]+" height="([\d.]+)"', svg)
    assert len(bars) == 3 and float(bars[-1][0]) > 330 and 'class="round"' in svg
    assert "nan" not in histogram([2.0, 2.0], {"p50": 2.0})
    assert spread([10, 12, 14], 5, 0, 18) == [8, 13, 18]

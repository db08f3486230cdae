"""Advice end to end on the embedded demo: answered, resumed, refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from compressor.advisor.advise import _ruled_out, _why_no_price_fits, advise
from compressor.advisor.answer import Advice
from compressor.advisor.limits import Limit, closest
from compressor.advisor.requests import ask, command, own_words
from compressor.advisor.rounds import Record
from compressor.cli import main
from compressor.pipeline import run
from compressor.progress import Silent
from compressor.request import build

TINY = [
    "task=text-classification", "data.demo_train=40", "data.demo_dev=8", "data.calibration=4", "data.search=8",
    "features.max_length=32", "measure.runs=2", "measure.rounds=1", "measure.warmup=1", "advise.grid.layers=[1.0,0.5]",
    "advise.grid.widths=[1.0]", "advise.grid.keep=[1.0,0.8]", "advise.calibration=6", "advise.rounds=2", "advise.eta=2",
    "advise.distill.max_steps=2", "advise.length_adaptive.max_steps=2", "advise.distill.batch_size=4",
    "advise.length_adaptive.batch_size=4",
]  # fmt: skip


class Stopped(Silent):
    """Is interrupted at the line that begins like this."""

    def __init__(self, at: str) -> None:
        self.at = at

    def line(self, text: str) -> None:
        if text.startswith(self.at):
            raise KeyboardInterrupt


def kept(output: Path) -> dict[str, int]:
    """Folders of cached results by key; one that is made anew is another folder."""
    return {path.name: (path / "content").stat().st_ino for path in (output / ".cache").glob("*-*")}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("advice")


@pytest.fixture(scope="module")
def found(output: Path) -> Advice:
    """An advice that was interrupted before its last round and asked again."""
    question = ask([*TINY, f"output={output}", "max_latency_ms=10000"])
    with pytest.raises(KeyboardInterrupt):
        advise(question, Stopped("last round"))
    before = kept(output)
    advice = advise(question)
    after = kept(output)
    assert before.items() <= after.items()
    assert any(key.startswith("distill-") for key in before)
    return advice


def read(advice: Advice) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((advice.question.folder / "advice.json").read_text())
    return content


def test_the_answer_is_an_artifact_that_its_command_finds(found: Advice) -> None:
    assert found.outcome == "recommended" and found.recommended is not None
    chosen = next(member for member in found.prices.priced if member.name == found.recommended)
    words = own_words(found.question, chosen.candidate)

    outcome = run(build(words, config_dirs=[str(found.question.folder)]))

    assert outcome.already_there
    assert (outcome.artifact / "model.onnx").stat().st_size > 0
    assert read(found)["command"].startswith("python -m compressor --config-dir ")


def test_every_candidate_is_there_with_its_price_and_what_became_of_it(found: Advice) -> None:
    content = read(found)
    states = {one["name"]: one["state"] for one in content["candidates"]}
    how = [one["price"]["how"] for one in content["candidates"]]

    assert len(states) == 8 and list(states.values()).count("recommended") == 1
    assert (how.count("measured"), how.count("predicted")) == (6, 2)
    assert all(one["price"]["p50_ms"] > 0 and one["price"]["size_mb"] > 0 for one in content["candidates"])
    assert content["pareto"] and set(content["pareto"]) <= set(states)
    assert all(one["reason"] for one in content["candidates"] if one["state"] == "stopped")
    assert found.recommended in content["answer"][0]


def test_candidates_are_compared_by_what_all_of_them_were_judged_on(found: Advice) -> None:
    in_full = {one.name for one in found.record.judged if one.share == 1}
    figures = {entry.name: entry.figures for entry in found.entries()}

    assert set(found.pareto()) <= in_full
    assert {name for name, of_one in figures.items() if "search_metric" in of_one} == in_full
    assert {name for name, of_one in figures.items() if "metric" in of_one} == {one.name for one in found.finals}
    assert "chosen by 8 rows of the search part, each of which is 12.5 points" in " ".join(found.sentences())


def test_predicted_sizes_are_those_of_the_files(found: Advice, output: Path) -> None:
    predicted = [member for member in found.prices.priced if member.price.how == "predicted"]
    sizes = {member.name: member.price.size_mb for member in predicted}
    question = ask([*TINY, f"output={output}", "max_latency_ms=10000", "advise.train=false", "advise.calibration=12"])

    measured = {member.name: member.price for member in advise(question).prices.priced}

    for name, size in sizes.items():
        assert measured[name].how == "measured"
        assert size == pytest.approx(measured[name].size_mb, rel=0.02)


def test_the_page_shows_the_answer(found: Advice) -> None:
    found.write()  # others have answered into the same folder since
    page = (found.question.folder / "report.html").read_text()

    assert found.recommended is not None and found.recommended in page
    assert f"by the search part: {', '.join(found.pareto())}." in page
    assert {entry.name for entry in found.entries() if entry.pareto} == set(found.pareto()) != set()
    assert "max_latency_ms" in page


def test_training_is_told_against_the_whole_grid(found: Advice) -> None:
    assert found.cost.grid_passes == 2 + 3 * 2 + 3 * 2  # one student, and twice two updates of three passes each
    assert found.cost.passes > 0


def test_only_one_shape_is_trained_in_full_where_the_rounds_have_spent_the_budget(found: Advice) -> None:
    in_full = {one.shape for one in found.record.judged if one.share == 1}

    assert found.cost.passes > 0.25 * found.cost.grid_passes
    assert len(in_full - {"l4-w100"}) == 1  # that one is the teacher, which costs nothing


def test_with_a_metric_to_reach_the_fastest_that_holds_is_the_answer(output: Path, found: Advice) -> None:
    advice = advise(ask([*TINY, f"output={output}", "min_metric=1", "advise.finalists=2"]))
    prices = {member.name: member.price.p50_ms for member in advice.prices.priced}
    held = [final.name for final in advice.finals if final.met]

    assert advice.question.goal == "latency" and 1 <= len(advice.finals) <= 2
    assert advice.recommended == min(held, key=lambda name: prices[name])
    assert (advice.question.request.output / f"advised-{advice.recommended}").is_dir()


def test_figures_of_another_machine_are_said_to_be_that(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in TINY if not word.startswith("advise.grid")]
    grid = ["advise.grid.layers=[0.5]", "advise.grid.widths=[1.0]", "advise.grid.keep=[1.0]", "advise.train=false"]
    elsewhere = [*words, *grid, f"output={output}", "device=raspberry_pi_4", "max_latency_ms=0.0001"]

    assert main(["advise", *elsewhere]) == 3
    assert "None of it is a figure of raspberry_pi_4" in " ".join(capsys.readouterr().out.split())
    assert main(["advise", *elsewhere, "gates.require_device=true"]) == 4
    assert "run this on raspberry_pi_4" in capsys.readouterr().err


def test_limits_below_every_price_are_said_before_any_training(output: Path, found: Advice) -> None:
    before = kept(output)
    advice = advise(ask([*TINY, f"output={output}", "max_size_mb=0.2", "max_latency_ms=10000"]))

    assert advice.outcome == "nothing fits" and advice.cost.passes == 0
    assert advice.closest is not None
    assert [move.limit for move in advice.closest.moves] == ["max_size_mb"]
    assert "the smallest of 8 candidates has" in advice.reason
    for member in advice.prices.priced:  # every command that is shown can be given
        words = command(advice.question, member.candidate)
        assert build(words[words.index("--config-dir") + 2 :], config_dirs=[words[1]]).recipe.name
    assert not {key for key in set(kept(output)) - set(before) if key.startswith(("distill-", "length_adaptive-"))}


def test_memory_below_the_runtimes_own_is_said(output: Path, found: Advice) -> None:
    advice = advise(ask([*TINY, f"output={output}", "max_memory_mb=5"]))

    assert "the runtime alone takes" in advice.reason
    assert all(entry.state == "ruled out" for entry in advice.entries())


def test_what_a_price_rules_out_can_be_the_closest(found: Advice) -> None:
    known = [
        dataclasses.replace(member, price=dataclasses.replace(member.price, how="measured", memory_mb=60.0 + place))
        for place, member in enumerate(found.prices.priced)
    ]
    limits = [Limit("max_memory_mb", 62.5)]
    wrong = _ruled_out(dataclasses.replace(found.prices, priced=known), limits)
    nearest = closest(wrong, limits)

    assert set(wrong) == {member.name for member in known[3:]}
    assert nearest is not None and (nearest.candidate, nearest.moves[0].to) == (known[3].name, 63.0)


def test_further_gates_are_said(found: Advice) -> None:
    first = found.question.request
    gates = dataclasses.replace(first.gates, min_speedup=1.5)
    question = dataclasses.replace(found.question, requests=[dataclasses.replace(first, gates=gates)])

    assert "gates.min_speedup = 1.5" in dataclasses.replace(found, question=question).sentences()[0]


def test_a_device_without_the_memory_is_what_has_to_change(output: Path, found: Advice) -> None:
    killed = {"fits_memory": False, "memory_limit_mb": 64.0}
    cramped = [
        dataclasses.replace(member, price=dataclasses.replace(member.price, how="measured", speed=killed))
        for member in found.prices.priced
    ]
    prices = dataclasses.replace(found.prices, priced=cramped)
    there = dataclasses.replace(found, prices=prices, recommended=None, finals=(), record=Record())

    reason = _why_no_price_fits(prices, found.limits)
    assert "none of 8 candidates runs in the 64 MiB" in reason and "device.memory_mb" in reason
    assert _ruled_out(prices, found.limits) == {}  # no limit that was asked for would have to move
    assert {entry.reason for entry in there.entries()} == {"it does not run in the 64 MiB that the device has for it"}


def test_what_was_not_measured_is_held_against_the_devices_memory_too(output: Path, found: Advice) -> None:
    advice = advise(ask([*TINY, f"output={output}", "max_latency_ms=10000", "device.memory_mb=64"]))

    assert advice.outcome == "nothing fits" and advice.cost.passes == 0
    assert "none of 8 candidates runs in the 64 MiB" in advice.reason
    assert len(advice.prices.priced) > advice.question.settings.calibration


def test_how_a_board_is_reached_stands_in_no_page(output: Path, found: Advice) -> None:
    words = [*found.question.words, "device.host=pi@secret", "device.python=/home/pi/python"]
    there = dataclasses.replace(found, question=dataclasses.replace(found.question, words=words))

    assert "secret" not in there.to_json() and not any("secret" in " ".join(one.command) for one in there.entries())
    assert "device.host=pi@secret" in there.command()  # what is run here needs it


def test_a_metric_above_the_teachers_is_refused_with_exit_code_3(
    output: Path, found: Advice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["advise", *TINY, f"output={output}", "min_metric=99.9"]) == 3

    said = capsys.readouterr()
    assert "error: nothing fits: the teacher itself has accuracy" in said.err
    assert "min_metric from 99.9 to" in said.err
    assert "report.html" in said.out


def test_without_a_search_part_nothing_can_be_chosen(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", *TINY, f"output={output}", "max_latency_ms=10", "data.demo_train=4"]) == 2
    assert "has no search part: give data.search above 0, or advise.train=false" in capsys.readouterr().err


def test_what_another_gate_refuses_is_no_answer(output: Path, found: Advice) -> None:
    advice = advise(ask([*TINY, f"output={output}", "max_latency_ms=10000", "gates.min_speedup=1000"]))

    assert advice.outcome == "nothing fits" and advice.recommended is None and advice.closest is None
    assert advice.finals and not any(final.met for final in advice.finals)
    assert all("min_speedup" in final.reason for final in advice.finals)
    assert "min_speedup" in advice.reason


def test_a_board_that_is_not_there_is_said_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = ["device=raspberry_pi_4", "device.host=pi@no-such-board.invalid", f"output={tmp_path}", "max_latency_ms=5"]
    assert main(["advise", *TINY, *board]) == 4
    assert "pi@no-such-board.invalid could not be reached" in capsys.readouterr().err
    assert main(["advise", *TINY, *board, "device.emulate=true"]) == 2
    assert "device.host and device.emulate=true contradict each other" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

"""The words of a question: what is understood, what is refused, and what comes of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from compressor.advisor.candidates import Candidate, Shape
from compressor.advisor.earlier import FILE, require_room, teacher_id
from compressor.advisor.requests import ask, command, of_candidate, own_words, write_recipe
from compressor.config.run import TeacherSettings
from compressor.errors import ArtifactExistsError, CompressorError, RequestError
from compressor.request import build
from compressor.request.overrides import setting

TASK = "task=text-classification"


def test_limits_become_gates_and_decide_the_goal() -> None:
    fast = ask([TASK, "min_metric=80", "max_size_mb=20"])
    good = ask([TASK, "max_latency_ms=5"])

    assert (fast.request.gates.min_metric, fast.request.gates.max_size_mb) == (80, 20)
    assert fast.request.gates.max_metric_drop is None
    assert (fast.goal, good.goal) == ("latency", "metric")
    assert ask([TASK, "min_metric=80", "advise.prefer=metric"]).goal == "metric"
    assert ask([TASK, "min_metric=80", "advise.prefer=latency"]).goal == "latency"
    assert ask([TASK, "max_size_mb=9", "gates.max_metric_drop=1", "advise.prefer=latency"]).goal == "latency"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["max_latency_ms=5"], "advise needs task=NAME"),
        ([TASK], "advise needs a limit"),
        ([TASK, "min_metric=101"], "min_metric = 101 is above 100 points"),
        ([TASK, "max_latency_ms=-1"], "'max_latency_ms' = -1 is not possible"),
        ([TASK, "recipe=minilm", "max_latency_ms=5"], "'recipe' belongs to a run"),
        ([TASK, "max_latency_ms=5", "advise.etta=3"], "unknown key 'advise.etta'.*did you mean 'advise.eta'"),
        ([TASK, "max_latency_ms=5", "advise.grid.layer=[1.0]"], "did you mean 'layers'"),
        ([TASK, "max_latency_ms=5", "advise.calibration=20"], "'calibration' = 20 is not possible"),
        ([TASK, "max_latency_ms=5", "advise.grid.layers=[1.0,1.5]"], "'grid.layers.1' = 1.5 is not possible"),
        ([TASK, "max_memory_mb=99999999"], "is more than the device 'host' has"),
        ([TASK, "max_latency_ms=5,6"], "max_latency_ms=5,6 has several values: advise answers one question at a time"),
        ([TASK, "max_latncy_ms=5"], "unknown key 'max_latncy_ms' in what is asked: did you mean 'max_latency_ms'?"),
        ([TASK, "max_latency_ms=5", "max_latency_ms=3"], "max_latency_ms is given twice, 5 and 3: which is it?"),
        ([TASK, "min_metric=90", "gates.min_metric=50"], "min_metric is given twice, 90 and 50: which is it?"),
        ([TASK, "max_latency_ms=5", "advise.grid.layers=[0.5"], "the settings of advise are not understood: while"),
        (
            [TASK, "max_latency_ms=5", "advise.prefer=latency"],
            "recommend the fastest candidate whatever it answers: give",
        ),
    ],
)
def test_what_cannot_be_asked_is_said_before_any_work(words: list[str], message: str) -> None:
    with pytest.raises(CompressorError, match=message) as caught:
        ask(words)
    assert caught.value.exit_code == 2


def test_a_candidates_file_gives_the_run_that_was_trained(tmp_path: Path) -> None:
    question = ask([TASK, "max_latency_ms=5", f"output={tmp_path}", "seed=7", "advise.distill.epochs=2.0"])
    candidate = Candidate(Shape(0, 2, 4, heads=0.5, feed_forward=0.5, adaptive=True), "dynamic_int8", 0.8)
    inline = of_candidate(question.request, candidate, question.settings)

    file = write_recipe(question, candidate)
    asked = build(own_words(question, candidate), config_dirs=[str(question.folder)])

    assert file == question.folder / "recipe" / "advised-l2-w50-k80-int8.yaml"
    assert (asked.stages, asked.passes) == (inline.stages, inline.passes)
    assert (asked.recipe.name, asked.seed, asked.gates, asked.output) == (
        inline.recipe.name, 7, inline.gates, tmp_path,
    )  # fmt: skip
    assert asked.place == inline.place
    assert command(question, candidate)[:2] == ["--config-dir", str(question.folder)]


def test_settings_of_a_stage_that_do_not_exist_are_named() -> None:
    question = ask([TASK, "max_latency_ms=5", "advise.distill.epoch=2"])

    with pytest.raises(RequestError, match="unknown key 'epoch' in advise.distill: did you mean 'epochs'"):
        of_candidate(question.request, Candidate(Shape(0, 2, 4), "float32"), question.settings)


ODD = ["a (1)", "a,b", "it's", 'say "so"', "a=b", "plain", "1", "null", "two\\", "[x]"]


@pytest.mark.parametrize("name", ODD)
def test_folders_of_any_name_come_back_out_of_a_candidates_words(name: str, tmp_path: Path) -> None:
    """Of the advice's own output, and of a further teacher."""
    folder, teacher = tmp_path / name, f"/models/{name}"
    question = ask([TASK, "max_latency_ms=5", setting("output", str(folder))])
    request = dataclasses.replace(question.request, teacher=TeacherSettings(source="path", path=teacher))
    question = dataclasses.replace(question, requests=[question.request, request])
    candidate = Candidate(Shape(1, 4, 4), "dynamic_int8")
    write_recipe(question, candidate)
    own = build(own_words(question, candidate), config_dirs=[str(question.folder)])
    assert (own.output, own.teacher.path) == (folder, teacher)


def test_an_advice_for_other_data_is_in_the_way(tmp_path: Path) -> None:
    question = ask([TASK, "max_latency_ms=5", f"output={tmp_path}"])
    require_room(question, "aaa")
    question.folder.mkdir(parents=True)
    for content in ("{", "{}", "[]", '{"held_out": "bbb"}'):
        (question.folder / FILE).write_text(content)
        require_room(question, "aaa")
    known = {"held_out": "aaa", "teacher": "demo", "teacher_id": teacher_id(question.request)}
    (question.folder / FILE).write_text(json.dumps(known))
    require_room(question, "aaa")
    with pytest.raises(ArtifactExistsError, match="holds an advice for other held-out data: add overwrite=true"):
        require_room(question, "bbb")
    require_room(dataclasses.replace(question, requests=[dataclasses.replace(question.request, overwrite=True)]), "bbb")
    (question.folder / FILE).write_text(json.dumps(known | {"teacher": "another", "teacher_id": "x"}))
    with pytest.raises(ArtifactExistsError, match="holds an advice for the teacher another"):
        require_room(question, "aaa")


def test_one_teacher_is_one_however_its_folder_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["my-bert", "./my-bert", str(tmp_path / "my-bert"), "other"]
    ids = [teacher_id(ask([TASK, "max_latency_ms=5", f"teacher.path={name}"]).request) for name in names]
    assert len(set(ids[:3])) == 1 and ids[3] != ids[0]

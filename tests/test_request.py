"""Composing requests: what the command line reaches, and every error once."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.errors import RequestError, TaskError, UnknownNameError
from compressor.request import build
from compressor.request.folders import choices
from compressor.request.overrides import parse_overrides, sweep

RECIPES = sorted(choices("recipe"))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("device", ["host", "jetson", "raspberry_pi_4", "x86_avx512"])
def test_every_recipe_composes_for_every_device(name: str, device: str) -> None:
    request = build([f"recipe={name}", f"device={device}"])

    assert request.recipe.name == name
    assert request.recipe.paper and request.recipe.description
    assert request.task in request.recipe.tasks
    assert request.place == Path(name) / f"{request.task}-demo" / device


@pytest.mark.parametrize("name", sorted(choices("data")))
def test_every_data_file_composes(name: str) -> None:
    extra = {"files": ["data.dev=x.json"], "hub": ["data.name=a/b"]}.get(name, [])
    assert build([f"data={name}", *extra]).data.source in ("demo", "files", "hub")


def test_the_command_line_reaches_into_a_stage() -> None:
    request = build(["recipe=qualaminilm", "recipe.stages.length_adaptive.max_steps=7", "features.max_length=64"])

    assert next(entry for entry in request.stages if entry.key == "length_adaptive").settings.max_steps == 7
    assert request.features.max_length == 64


def test_one_stage_can_stand_twice() -> None:
    request = build(["recipe=tinybert"])

    assert [(entry.key, entry.spec.name) for entry in request.stages] == [
        ("drop_layers", "drop_layers"),
        ("intermediate", "distill"),
        ("prediction", "distill"),
    ]


def test_a_tilde_takes_a_stage_out() -> None:
    assert [entry.key for entry in build(["recipe=minilm", "~recipe.stages.drop_layers"]).stages] == ["distill"]


def test_after_puts_a_stage_behind_another() -> None:
    added = ["recipe.stages.more.stage=finetune", "recipe.stages.more.after=drop_layers"]
    second = ["+recipe.stages.again={stage: finetune, after: more}"]

    keys = [entry.key for entry in build(["recipe=minilm", *added, *second]).stages]

    assert keys == ["drop_layers", "more", "again", "distill"]


def test_gates_lie_over_the_recipes_own_and_null_switches_off() -> None:
    request = build(["recipe=int8", "recipe.gates.max_size_mb=9", "gates.max_metric_drop=null"])

    assert request.gates.max_size_mb == 9
    assert request.gates.max_metric_drop is None


def test_numbers_with_an_exponent_are_numbers() -> None:
    request = build(["recipe=minilm", "recipe.stages.distill.learning_rate=3e-5"])

    assert request.stages[1].settings.learning_rate == 3e-5


def test_a_path_alone_makes_the_teacher_a_path() -> None:
    assert build(["teacher.path=somewhere"]).teacher.source == "path"


def test_own_folder_adds_recipes_and_wins_over_ours(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text(
        "defaults: [minilm, _self_]\nname: mine\nstages: {distill: {epochs: 1}}\n"
    )
    (tmp_path / "recipe" / "int8.yaml").write_text("description: another one\n")

    mine = build(["recipe=mine"], config_dirs=[str(tmp_path)])
    ours = build(["recipe=int8", f"hydra.searchpath=[file://{tmp_path}]"])

    assert [entry.key for entry in mine.stages] == ["drop_layers", "distill"]
    assert mine.stages[1].settings.epochs == 1
    assert ours.recipe.description == "another one"
    assert build(["recipe=int8"]).recipe.description != "another one"


def test_own_device(tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "box.yaml").write_text("description: a box\nproviders: [{name: CPUExecutionProvider}]\n")

    assert build(["device=box"], config_dirs=[str(tmp_path)]).device.name == "box"


def test_sweeps_multiply_out() -> None:
    assert sweep(["recipe=int8", "seed=1,2", "device=host,jetson"]) == [
        ["recipe=int8", "seed=1", "device=host"],
        ["recipe=int8", "seed=1", "device=jetson"],
        ["recipe=int8", "seed=2", "device=host"],
        ["recipe=int8", "seed=2", "device=jetson"],
    ]


WRONG = [
    (["recipe=int7"], "unknown recipe 'int7': did you mean 'int8'?"),
    (["device=jetsn"], "unknown device 'jetsn': did you mean 'jetson'?"),
    (["data=dmo"], "unknown data 'dmo': did you mean 'demo'?"),
    (["teacher=dmo"], "unknown teacher 'dmo': did you mean 'demo'?"),
    (["task=question-answerin"], "unknown task 'question-answerin': did you mean 'question-answering'?"),
    (["sed=3"], "unknown key 'sed' in the request: did you mean 'seed'?"),
    (["seed=a"], "the request: 'seed' = 'a' is not possible: Input should be a valid integer."),
    (["seed=-1"], "'seed' = -1 is not possible: Input should be greater than or equal to 0."),
    (["gates=3"], "'gates' = 3 is not possible"),
    (["gates.max_metric=3"], "unknown key 'max_metric' in gates (command line): did you mean 'min_metric'?"),
    (["features.max_len=3"], "unknown key 'max_len' in features (command line): did you mean 'max_length'?"),
    (["data.trian=x"], "unknown key 'trian' in data (command line): did you mean 'train'?"),
    (["data=3x"], "unknown data '3x'"),
    (["recipe=minilm", "recipe.stages.distil.epochs=1"], "did you mean 'distill'?"),
    (["recipe=minilm", "recipe.stages.distill.epoch=1"], "unknown key 'epoch' in recipe.stages.distill (command line)"),
    (["recipe=minilm", "recipe.stages.distill.epochs=lots"], "'epochs' = 'lots' is not possible"),
    (["recipe=minilm", "recipe.stages.distill.teacher_layer=0"], "'teacher_layer' = 0 is not possible"),
    (["recipe=minilm", "recipe.stages.distill.teacher_layer=0"], "should be 'last' or greater than or equal to 1."),
    (["recipe=minilm", "recipe.stages.distill.layer_map=[1,0]"], "'layer_map.1' = 0 is not possible"),
    (["recipe=length_adaptive", "recipe.stages.length_adaptive.length_drop=2"], "'length_drop' = 2 is not possible"),
    (["recipe=minilm", "recipe.stages.distill=3"], "'stages.distill' = 3 is not possible"),
    (
        ["recipe=minilm", "recipe.stages.distill.logits=0", "recipe.stages.distill.relations=0"],
        "every loss has the weight 0",
    ),
    (["recipe=int8", "recipe.passes.quantise.mode=auto"], "unknown pass 'quantise'"),
    (["recipe=int8", "~recipe.passes.fus"], "unknown key 'fus' in '~recipe.passes.fus': did you mean 'fuse'?"),
    (["~device"], "a run cannot be without a device"),
    (["recipe=minilm", "recipe.stages.x={stage: finetune, after: distil}"], "did you mean 'distill'?"),
    (["recipe=minilm", "recipe.stages.x={stage: finetune, after: x}"], "goes round in a circle"),
    (["recipe=minilm", "recipe.stages.x={stage: [1]}"], "give the name of a stage"),
    (["foo"], "'foo' is not understood: settings are given as key=value"),
    (["a=[1,"], "the command line is not understood"),
    (["seed=1,2"], "has several values: add -m"),
    (["teacher.source=path"], "'path' is missing: give teacher.path=DIR"),
    (["hydra.searchpath=[/not/there]"], "config folder '/not/there' does not exist"),
    (["output=${nothing}"], "the request cannot be composed"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_request_is_one_sentence(arguments: list[str], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        build(arguments)

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_task_that_the_recipe_cannot_do(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "spans.yaml").write_text("tasks: [question-answering]\n")

    with pytest.raises(TaskError, match="recipe 'spans' cannot do text-classification: it is for question-answering"):
        build(["recipe=spans", "task=text-classification"], config_dirs=[str(tmp_path)])


def test_errors_in_a_file_name_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "typo.yaml").write_text("stages: {finetune: {epoch: 1}}\n")
    (folder / "broken.yaml").write_text("stages: [\n")
    (folder / "list.yaml").write_text("- 1\n")

    with pytest.raises(UnknownNameError, match=r"recipe\.stages\.finetune \(.*typo\.yaml\): did you mean 'epochs'"):
        build(["recipe=typo"], config_dirs=[str(tmp_path)])
    with pytest.raises(RequestError, match=r"broken\.yaml cannot be read as YAML"):
        build(["recipe=broken"], config_dirs=[str(tmp_path)])
    with pytest.raises(RequestError, match=r"list\.yaml must hold a mapping"):
        build(["recipe=list"], config_dirs=[str(tmp_path)])


def test_overrides_know_what_they_set() -> None:
    overrides = parse_overrides(["recipe.stages.distill.epochs=1"])

    assert overrides.names("recipe.stages")
    assert not overrides.names("recipe.stages.dist")

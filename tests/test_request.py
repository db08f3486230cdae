"""Composing requests: what the command line reaches, and every error once."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from compressor.config.opset import NEWEST_OPSET, OLDEST_OPSET
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


def test_a_step_is_put_in_by_its_name_and_an_inherited_one_is_there(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("defaults: [minilm, _self_]\ndescription: mine\n")
    changed = ["recipe=mine", "recipe.stages.distill.epochs=1", "recipe.passes.quantize.per_channel=false"]
    assert [entry.key for entry in build(changed, config_dirs=[str(tmp_path)]).stages] == ["drop_layers", "distill"]
    added = build(["recipe=int8", "recipe.stages.finetune.stage=finetune", "recipe.stages.finetune.epochs=1"])
    assert [entry.settings.epochs for entry in added.stages] == [1]
    with pytest.raises(RequestError, match="'mine' has no stage 'finetune'"):
        build(["recipe=mine", "recipe.stages.finetune.epochs=1"], config_dirs=[str(tmp_path)])


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


@pytest.mark.parametrize("value", ["sp (1)/dv.csv", "a=b.csv", "ü,#.csv", 'a"b\\.csv', "it's.csv"])
def test_a_path_quoted_as_the_error_says_is_taken_as_it_is(value: str) -> None:
    with pytest.raises(RequestError) as caught:
        build([f"data.dev={value}"])
    (quoted,) = shlex.split(str(caught.value).partition("needs quotes: ")[2].removesuffix("."))

    assert build([quoted]).data.dev == value


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    request = build(["data=files", "data.dev=~/my data/x.csv", "data.train='~/t.csv#a+b'", "teacher.path=~/bert"])

    assert request.data.dev == "/home/ada/my data/x.csv"
    assert request.data.train == "/home/ada/t.csv#a+b"
    assert request.teacher.path == "/home/ada/bert"
    assert build(["output=~nobody-of-that-name/x"]).output == Path("~nobody-of-that-name/x")


def test_columns_can_be_given_by_number() -> None:
    data = build(["data.text_column=0", "data.label_column=1", "data.pair_column='2'"]).data

    assert (data.text_column, data.label_column, data.pair_column) == ("0", "1", "2")


def test_the_opset_is_the_newest_that_we_write_and_the_device_reads() -> None:
    assert build().opset == 17
    assert build(["export.opset=15"]).opset == 15
    assert build(["device.max_opset=22", "device.max_ir=11"]).opset == 20
    assert build(["device.max_ir=8", "device.max_opset=20"]).opset == 18


def test_the_opset_table_is_that_of_onnx() -> None:
    from onnx import helper

    for opset in range(OLDEST_OPSET, NEWEST_OPSET + 1):
        oldest = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
        assert build([f"export.opset={opset}", "device.max_opset=20", f"device.max_ir={oldest}"]).opset == opset
        with pytest.raises(RequestError, match=f"needs IR version {oldest}"):
            build([f"export.opset={opset}", "device.max_opset=20", f"device.max_ir={oldest - 1}"])


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
    (
        ["recipe=minilm", "recipe.stages.distil.epochs=1"],
        "the recipe 'minilm' has no stage 'distil', did you mean 'distill' (its stages: drop_layers, distill)",
    ),
    (
        ["recipe=int8", "recipe.stages.adaptive_depth.epochs=0.3"],
        "recipe.stages.adaptive_depth (command line): the recipe 'int8' has no stage 'adaptive_depth' (its stages: "
        "none); to add one, give recipe.stages.adaptive_depth.stage=NAME, and recipe.stages.adaptive_depth.after=KEY",
    ),
    (["recipe=int8", "+recipe.passes.cast={}"], "the recipe 'int8' has no pass 'cast' (its passes: fuse, quantize)"),
    (["recipe=int8", "recipe.passes.quantise.pass=quantise"], "unknown pass 'quantise'"),
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
    (["recipe=int8", "recipe.passes.quantise.mode=auto"], "has no pass 'quantise', did you mean 'quantize'"),
    (["recipe=int8", "~recipe.passes.fus"], "unknown key 'fus' in '~recipe.passes.fus': did you mean 'fuse'?"),
    (["~device"], "a run cannot be without a device"),
    (["recipe=minilm", "recipe.stages.x={stage: finetune, after: distil}"], "did you mean 'distill'?"),
    (["recipe=minilm", "recipe.stages.x={stage: finetune, after: x}"], "goes round in a circle"),
    (["recipe=minilm", "recipe.stages.x={stage: [1]}"], "give the name of a stage"),
    (["foo"], "'foo' is not understood: settings are given as key=value"),
    (["a=[1,"], "the command line is not understood"),
    (["seed=1,2"], "has several values: add -m"),
    (["recipe.stages.teacher.stage=finetune"], "'teacher' is the name of a row of the result: give the stage another"),
    (
        ["recipe.stages.artifact.stage=finetune"],
        "'artifact' is the name of a row of the result: give the stage another",
    ),
    (["recipe=minilm", "recipe.stages.x={stage: finetune, after: [1]}"], "unknown stage key '[1]'"),
    (["recipe=minilm", "recipe.stages.distill.epochs=inf"], "'epochs' = inf is not possible: Input should be a finite"),
    (["recipe=minilm", "recipe.stages.distill.learning_rate=inf"], "'learning_rate' = inf is not possible"),
    (["gates.max_metric_drop=nan"], "'max_metric_drop' = nan is not possible: Input should be a finite number."),
    (["seed=4294967296"], "'seed' = 4294967296 is not possible: Input should be less than 4294967296."),
    (["features.max_length=1e30"], "'max_length' = 1e+30 is not possible"),
    (["features.max_length=99999999999999999999"], "Input should be less than or equal to 2147483647."),
    (["recipe.name=../../escaped"], "'name' = '../../escaped' is not possible: a folder is named after it"),
    (["recipe.name="], "'name' = '' is not possible: a folder is named after it"),
    (["recipe.name=.cache"], "'name' = '.cache' is not possible: a folder is named after it"),
    (["device.name=a/b"], "'name' = 'a/b' is not possible: a folder is named after it"),
    (["data.text_column=-1"], "'text_column' = -1 is not possible: give the name of a column, or its number from 0."),
    (["data.label_separator="], "'label_separator' = '' is not possible"),
    (["teacher.base=x"], "unknown key 'base' in teacher (command line)"),
    (["export.opset=1"], "export.opset = 1 is not possible: graphs are written in opset 14 to 20."),
    (["export.opset=21", "device.max_opset=21"], "export.opset = 21 is not possible: graphs are written in opset 14"),
    (["export.opset=18"], "opset = 18 is not possible: the device 'host' reads up to device.max_opset = 17."),
    (["export.opset=17", "device.max_ir=7"], "needs IR version 8, and the device 'host' reads up to device.max_ir = 7"),
    (["device.max_opset=13"], "the device 'host' reads no graph of ours (device.max_opset = 13"),
    (["device=jetson", "gates.max_memory_mb=9000"], "is more than the device 'jetson' has (device.memory_mb = 8192)."),
    (["hydra.searchpth=[x]"], "unknown key 'hydra.searchpth' in the request: did you mean 'hydra.searchpath'?"),
    (["hydra.foo=x"], "unknown key 'hydra.foo' in the request"),
    (["hydra/launcher=basic"], "unknown key 'hydra/launcher' in the request"),
    (["recipe@x=int8"], "unknown key 'recipe@x' in the request: did you mean 'recipe'?"),
    (["data.dev=sp (1)/dv.csv"], """a sign that belongs to the value needs quotes: 'data.dev="sp (1)/dv.csv"'."""),
    (["data.dev=a=b.csv"], """a sign that belongs to the value needs quotes: 'data.dev="a=b.csv"'."""),
    (["data.dev=ü.csv"], "at 'data.dev=ü.csv': it has a sign that Hydra's grammar does not know; a sign"),
    (
        ["data.dev=a,b.csv"],
        """add -m to run one after the other; a comma that belongs to the value needs quotes: 'dat""",
    ),
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

"""The flow: what is made again and what is not, what is refused, what stands in the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compressor.artifact.manifest import read
from compressor.artifact.predictor import Predictor
from compressor.cache import Cache
from compressor.errors import (
    ArtifactExistsError,
    CheckpointError,
    DataError,
    DeviceError,
    GateRefusedError,
    RequestError,
    TaskError,
)
from compressor.pipeline import RefusedRunError, run
from compressor.plan import make_plan
from compressor.progress import Silent
from compressor.request import build
from compressor.revalidate import revalidate
from tests.tiny import DATA, MEASURE, request


class Lines(Silent):
    """Remembers the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with one finished run of `minilm` with all its stages."""
    output = tmp_path_factory.mktemp("finished")
    progress = Lines()
    outcome = run(request("minilm", output, "device=host", "task=text-classification"), progress)
    assert [row.name for row in outcome.rows] == ["teacher", "drop_layers", "distill", "artifact"]
    assert [line.partition(":")[0] for line in progress.lines if "MB" in line] == [row.name for row in outcome.rows]
    assert all(row.speed is not None for row in outcome.rows)
    return output


def again(output: Path, *more: str):  # noqa: ANN201
    return request("minilm", output, "device=host", "task=text-classification", *more)


def test_the_same_request_again_is_there_already(finished: Path) -> None:
    outcome = run(again(finished))

    assert outcome.already_there and outcome.artifact == finished / again(finished).place


def test_another_request_does_not_replace_it_unasked(finished: Path) -> None:
    with pytest.raises(ArtifactExistsError, match="already holds another artifact: add overwrite=true"):
        run(again(finished, "seed=7"))


def test_a_changed_setting_runs_again_only_what_depends_on_it(finished: Path) -> None:
    plan = make_plan(again(finished))
    changed = make_plan(again(finished, "recipe.stages.distill.temperature=3.0"))
    quantized = make_plan(again(finished, "recipe.passes.quantize.per_channel=false"))

    assert list(plan.cached) == [True] * 5
    assert dict(zip([step.name for step in changed.steps], changed.cached, strict=True)) == {
        "drop_layers": True,
        "distill": False,
        "export": False,
        "fuse": False,
        "quantize": False,
    }
    assert list(quantized.cached) == [True, True, True, True, False]


def test_plan_and_run_agree_on_every_key(finished: Path) -> None:
    keys = {entry.key for entry in Cache(finished / ".cache").entries()}

    assert {step.key for step in make_plan(again(finished)).steps} <= keys


def test_overwrite_replaces(finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(finished, output)
    outcome = run(again(output, "recipe.passes.quantize.per_channel=false", "overwrite=true"))

    manifest = json.loads((outcome.artifact / "manifest.json").read_text())
    assert manifest["request"]["recipe"]["passes"]["quantize"]["per_channel"] is False


def test_a_missed_gate_refuses_and_keeps_the_report(tmp_path: Path) -> None:
    asked = request("int8", tmp_path, "device=host", "task=text-classification", "gates.max_size_mb=0.001")

    with pytest.raises(
        RefusedRunError, match=r"max_size_mb.*missed\. The report is .*report\.html\. .*move the limit"
    ) as refusal:
        run(asked)
    assert [row.name for row in refusal.value.rows] == ["teacher", "artifact"]
    assert any(verdict.passed is False for verdict in refusal.value.verdicts)
    assert not asked.artifact.exists()
    assert (tmp_path / ".refused" / asked.place / "report.html").is_file()


def test_a_device_that_must_be_here_and_is_not(tmp_path: Path) -> None:
    asked = request("int8", tmp_path, "device=jetson", "task=text-classification", "gates.require_device=true")

    with pytest.raises(DeviceError, match="gates.require_device=true"):
        run(asked)
    assert not asked.artifact.exists()


IMPOSSIBLE = [
    ("qualaminilm", ["~recipe.stages.length_adaptive"], "search_lengths needs a length dial"),
    ("int8", ["recipe.passes.search_depth.pass=search_depth"], "search_depth needs a model that can stop early"),
    ("dact_bert", ["recipe.passes.search_depth.candidates=[2.0]"], "candidates: 2 is no margin"),
    ("pabee", ["recipe.passes.search_depth.candidates=[9]"], "candidates: patience 9 needs 10 exits"),
    ("deebert", ["recipe.stages.adaptive_depth.tau=0.1"], "tau = 0.1 would change nothing: .* method: dact"),
    ("dact_bert", ["recipe.stages.adaptive_depth.tolerance=0.3"], "tolerance = 0.3 would change nothing"),
    ("int8", ["recipe.passes.half.pass=cast"], "either int8 or float16"),
    ("int4", ["recipe.passes.int8.pass=quantize"], "quantize and quantize_weights take all but one out"),
    ("int4", ["device.runtime_version='1.14'"], "4 bits need ONNX Runtime 1.17"),
    ("int4", ["device=jetson", "recipe.passes.quantize_weights.bits=8"], "has 1.18 .*use bits: 4"),
    ("int8", ["measure.length=5000"], "measure.length = 5000 is not possible: the model reads at most"),
    ("minilm", ["recipe.stages.distill.teacher_layer=99"], "teacher_layer 99 does not exist"),
    ("minilm", ["recipe.stages.distill.relation_heads=7"], "relation_heads 7 does not divide"),
    ("tinybert", ["recipe.stages.intermediate.layer_map=[1]"], "layer_map has 1 entries"),
    ("minilm", ["recipe.stages.drop_layers.keep=[0,9]"], "9"),
    ("length_adaptive", ["recipe.stages.length_adaptive.length_drop=[0.1]"], "length_drop has 1 entries"),
    ("length_adaptive", ["recipe.stages.length_adaptive.ranking=0.1"], "ranking needs question answering"),
    ("int8", ["recipe.passes.quantize.max_drop=1", "recipe.passes.quantize.mode=dynamic"], "mode must be static"),
    (
        "power_bert",
        ["recipe.passes.of={pass: set_lengths, keep: [0.5,0.4]}"],
        "keep has 2 entries, the model has 4 layers",
    ),
    (
        "power_bert",
        ["recipe.passes.of={pass: set_lengths, keep: [0.5,0.4,0.6,0.2]}"],
        "keep grows from 0.4 to 0.6 at layer 3",
    ),
    ("int8", ["recipe.passes.more.pass=quantize"], "the pass quantize can be in a recipe once"),
    ("int8", ["~recipe.passes.fuse", "recipe.passes.late.pass=fuse"], "fuse cannot stand behind quantize"),
    (
        "length_adaptive",
        ["~recipe.passes.quantize", "recipe.passes.late.pass=quantize"],
        "quantize cannot stand behind search_lengths: it changes what that one has looked at",
    ),
    ("ladabert", ["recipe.stages.new={stage: distill, student: {kind: cnn}}"], r"\(low_rank, sparse\) would be lost"),
    (
        "deformer",
        ["recipe.stages.fewer={stage: drop_layers, keep: [0,1,2]}"],
        "of the 3 layers that are left, 3 would keep two texts",
    ),
    (
        "deformer",
        ["recipe.stages.fewer={stage: drop_layers, keep: [3]}"],
        "of the 1 layers that are left, 0 would keep two texts",
    ),
    (
        "deformer",
        ["recipe.stages.exits={stage: adaptive_depth, method: pabee}"],
        "a model that keeps two texts apart below",
    ),
]


@pytest.mark.parametrize(("recipe", "more", "words"), IMPOSSIBLE, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_refused_before_any_work(recipe: str, more: list[str], words: str, tmp_path: Path) -> None:
    asked = request(recipe, tmp_path, "task=text-classification", *more)
    for attempt in (make_plan, run):
        with pytest.raises(RequestError, match=words):
            attempt(asked)
    assert not list(Cache(tmp_path / ".cache").entries())


def test_something_foreign_is_noticed_before_any_work(tmp_path: Path) -> None:
    asked = request("int8", tmp_path, "task=text-classification", "overwrite=true")
    asked.artifact.mkdir(parents=True)
    (asked.artifact / "precious").write_text("mine")

    with pytest.raises(ArtifactExistsError, match="is not an artifact of ours"):
        run(asked)
    assert (asked.artifact / "precious").read_text() == "mine"
    assert not [entry for entry in Cache(tmp_path / ".cache").entries() if "export" in entry.key]


def test_training_stages_need_training_data(tmp_path: Path) -> None:
    dev = tmp_path / "dev.csv"
    dev.write_text("text,label\n" + "".join(f"the parcel number {n} came late,delivery\n" for n in range(6)))
    asked = request("minilm", tmp_path, "task=text-classification", "data=files", f"data.dev={dev}")

    with pytest.raises(DataError, match=r"stage 'distill' needs train data.*~recipe\.stages\.distill"):
        run(asked)
    with pytest.raises(DataError, match="stage 'adaptive_depth' needs train data and 'files' has none"):
        make_plan(request("dact_bert", tmp_path, "data=files", f"data.dev={dev}"))


@pytest.mark.parametrize(
    ("recipe", "more", "words"),
    [
        ("int8", ["recipe.passes.quantize.mode=static"], "pass 'quantize' needs calibration data"),
        ("int8", ["recipe.passes.quantize.smooth=on"], r"needs calibration data.*~recipe\.passes\.quantize"),
        ("int8", ["recipe.passes.quantize.max_drop=1"], "pass 'quantize' needs calibration data"),
        ("int4", ["recipe.passes.quantize_weights.method=gptq"], "pass 'quantize_weights' needs calibration data"),
    ],
)
def test_passes_that_need_data_are_refused_before_any_work(
    recipe: str, more: list[str], words: str, tmp_path: Path
) -> None:
    dev = tmp_path / "dev.csv"
    dev.write_text("text,label\n" + "".join(f"the parcel number {n} came late,delivery\n" for n in range(6)))
    asked = request(recipe, tmp_path, "task=text-classification", "data=files", f"data.dev={dev}", *more)

    with pytest.raises(DataError, match=words):
        run(asked)
    assert not [entry for entry in Cache(tmp_path / ".cache").entries() if "export" in entry.key]


def test_a_search_without_data_is_refused_before_the_stages(tmp_path: Path) -> None:
    asked = request("length_adaptive", tmp_path, "task=text-classification", "data.demo_train=1")

    with pytest.raises(DataError, match=r"pass 'search_lengths' needs search data.*~recipe\.passes\.search_lengths"):
        run(asked)


def test_texts_that_are_no_pairs_are_noticed_before_the_stages_in_front(tmp_path: Path) -> None:
    asked = request("minilm", tmp_path, "task=text-classification", "recipe.stages.late.stage=deformer")

    with pytest.raises(RequestError, match="no input of the training data is a pair of texts"):
        run(asked)
    assert not [entry for entry in Cache(tmp_path / ".cache").entries() if "export" in entry.key]


def test_a_vocabulary_that_would_lose_what_it_needs_is_refused_before_the_stages_in_front(tmp_path: Path) -> None:
    pieces = tmp_path / "pieces.txt"
    pieces.write_text("nosuchpiece\n")
    first = ["task=text-classification", "recipe.stages.after.stage=prune_vocabulary"]
    for more, words in (
        ("size=3", r"size 3 is too small: \d+ pieces must stay \(special tokens, single characters and bytes\)"),
        (f"keep_file={pieces}", "lists 1 pieces that the tokenizer does not have, first 'nosuchpiece'"),
    ):
        asked = request("minilm", tmp_path, *first, f"recipe.stages.after.{more}")

        with pytest.raises(RequestError, match=words):
            run(asked)
    assert not [entry for entry in Cache(tmp_path / ".cache").entries() if "export" in entry.key]


def test_a_teacher_without_a_head_needs_training_data(tmp_path: Path) -> None:
    from compressor.data import demo_teacher

    teacher = demo_teacher("question-answering", tmp_path / "teacher")
    dev = tmp_path / "dev.csv"
    dev.write_text("text,label\n" + "".join(f"the parcel number {n} came late,delivery\n" for n in range(6)))
    asked = request(
        "int8", tmp_path, "task=text-classification", "data=files", f"data.dev={dev}", f"teacher.path={teacher}"
    )

    with pytest.raises(DataError, match="the teacher has no head for text-classification .* give data.train"):
        run(asked)


def test_labels_that_the_teacher_does_not_know(tmp_path: Path) -> None:
    dev = tmp_path / "dev.csv"
    dev.write_text("text,label\n" + "".join(f"the parcel number {n} came late,weather\n" for n in range(6)))
    asked = request("int8", tmp_path, "task=text-classification", "data=files", f"data.dev={dev}")

    with pytest.raises(TaskError, match="the teacher does not know the label 'weather'"):
        run(asked)
    dev.write_text("foo,bar\n" + "".join(f"the parcel number {n} came late,delivery\n" for n in range(6)))
    with pytest.raises(TaskError, match="label 'bar' .*The first line of .*dev.csv was read as data: .*header=true"):
        run(asked)


def test_a_teacher_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint|neither a local directory"):
        run(request("int8", tmp_path, f"teacher.path={tmp_path / 'none'}"))


def test_a_teacher_without_a_head_is_fine_tuned_first(tmp_path: Path) -> None:
    from compressor.data import demo_teacher

    teacher = demo_teacher("question-answering", tmp_path / "teacher")
    asked = request(
        "int8",
        tmp_path,
        "device=host",
        "task=text-classification",
        f"teacher.path={teacher}",
        "export_each_stage=false",
    )
    assert [step.name for step in make_plan(asked).steps][0] == "teacher"

    outcome = run(asked)

    assert outcome.rows[0].evaluation.windows > 0
    assert make_plan(asked).cached[0]


def text_files(folder: Path, train: list[tuple[str, str]], dev: list[tuple[str, str]]) -> list[str]:
    for name, rows in (("train", train), ("dev", dev)):
        lines = "".join(f"{text}\t{label}\n" for text, label in rows)
        (folder / f"{name}.tsv").write_text(f"text\tlabel\n{lines}")
    return [f"data.{name}={folder / name}.tsv" for name in ("train", "dev")]


def headless(folder: Path) -> str:
    """A teacher without a head for classification: the demo's for questions."""
    from compressor.data import demo_teacher

    demo_teacher("question-answering", folder / "teacher")
    return f"teacher.path={folder / 'teacher'}"


def test_a_model_that_reads_less_than_the_default_length_is_given_that(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from compressor.data import demo_teacher

    teacher = demo_teacher("text-classification", tmp_path / "teacher")
    config = json.loads((teacher / "config.json").read_text())
    weights = load_file(teacher / "model.safetensors")
    name = next(key for key in weights if key.endswith("position_embeddings.weight"))
    save_file({**weights, name: weights[name][:40].clone()}, teacher / "model.safetensors", {"format": "pt"})
    (teacher / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 40}))
    words = f"recipe=int8 device=host task=text-classification teacher.path={teacher} output={tmp_path}"
    asked = build([*words.split(), *DATA, *MEASURE])
    assert "at 40 tokens" in make_plan(asked).facts["teacher"]

    outcome = run(asked)

    manifest = read(outcome.artifact)
    assert manifest.speed["artifact"]["length"] == manifest.preprocessing["max_length"] == 40
    assert revalidate(outcome.artifact, [], [], Silent()).lines
    assert run(asked).already_there


def test_a_label_that_nothing_teaches_is_an_error(tmp_path: Path) -> None:
    files = text_files(tmp_path, [("a b", "x"), ("c d", "y")] * 20, [("b a", "x"), ("c", "z")])
    asked = request(
        "int8", tmp_path, "device=host", "task=text-classification", "data=files", *files, headless(tmp_path)
    )
    with pytest.raises(DataError, match="label 'z' of the dev data is in no training example"):
        run(asked)


def test_a_teacher_that_answers_all_alike_is_refused_before_stages(tmp_path: Path) -> None:
    files = text_files(tmp_path, [("a b", "x"), ("a b", "y")] * 20, [("b a", "x"), ("b a", "y")] * 20)
    wishes = ["device=host", "task=text-classification", "data=files", *files, headless(tmp_path)]
    asked = request("minilm", tmp_path, *wishes, "gates.max_metric_drop=1")
    with pytest.raises(GateRefusedError, match="gives every one of 40 examples the same answer"):
        run(asked)


def test_a_length_dial_that_cannot_be_turned_is_compared_at_its_only_setting(tmp_path: Path) -> None:
    settings = ["task=text-classification", "export.dial=fixed", "export_each_stage=false"]
    outcome = run(request("length_adaptive", tmp_path, "device=raspberry_pi_4", *settings))
    parity = outcome.rows[-1].parity
    assert parity.cases and all("fixed" in case for case in parity.cases)
    assert parity.max_abs < 1e-3


def test_pairs_of_texts_are_read_one_by_one(tmp_path: Path) -> None:
    """`deformer` of a classifier, trained for int8 too: the halves are in the artifact and answer as the whole."""
    for part, numbers in (("train", range(20)), ("dev", range(20, 28))):
        rows = [f"the parcel number {n} came late,where is the parcel {n},delivery\n" for n in numbers]
        (tmp_path / f"{part}.csv").write_text("text,pair,label\n" + "".join(rows))
    data = [f"data.{part}={tmp_path / part}.csv" for part in ("train", "dev")]
    more = ["data.pair_column=pair", "recipe.stages.qat={max_steps: 1, after: deformer}"]
    asked = request("deformer", tmp_path / "out", "task=text-classification", "data=files", *data, *more)

    outcome = run(asked)

    predictor = Predictor(outcome.artifact, threads=1)
    halves = predictor.manifest.halves
    assert halves is not None and (halves.layers, halves.of_layers) == (3, 4)
    kept = predictor.read("where is the parcel 3")
    found, whole = predictor.ask(kept, "it came late"), predictor("it came late", pair="where is the parcel 3")
    assert found["label"] == whole["label"] and found["score"] == pytest.approx(whole["score"], abs=0.05)

import dataclasses
import json
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import helper, numpy_helper

from compressor.artifact import manifest as manifests
from compressor.artifact.manifest import Manifest
from compressor.artifact.predictor import Predictor
from compressor.artifact.verify import verify
from compressor.errors import ArtifactError


@pytest.fixture
def copy(artifacts, tmp_path) -> Path:
    shutil.copytree(artifacts["question-answering"], tmp_path / "artifact")
    return tmp_path / "artifact"


def edit(folder: Path, **changes) -> None:
    """Change entries of the manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace(folder: Path, name: str, data: bytes) -> None:
    """Change a file and give the manifest its new hash, as a careful forger would."""
    (folder / name).write_bytes(data)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit(folder, files={**files, name: manifests.sha256(folder / name)})


def change_graph(folder: Path, change) -> None:
    model = onnx.load(folder / "model.onnx")
    change(model)
    replace(folder, "model.onnx", model.SerializeToString())


def test_a_manifest_reads_back_as_it_was_written(artifacts):
    for folder in artifacts.values():
        manifest = manifests.read(folder)
        assert Manifest.from_json(manifest.to_json()) == manifest
        json.loads(manifest.to_json())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged: "),
        ("[" * 100_000, "is damaged: "),
        ("[]", "was not written by compressor"),
        ('{"format": 1}', "was not written by compressor"),
        ('{"format": 2, "request_key": "x"}', "has format 2, this version reads up to 1: install a newer compressor"),
        ('{"format": 1, "request_key": "x", "task": "chess"}', "is damaged: task is 'chess'"),
        ('{"format": 1, "request_key": "x", "task": "question-answering"}', "'files' is missing or not a mapping"),
    ],
)
def test_manifests_that_cannot_be_read(copy, text, message):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        verify(copy)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("request.recipe", "minilm", "'request.recipe' is missing or not a mapping"),
        ("request.data", None, "'request.data' is missing or not a mapping"),
        ("request.export", {}, "'request.export.parity_tolerance' is missing or not a number"),
        ("data", {}, "'data.fingerprints' is missing or not a mapping"),
        ("data.fingerprints", {"train": "0"}, "'data.fingerprints.dev' is missing or not a text"),
        ("preprocessing", {}, "'preprocessing.max_length' is missing or not a whole number"),
        ("preprocessing.doc_stride", "6", "'preprocessing.doc_stride' is missing or not a whole number"),
        ("decoding.n_best", True, "'decoding.n_best' is missing or not a whole number"),
        ("seed", "7", "'seed' = '7': Input should be a valid integer"),
        ("teacher", 3, "'teacher.metrics' is missing or not a mapping"),
        ("host", 3, "'host' = 3: Input should be an object"),
        ("metrics.f1", "good", "'metrics.f1' = 'good': Input should be a valid number"),
        ("files", {"model.onnx": 3}, "'files.model.onnx' = 3: Input should be a valid string"),
        ("dial.layers", "three", "'dial.layers' = 'three': Input should be a valid integer"),
        ("dial.layers", 4, "the dial's keep of '.*' is not a fraction for each of 4 layers"),
        ("dial.default", [1.0, 0.5], "the dial's default is not a fraction for each of 3 layers"),
        ("dial.settings", [{"name": "x", "keep": [1, 2, 3]}], "the dial's keep of 'x' is not a fraction for each of 3"),
        ("stages", [{"name": "x", "macs": "many"}], "'stages.0.macs' = 'many': Input should be a valid integer"),
    ],
)
def test_odd_entries_are_damage(copy, path, value, message):
    values = json.loads((copy / "manifest.json").read_text())
    *parents, last = path.split(".")
    entry = values
    for name in parents:
        entry = entry[name]
    entry[last] = value
    (copy / "manifest.json").write_text(json.dumps(values))
    for read in (verify, Predictor):
        with pytest.raises(ArtifactError, match=f"manifest.json is damaged: {message}"):
            read(copy)


def test_a_threshold_is_needed_for_several_labels(artifacts, tmp_path):
    shutil.copytree(artifacts["multi-label"], tmp_path / "artifact")
    edit(tmp_path / "artifact", decoding={})
    with pytest.raises(ArtifactError, match=r"'decoding\.threshold' is missing or not a number"):
        verify(tmp_path / "artifact")


@pytest.mark.parametrize("place", ["", "measurements.0", "stages.0", "dial", "dial.settings.0"])
def test_entries_that_a_newer_version_added_are_left_out(copy, place):
    before = verify(copy).manifest
    add(copy / "manifest.json", place)
    assert verify(copy).manifest == before


@pytest.mark.parametrize(
    ("place", "message"),
    [("seed", "'seed' is missing"), ("stages.0.name", "'stages.0.name' is missing"),
     ("dial.settings.0.keep", "'dial.settings.0.keep' is missing")],
)  # fmt: skip
def test_entries_that_are_missing_are_named(copy, place, message):
    *parents, last = place.split(".")
    values = json.loads((copy / "manifest.json").read_text())
    del entry_at(values, parents)[last]
    (copy / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=f"manifest.json is damaged: {message}"):
        verify(copy)


def entry_at(values, parents):
    """What lies at the end of a path of keys and numbers."""
    for name in parents:
        values = values[int(name) if name.isdigit() else name]
    return values


def add(file: Path, place: str) -> None:
    """Put an entry that nobody knows into a part of a manifest."""
    values = json.loads(file.read_text())
    entry_at(values, place.split(".") if place else [])["surprise"] = {"of": 1}
    file.write_text(json.dumps(values))


def test_undecodable_manifest_and_missing_folder(copy):
    (copy / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="cannot be read"):
        verify(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="has no manifest.json: it is not an artifact of ours"):
        verify(copy)
    with pytest.raises(ArtifactError, match="is not a folder"):
        verify(copy / "none")


def test_a_changed_missing_or_extra_file(copy):
    (copy / "notes.txt").write_text("mine")
    assert verify(copy).extra == ["notes.txt"]
    with (copy / "sample.py").open("a") as file:
        file.write("import os\n")
    with pytest.raises(ArtifactError, match="sample.py is not the file that was written"):
        verify(copy)
    (copy / "sample.py").unlink()
    with pytest.raises(ArtifactError, match="sample.py is missing"):
        verify(copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", ""])
def test_paths_cannot_leave_the_folder(copy, name):
    edit(copy, files={**json.loads((copy / "manifest.json").read_text())["files"], name: "0" * 64})
    with pytest.raises(ArtifactError, match="leaves the artifact's folder"):
        verify(copy)


def test_links_cannot_leave_the_folder(copy, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    (copy / "link").symlink_to(outside)
    files = json.loads((copy / "manifest.json").read_text())["files"]
    edit(copy, files={**files, "link": manifests.sha256(outside)})
    with pytest.raises(ArtifactError, match="is a link that leaves"):
        verify(copy)


def test_an_incomplete_list(copy):
    files = json.loads((copy / "manifest.json").read_text())["files"]
    del files["config.json"]
    edit(copy, files=files)
    with pytest.raises(ArtifactError, match="does not list config.json"):
        verify(copy)


def test_a_config_without_a_number(artifacts, tmp_path):
    folder = tmp_path / "numbers"
    shutil.copytree(artifacts["text-regression"], folder)
    config = json.loads((folder / "config.json").read_text())
    for wrong in ({"problem_type": None}, {"id2label": {"0": "a", "1": "b"}}):
        replace(folder, "config.json", json.dumps({**config, **wrong}).encode())
        with pytest.raises(ArtifactError, match="does not say that the model gives one number"):
            verify(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "config.json is damaged"), ('{"model_type": "compressor"}', "does not name a stock model type")],
)
def test_wrong_configs(copy, text, message):
    replace(copy, "config.json", text.encode())
    with pytest.raises(ArtifactError, match=message):
        verify(copy)


def test_labels_must_agree(artifacts, tmp_path):
    folder = tmp_path / "artifact"
    shutil.copytree(artifacts["text-classification"], folder)
    edit(folder, labels=["good", "bad", "long"])
    with pytest.raises(ArtifactError, match="have different labels"):
        verify(folder)


def test_graphs_that_are_no_graphs(copy):
    replace(copy, "model.onnx", b"\x00\x01")
    with pytest.raises(ArtifactError, match="model.onnx is not a valid ONNX graph"):
        verify(copy)


def test_graphs_of_another_request_or_task(copy):
    edit(copy, request_key="another")
    with pytest.raises(ArtifactError, match="says recipe_hash = 'kkkkkkkk', manifest.json says 'another'"):
        verify(copy)


def test_another_dial_than_the_manifest_says(copy):
    def other_default(model):
        for tensor in model.graph.initializer:
            if tensor.name == "keep":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 0.9, "keep"))

    change_graph(copy, other_default)
    with pytest.raises(ArtifactError, match="has another default of the length dial"):
        verify(copy)


def test_weights_in_other_files_are_refused(copy):
    def outside(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "../../secret"

    change_graph(copy, outside)
    with pytest.raises(ArtifactError, match="keeps the weights 'table' in another file"):
        verify(copy)


def test_a_graph_that_does_not_run(copy):
    def unknown_operator(model):
        model.opset_import.append(helper.make_opsetid("nobody.knows", 1))
        model.graph.node[0].domain = "nobody.knows"
        model.graph.node[0].op_type = "Guess"

    change_graph(copy, unknown_operator)
    with pytest.raises(ArtifactError, match="does not run"):
        verify(copy)


def test_a_graph_with_outputs_of_another_shape(copy):
    def other_output(model):
        del model.graph.output[1]

    change_graph(copy, other_output)
    with pytest.raises(ArtifactError, match="does not give 'end_logits' of the shape"):
        verify(copy)


def test_a_graph_that_overflows(copy):
    def infinite(model):
        for tensor in model.graph.initializer:
            if tensor.name == "zero":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + float("nan"), "zero"))

    change_graph(copy, infinite)
    with pytest.raises(ArtifactError, match="gives infinite or undefined 'start_logits'"):
        verify(copy)


def test_titles(parts):
    manifest = parts["fixed"].manifest
    assert manifest.title == "tiny for question-answering on host"
    assert dataclasses.replace(manifest, metrics={}).metric_name == "metric"

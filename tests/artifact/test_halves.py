"""An artifact whose model reads a text once: `read` and `ask` beside the whole model, and what is refused."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from transformers import BertConfig

from compressor.artifact import config as artifact_config
from compressor.artifact import manifest as manifests
from compressor.artifact.predictor import Predictor
from compressor.artifact.verify import verify
from compressor.errors import ArtifactError, ExportError, RequestError
from compressor.graph.export import export
from compressor.graph.halves import LOWER, UPPER, cut
from compressor.halves import first_tokens
from compressor.models import checkpoint as checkpoints
from compressor.models.kinds.split_layers import make_split_layers
from compressor.models.structure import SplitLayers
from compressor.stages.context import Checkpoint
from compressor.tasks.examples import QuestionExample, TextExample
from compressor.validation.halves import HalvesCheck, compare_halves, require_same

from .conftest import WORDS, Parts, make_tokenizer

SPLIT = SplitLayers(layers=2, second_position=12)
CONTEXT = "it was written by ada in london ."
LONG = "the film was bad , " * 9 + "ada lived in paris ."


def split_parts(parts: Parts, folder: Path) -> tuple[Parts, dict[str, Any]]:
    """The same artifact around a random BERT that keeps texts apart, exported and cut."""
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.5,
    ).to_dict()  # fmt: skip
    model = checkpoints.build(config, parts.task, seed=3)
    model.config.sep_token_id = 3
    checkpoint = Checkpoint(folder / "checkpoint", "key")
    checkpoints.save(make_split_layers(model, SPLIT), make_tokenizer(), checkpoint.path)
    export(checkpoint, parts.task, folder / "graph.onnx", opset=17, dial="optional")
    halves = cut(folder / "graph.onnx", folder, layers=2, width=32)
    room = parts.task.max_length - 3
    entry = manifests.Halves(
        layers=2, of_layers=3, separator=3, max_abs=0.0, same=1.0, examples=4,
        first_tokens=first_tokens(SPLIT, room, getattr(parts.task, "doc_stride", 0)),
    )  # fmt: skip
    made = dataclasses.replace(
        parts,
        model=folder / "graph.onnx",
        config=artifact_config.stock_config(checkpoints.read_config(checkpoint.path), parts.task),
        tokenizer=checkpoint.path,
        manifest=dataclasses.replace(parts.manifest, halves=entry, dial=None),
    )
    return made, {"halves": halves}


@pytest.fixture(scope="module")
def folders(parts, tmp_path_factory) -> dict[str, Path]:
    """A written artifact for each task that can have two texts."""
    found = {}
    for name in ("question-answering", "text-classification", "text-regression"):
        folder = tmp_path_factory.mktemp(name)
        made, more = split_parts(parts[name], folder)
        made.write(folder / "artifact", **more)
        found[name] = folder / "artifact"
    return found


def test_a_context_is_read_once_and_gives_the_answers_of_the_whole_model(folders):
    predictor = Predictor(folders["question-answering"], threads=1)
    kept = predictor.read(CONTEXT)
    assert kept.size_bytes == 4 * 32 * (len(CONTEXT.split()) + 1)
    questions = ["who wrote it ?", "who ?", "was it bad , or fine ?"]
    for question, found in zip(questions, predictor.ask(kept, questions), strict=True):
        expected = predictor(question=question, context=CONTEXT)
        assert {**found, "score": 0} == {**expected, "score": 0}
        assert found["score"] == pytest.approx(expected["score"], abs=1e-4)
    assert predictor.ask(kept, "who ?") == predictor.ask(kept, ["who ?"])[0]


def test_a_long_context_is_read_in_windows_that_leave_room_for_any_question(folders):
    predictor = Predictor(folders["question-answering"], threads=1, batch_size=2)
    kept = predictor.read(LONG)
    lengths = [len(row["states"]) for row in kept.read["rows"]]
    limit, longest = predictor.manifest.halves.first_tokens, 32
    assert len(lengths) > 2 and max(lengths) + limit + 2 == longest
    for question in ("who ?", "who wrote it ? " * 12):  # the second is cut
        found = predictor.ask(kept, question)
        assert found["answer"] == LONG[found["start"] : found["end"]] and 0 < found["score"] <= 1
    whole, short = (Predictor(folders["question-answering"], threads=1, batch_size=size) for size in (8, 1))
    assert whole.ask(kept, "who ?")["start"] == short.ask(kept, "who ?")["start"]


def test_pairs_of_texts_too(folders):
    for name, key in (("text-classification", "scores"), ("text-regression", "score")):
        predictor = Predictor(folders[name], threads=1)
        kept = predictor.read("ada lived in paris .")
        expected, found = predictor("a fine film", pair="ada lived in paris ."), predictor.ask(kept, "a fine film")
        assert found.keys() == expected.keys()
        assert found[key] == pytest.approx(expected[key], abs=1e-4)


def test_the_sample_reads_first_where_it_is_asked_to(folders):
    folder = folders["question-answering"]
    words = [sys.executable, "sample.py", "--question", "who wrote it ?", "--context", CONTEXT]
    both = [subprocess.check_output([*words, *more], cwd=folder, text=True) for more in ([], ["--read"])]
    first, second = (json.loads(text) for text in both)
    assert first["answer"] == second["answer"] and first["score"] == pytest.approx(second["score"], abs=1e-4)


def test_what_is_no_text_and_an_artifact_without_halves(folders, artifacts):
    with pytest.raises(RequestError, match="reads both texts together, so that it can read none before: make one with"):
        Predictor(artifacts["text-classification"], threads=1).read(CONTEXT)
    predictor = Predictor(folders["question-answering"], threads=1)
    for wrong in (None, 3, ["a"]):
        with pytest.raises(RequestError, match="read needs a text, not"):
            predictor.read(wrong)
    with pytest.raises(RequestError, match="ask needs a text, or a list of texts, not None"):
        predictor.ask(predictor.read(CONTEXT), None)


def test_card_and_manifest_tell_how_and_the_files_are_checked(folders, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(folders["question-answering"], folder)
    manifest = verify(folder).manifest
    assert manifest.halves.sizes == {name: (folder / name).stat().st_size for name in (LOWER, UPPER)}
    card = (folder / "README.md").read_text()
    assert "## A context that is read once" in card and "In the lower 2 of 3 layers question and context" in card
    swapped = onnx.load(folder / UPPER)
    onnx.save(swapped, folder / LOWER)
    _relist(folder)
    with pytest.raises(ArtifactError, match=r"lower.onnx is no half of .*model.onnx: its inputs are other ones"):
        verify(folder)
    (folder / LOWER).unlink()
    values = json.loads((folder / "manifest.json").read_text())
    del values["files"][LOWER]
    (folder / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=r"does not list lower.onnx: the artifact is incomplete"):
        verify(folder)


def _relist(folder: Path) -> None:
    """Give the manifest the hashes of the files as they are now."""
    values = json.loads((folder / "manifest.json").read_text())
    values["files"] = {name: manifests.sha256(folder / name) for name in values["files"]}
    (folder / "manifest.json").write_text(json.dumps(values))


def test_halves_are_held_against_the_whole(parts, tmp_path):
    made, more = split_parts(parts["question-answering"], tmp_path)
    tokenizer = make_tokenizer()
    examples = [QuestionExample("a", "who wrote it ?", CONTEXT), QuestionExample("b", "who ?", LONG)]
    check = compare_halves(made.model, more["halves"], made.task, tokenizer, examples)
    assert check.max_abs < 1e-4 and (check.same, check.examples) == (1.0, 2)
    other = onnx.load(more["halves"].upper)
    name = next(tensor.name for tensor in other.graph.initializer if "qa_outputs.bias" in tensor.name)
    tensor = next(tensor for tensor in other.graph.initializer if tensor.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([0.5, 0.0], np.float32), name))
    onnx.save(other, more["halves"].upper)
    wrong = compare_halves(made.model, more["halves"], made.task, tokenizer, examples)
    assert wrong.max_abs == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(ExportError, match=r"together differ from it by 0.5, more than parity_tolerance = 0.001"):
        require_same(wrong, 1e-3)
    with pytest.raises(ExportError, match="no pair of texts in the held-out data"):
        compare_halves(made.model, more["halves"], parts["text-classification"].task, tokenizer, [TextExample("ada")])
    with pytest.raises(ExportError, match="differ from it by nan"):
        require_same(HalvesCheck(float("nan"), 1.0, 1), 1e-3)


@pytest.mark.parametrize(
    ("room", "stride", "second", "most"), [(381, 128, 64, 62), (29, 6, 12, 10), (29, 20, 64, 1), (100, 0, 512, 50)]
)
def test_how_long_a_first_text_may_be(room, stride, second, most):
    assert first_tokens(SplitLayers(layers=1, second_position=second), room, stride) == most

"""Artifacts of really exported models: what others make of the folder."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from optimum.onnxruntime import (
    ORTModelForQuestionAnswering,
    ORTModelForSequenceClassification,
    ORTModelForTokenClassification,
)
from tokenizers import Tokenizer
from transformers import BertConfig, pipeline

from compressor.artifact import config as artifact_config
from compressor.artifact.dial_table import make_dial
from compressor.artifact.predictor import Predictor
from compressor.artifact.verify import verify
from compressor.devices.outputs import run_features
from compressor.errors import ArtifactError
from compressor.graph import dial as dials
from compressor.graph.export import export
from compressor.models import checkpoint as checkpoints
from compressor.models.structure import MODEL_TYPE, LengthAdaptive
from compressor.stages.context import Checkpoint
from compressor.tasks.examples import QuestionExample
from compressor.validation import parity
from compressor.validation.metric import evaluate

from .conftest import WORDS, Parts, make_tokenizer
from .test_predictor import CPU

CLASSES = {
    "question-answering": ORTModelForQuestionAnswering,
    "text-classification": ORTModelForSequenceClassification,
    "text-regression": ORTModelForSequenceClassification,
    "token-classification": ORTModelForTokenClassification,
}
CONTEXTS = ["it was written by ada in london .", "the film was bad , " * 9 + "ada lived in paris ."]
EXAMPLES = [
    QuestionExample(id=str(place), question="who wrote it ?", context=context) for place, context in enumerate(CONTEXTS)
]
ADAPTIVE = LengthAdaptive(keep=[0.9, 0.6])


def export_parts(parts: Parts, folder: Path, *, adaptive: bool) -> tuple[Parts, Checkpoint]:
    """The same artifact around a random two-layer BERT, exported."""
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.5,
    ).to_dict()  # fmt: skip
    if adaptive:
        config["compressor"] = {
            "base_model_type": "bert",
            "structure": {"length_adaptive": dataclasses.asdict(ADAPTIVE)},
        }
        config["model_type"] = MODEL_TYPE
    torch.set_num_threads(1)
    model = checkpoints.build(config, parts.task, seed=3)
    checkpoint = Checkpoint(folder / "checkpoint", "key")
    checkpoints.save(model, make_tokenizer(), checkpoint.path)
    export(checkpoint, parts.task, folder / "graph.onnx", opset=17, dial="optional")
    dial = make_dial(kind="optional", default=ADAPTIVE.keep, minimum=ADAPTIVE.minimum) if adaptive else None
    return dataclasses.replace(
        parts,
        model=folder / "graph.onnx",
        config=artifact_config.stock_config(checkpoints.read_config(checkpoint.path), parts.task),
        tokenizer=checkpoint.path,
        manifest=dataclasses.replace(parts.manifest, dial=dial),
    ), checkpoint


@pytest.fixture(scope="module")
def adaptive(parts, tmp_path_factory) -> tuple[Parts, Checkpoint, Path]:
    folder = tmp_path_factory.mktemp("adaptive")
    made, checkpoint = export_parts(parts["question-answering"], folder, adaptive=True)
    made.write(folder / "artifact")
    return made, checkpoint, folder / "artifact"


def test_a_length_adaptive_artifact_verifies_and_runs_in_optimum_and_pipeline(adaptive):
    made, _, folder = adaptive
    assert verify(folder).manifest.dial.default == [0.9, 0.6]
    model = ORTModelForQuestionAnswering.from_pretrained(folder)
    tokenizer = checkpoints.load_tokenizer(folder)
    assert tokenizer.model_max_length == made.manifest.preprocessing["max_length"]
    inputs = tokenizer(["who wrote it ?"] * 2, CONTEXTS, return_tensors="pt", padding=True, truncation=True)
    found = model(**inputs)
    row = {name: values[0, : int(inputs["attention_mask"][0].sum())].tolist() for name, values in inputs.items()}
    alone = model(**tokenizer("who wrote it ?", CONTEXTS[0], return_tensors="pt")).start_logits[0].numpy()
    from compressor.tasks.base import Feature

    ours = run_features(folder / "model.onnx", CPU, [Feature(row, {}, 0)])[0]["start_logits"]
    np.testing.assert_allclose(alone, ours, atol=1e-5)
    assert found.start_logits.shape == inputs["input_ids"].shape
    answer = pipeline("question-answering", model=model, tokenizer=tokenizer)(
        question="who wrote it ?", context=CONTEXTS[0]
    )
    assert answer["answer"] in CONTEXTS[0]


def test_predictor_answers_as_the_task_at_every_dial_setting(adaptive):
    made, _, folder = adaptive
    predictor = Predictor(folder, threads=1, batch_size=1)
    tokenizer = checkpoints.load_tokenizer(made.tokenizer)
    items = [{"question": example.question, "context": example.context} for example in EXAMPLES]
    for keep in (None, [1.0, 1.0], [0.5, 0.2]):
        expected = evaluate(folder / "model.onnx", made.task, EXAMPLES, tokenizer, CPU, keep, batch_size=1)
        assert [entry["answer"] for entry in predictor(items, keep=keep)] == expected.predictions
        assert expected.windows > len(EXAMPLES)


def test_an_old_teacher_with_a_vocabulary_alone_gets_a_tokenizer_file(tmp_path):
    source, target = tmp_path / "old", tmp_path / "new"
    source.mkdir()
    target.mkdir()
    (source / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (source / "config.json").write_text(json.dumps(BertConfig(vocab_size=len(WORDS)).to_dict()))
    (source / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": 64}))
    artifact_config.copy_tokenizer(source, target, 48)
    assert json.loads((target / "tokenizer_config.json").read_text())["model_max_length"] == 48
    assert Tokenizer.from_file(str(target / "tokenizer.json")).encode("Ada").ids == [2, WORDS.index("ada"), 3]
    assert str(tmp_path) not in "".join(path.read_text() for path in target.iterdir())
    (source / "config.json").unlink()
    with pytest.raises(ArtifactError, match="has no tokenizer.json"):
        artifact_config.copy_tokenizer(source, target, 48)


def test_parity_of_the_real_export(adaptive):
    made, checkpoint, _ = adaptive
    tokenizer = checkpoints.load_tokenizer(checkpoint.path)
    found = parity.compare(checkpoint, made.model, made.task, tokenizer, EXAMPLES)
    assert found.max_abs < 1e-3 and found.ties == 0
    assert any("slope" in case for case in found.cases) and any("padded left" in case for case in found.cases)


def test_parity_sees_other_weights(adaptive, parts, tmp_path):
    made, checkpoint, _ = adaptive
    model = checkpoints.load(checkpoint.path, made.task)
    with torch.no_grad():
        model.qa_outputs.weight.mul_(1.01)
    tokenizer = checkpoints.load_tokenizer(checkpoint.path)
    checkpoints.save(model, tokenizer, tmp_path)
    assert parity.compare(tmp_path, made.model, made.task, tokenizer, EXAMPLES).max_abs > 1e-3


def test_the_default_of_the_file_is_that_of_the_manifest(adaptive):
    _, _, folder = adaptive
    np.testing.assert_allclose(dials.default(folder / "model.onnx"), ADAPTIVE.keep, rtol=1e-6)


def test_a_number_is_that_of_optimum_and_of_the_pipeline(parts, tmp_path):
    made, _ = export_parts(parts["text-regression"], tmp_path, adaptive=False)
    made.write(tmp_path / "artifact")
    model = ORTModelForSequenceClassification.from_pretrained(tmp_path / "artifact")
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")
    tokenizer = checkpoints.load_tokenizer(made.tokenizer)
    ours = Predictor(tmp_path / "artifact", threads=1)("a fine film", pair="a bad film")["score"]
    assert not 0 <= ours <= 1  # or a sigmoid would not show
    theirs = model(**tokenizer("a fine film", "a bad film", return_tensors="pt")).logits
    assert theirs.shape == (1, 1) and theirs.item() == pytest.approx(ours, abs=1e-5)
    run = pipeline("text-classification", model=model, tokenizer=tokenizer)
    assert run({"text": "a fine film", "text_pair": "a bad film"})["score"] == pytest.approx(ours, abs=1e-5)
    card = (tmp_path / "artifact" / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and 'pipeline("text-classification"' in card
    assert "The teacher's number to within" in card


@pytest.mark.parametrize("key", ["text-classification", "token-classification"])
def test_stock_artifacts_run_in_pipeline(parts, tmp_path, key):
    made, _ = export_parts(parts[key], tmp_path, adaptive=False)
    made.write(tmp_path / "artifact")
    model = CLASSES[key].from_pretrained(tmp_path / "artifact")
    tokenizer = checkpoints.load_tokenizer(made.tokenizer)
    text = "ada wrote a fine film ."
    found = pipeline(key, model=model, tokenizer=tokenizer)(text)
    ours = Predictor(tmp_path / "artifact", threads=1)(text)
    if key == "text-classification":
        assert found[0]["label"] == ours["label"]
        assert found[0]["score"] == pytest.approx(ours["score"], abs=1e-5)
    else:
        assert {entry["entity"] for entry in found} <= set(made.task.labels)
        tags = {entry["start"]: entry["entity"] for entry in found}
        assert [tags.get(word["start"], "O") for word in ours["words"]] == [word["tag"] for word in ours["words"]]

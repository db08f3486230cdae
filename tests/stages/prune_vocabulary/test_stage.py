"""A smaller vocabulary: texts that were counted are cut and answered as before, others by the pieces that are left."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from compressor.config.schema import parse
from compressor.errors import CheckpointError, DataError, RequestError
from compressor.graph.export import export
from compressor.models import checkpoint as checkpoints
from compressor.request import build
from compressor.stages.context import Checkpoint, StageContext
from compressor.stages.prune_vocabulary import stage
from compressor.stages.prune_vocabulary.counting import texts_of
from compressor.stages.prune_vocabulary.pieces import vocabulary, with_makers
from compressor.stages.prune_vocabulary.settings import PruneVocabularySettings
from compressor.stages.prune_vocabulary.shape import shape
from compressor.stages.registry import stage_spec
from compressor.tasks.examples import QuestionExample, TextExample, TokenExample
from compressor.training import predict
from tests.models.test_widths import run as run_graph
from tests.stages.distill.conftest import make_context, tiny_task
from tests.stages.prune_vocabulary.conftest import KINDS, OTHER, SEEN, make_reader

TASK = tiny_task("text-classification")


def context_of(folder: Path, teacher: Checkpoint, texts: list[str] = SEEN) -> StageContext:
    context = make_context(folder, TASK, teacher)
    train = [TextExample(text, labels=("red",)) for text in texts]
    return dataclasses.replace(context, data=dataclasses.replace(context.data, train=train))


def pruned(folder: Path, kind: str, **chosen: Any) -> tuple[Checkpoint, Checkpoint]:
    source = make_reader(folder / "source", TASK, kind)
    return source, stage.run(source, PruneVocabularySettings(**chosen), context_of(folder, source))


def answers(checkpoint: Checkpoint, texts: list[str]) -> np.ndarray:
    tokenizer = checkpoints.load_tokenizer(checkpoint.path)
    features = TASK.features([TextExample(text) for text in texts], tokenizer, labelled=False)
    rows = predict(checkpoints.load(checkpoint.path, TASK), features, tokenizer, 2)
    return np.stack([row["logits"] for row in rows])


@pytest.mark.parametrize("kind", KINDS)
def test_the_texts_counted_are_cut_and_answered_as_before(tmp_path: Path, kind: str) -> None:
    source, result = pruned(tmp_path, kind)
    before, after = (checkpoints.load_tokenizer(one.path) for one in (source, result))
    assert len(after) < len(before)
    for text in SEEN:
        assert after.convert_ids_to_tokens(after(text).input_ids) == before.convert_ids_to_tokens(
            before(text).input_ids
        )
        pair = after(text, SEEN[0])
        assert after.convert_ids_to_tokens(pair.input_ids) == before.convert_ids_to_tokens(
            before(text, SEEN[0]).input_ids
        )
    np.testing.assert_allclose(answers(result, SEEN), answers(source, SEEN), atol=1e-5)
    assert before.special_tokens_map == after.special_tokens_map


@pytest.mark.parametrize("kind", KINDS)
def test_others_fall_back_to_shorter_pieces(tmp_path: Path, kind: str) -> None:
    source, result = pruned(tmp_path, kind)
    before, after = (checkpoints.load_tokenizer(one.path) for one in (source, result))
    longer = 0
    for text in OTHER:
        assert after.unk_token_id not in after(text).input_ids
        longer += len(after(text).input_ids) > len(before(text).input_ids)
        assert after.decode(after(text).input_ids, skip_special_tokens=True) == before.decode(
            before(text).input_ids, skip_special_tokens=True
        )
    assert longer


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_stock(tmp_path: Path, kind: str) -> None:
    _, result = pruned(tmp_path, kind)
    config = checkpoints.read_config(result.path)
    tokenizer = AutoTokenizer.from_pretrained(result.path)
    model: Any = AutoModelForSequenceClassification.from_pretrained(result.path).eval()
    assert model.get_input_embeddings().num_embeddings == config["vocab_size"] == len(tokenizer)
    assert config["pad_token_id"] == tokenizer.pad_token_id
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    with torch.no_grad():
        found = model(**tokenizer(SEEN[0], return_tensors="pt", return_token_type_ids=kind != "BPE")).logits
    np.testing.assert_allclose(found[0], answers(result, SEEN[:1])[0], atol=1e-5)


def test_vocab_txt_shrinks_too(tmp_path: Path) -> None:
    _, result = pruned(tmp_path, "WordPiece")
    tokenizer = checkpoints.load_tokenizer(result.path)
    written = (result.path / "vocab.txt").read_text().split()
    assert {piece: index for index, piece in enumerate(written)} == tokenizer.get_vocab()


def test_less_coverage_and_a_size_keep_fewer(tmp_path: Path) -> None:
    sizes = []
    for number, chosen in enumerate(({}, {"coverage": 0.7}, {"coverage": 0.01})):
        _, result = pruned(tmp_path / str(number), "WordPiece", **chosen)
        sizes.append(checkpoints.read_config(result.path)["vocab_size"])
    assert sizes[0] > sizes[1] > sizes[2]
    least = sizes[2]  # what must stay covers that much by itself
    _, result = pruned(tmp_path / "size", "WordPiece", size=least + 5)
    assert checkpoints.read_config(result.path)["vocab_size"] == least + 5
    with pytest.raises(RequestError, match=f"size {least - 1} is too small: {least} pieces must stay"):
        pruned(tmp_path / "small", "WordPiece", size=least - 1)
    _, result = pruned(tmp_path / "merged", "BPE", size=300)
    tokenizer = checkpoints.load_tokenizer(result.path)
    assert len(tokenizer) <= 300
    assert tokenizer.decode(tokenizer(OTHER[0]).input_ids, skip_special_tokens=True) == OTHER[0]


def test_a_list_and_further_texts(tmp_path: Path) -> None:
    (tmp_path / "keep").write_bytes(b"the\r\nfox\n")
    source, result = pruned(tmp_path, "WordPiece", keep_file=str(tmp_path / "keep"))
    known = checkpoints.load_tokenizer(result.path).get_vocab()
    assert {"the", "fox"} <= known.keys()
    assert "walk" not in known
    (tmp_path / "keep").write_text("the\nzebra\n")
    with pytest.raises(RequestError, match="lists 1 pieces that the tokenizer does not have, first 'zebra'"):
        pruned(tmp_path / "unknown", "WordPiece", keep_file=str(tmp_path / "keep"))
    (tmp_path / "texts.txt").write_text("\n".join(OTHER))
    _, result = pruned(tmp_path / "more", "WordPiece", texts=str(tmp_path / "texts.txt"))
    before, after = (checkpoints.load_tokenizer(one.path) for one in (source, result))
    for text in OTHER:
        assert after.tokenize(text) == before.tokenize(text)
    with pytest.raises(DataError, match="does not exist"):
        pruned(tmp_path / "missing", "WordPiece", texts=str(tmp_path / "nothing.txt"))


def test_it_exports(tmp_path: Path) -> None:
    _, result = pruned(tmp_path, "WordPiece")
    export(result, TASK, tmp_path / "graph.onnx", opset=17, dial="fixed")
    batch = checkpoints.load_tokenizer(result.path)(SEEN, padding=True, return_tensors="pt")
    found = run_graph(tmp_path / "graph.onnx", batch.input_ids, batch.attention_mask)[0]
    np.testing.assert_allclose(found, answers(result, SEEN), atol=1e-4)


def test_a_head_of_a_language_model_shrinks_along(tmp_path: Path) -> None:
    source = make_reader(tmp_path / "source", TASK, "WordPiece")
    from safetensors.torch import load_file, save_file

    weights = load_file(source.path / "model.safetensors")
    rows = weights["bert.embeddings.word_embeddings.weight"]
    weights["cls.predictions.decoder.weight"] = rows.clone()
    save_file(weights, source.path / "model.safetensors")
    result = stage.run(source, PruneVocabularySettings(), context_of(tmp_path, source))
    after = load_file(result.path / "model.safetensors")
    assert torch.equal(after["cls.predictions.decoder.weight"], after["bert.embeddings.word_embeddings.weight"])


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="coverage and size contradict each other"):
        PruneVocabularySettings(coverage=0.5, size=4)
    with pytest.raises(RequestError, match="coverage"):
        parse(PruneVocabularySettings, {"coverage": 1.5}, where="test")
    with pytest.raises(RequestError, match="keep_file counts nothing"):
        PruneVocabularySettings(keep_file="a", texts="b")
    with pytest.raises(RequestError, match="size 40 prunes nothing: the model has 39 pieces"):
        shape({"vocab_size": 39}, {}, PruneVocabularySettings(size=40))
    assert shape({"vocab_size": 39}, {}, PruneVocabularySettings(size=30)) == {"vocab_size": 30}
    source = make_reader(tmp_path / "source", TASK, "WordPiece")
    small = checkpoints.read_config(source.path) | {"vocab_size": 38}
    with pytest.raises(CheckpointError, match=r"is number \d+, and the model has 38 embeddings"):
        stage._check_rows(json.loads(checkpoints.load_tokenizer(source.path).backend_tokenizer.to_str()), small)
    with pytest.raises(DataError, match="no text to count"):
        stage.run(source, PruneVocabularySettings(), context_of(tmp_path, source, []))
    with pytest.raises(CheckpointError, match="the tokenizer's model is Strange"):
        vocabulary({"model": {"type": "Strange"}, "added_tokens": []})


def test_a_lost_special_token_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_reader(tmp_path / "source", TASK, "WordPiece")
    whole = stage.smaller

    def careless(spec: Any, pieces: Any) -> dict[str, Any]:
        result = whole(spec, pieces)
        result["model"]["vocab"] = {p: i for p, i in result["model"]["vocab"].items() if p != "[MASK]"}
        result["added_tokens"] = [token for token in result["added_tokens"] if token["content"] != "[MASK]"]
        return result

    monkeypatch.setattr(stage, "smaller", careless)
    with pytest.raises(CheckpointError, match=r"'\[MASK\]' was lost"):
        stage.run(source, PruneVocabularySettings(), context_of(tmp_path, source))


def test_pieces_bring_what_they_are_merged_from() -> None:
    assert with_makers(["abc"], {"abc": {"ab", "c"}, "ab": {"a", "b"}, "xy": {"x", "y"}}) == {
        "abc",
        "ab",
        "a",
        "b",
        "c",
    }


def test_texts_of_every_kind_of_example() -> None:
    examples = [QuestionExample("1", " why? ", "so"), TextExample("a", "b"), TokenExample(("x", "y"), ("O", "O"))]
    assert list(texts_of(examples)) == ["why?", "so", "a", "b", "x y"]


def test_it_is_light_and_registered() -> None:
    spec = stage_spec("prune_vocabulary")
    assert spec.load_settings() is PruneVocabularySettings
    config = json.loads(json.dumps({"vocab_size": 10}))
    assert spec.load_shape()(config, {}, PruneVocabularySettings()) == config


def test_listed_pieces_need_no_training_data() -> None:
    spec = stage_spec("prune_vocabulary")
    assert spec.parts_read(PruneVocabularySettings(keep_file="pieces.txt")) == ()
    assert spec.parts_read(PruneVocabularySettings(texts="texts.txt")) == ("train",)  # both are counted


def test_the_smallest_recipe_trains_away_what_pieces_cost() -> None:
    asked = build(["recipe=smallest"])
    assert [entry.key for entry in asked.stages] == ["prune_vocabulary", "prune_widths", "distill"]
    assert (asked.gates.max_size_mb, asked.gates.max_metric_drop) == (5, 3)

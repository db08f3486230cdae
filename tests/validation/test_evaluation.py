from types import SimpleNamespace

import numpy as np
import pytest

from compressor.config.device import DeviceProfile, Provider
from compressor.config.run import FeatureSettings
from compressor.errors import DataError, DeviceError, ExportError
from compressor.tasks import make_task
from compressor.tasks.base import Feature
from compressor.tasks.examples import TextExample
from compressor.validation import metric, parity

from .conftest import TABLE, make_classifier

PROFILE = DeviceProfile(name="cpu", description="", providers=[Provider(name="CPUExecutionProvider")], threads=1)
LABELS = ("a", "b", "c")
TOKENIZER = SimpleNamespace(pad_token_id=0)


def rows(lengths, seed=0):
    random = np.random.default_rng(seed)
    return [
        Feature({"input_ids": random.integers(1, 40, n).tolist(), "attention_mask": [1] * n}, {}, place)
        for place, n in enumerate(lengths)
    ]


@pytest.fixture
def task():
    return make_task("text-classification", FeatureSettings(), LABELS)


def test_metric_of_the_file_is_that_of_its_logits(classifier, task):
    features = rows([3, 1, 9, 3, 3, 5, 2])  # as many labels as tokens in some rows: no output is cut
    logits = [TABLE[row.inputs["input_ids"]].sum(axis=0) for row in features]
    best = [LABELS[int(row.argmax())] for row in logits]
    truth = [best[0], best[1], "a", best[3], "b", best[5], "c"]
    examples = [TextExample("x", labels=(label,)) for label in truth]
    found = metric.evaluate(classifier, task, examples, TOKENIZER, PROFILE, features=features, batch_size=3)
    assert found.predictions == best
    right = [first == second for first, second in zip(truth, best, strict=True)]
    assert found.metrics["accuracy"] == pytest.approx(100 * np.mean(right))
    assert found.primary == found.metrics["accuracy"]
    np.testing.assert_array_equal(found.example_scores, 100.0 * np.array(right))
    assert found.windows == 7


def test_graphs_that_cannot_be_scored(tmp_path, classifier, task):
    examples = [TextExample("x", labels=("a",))]
    with pytest.raises(DataError, match="no example to evaluate on"):
        metric.evaluate(classifier, task, [], TOKENIZER, PROFILE)
    other = make_classifier(tmp_path / "other.onnx", output="scores")
    with pytest.raises(DeviceError, match="has no output 'logits', so it is not a graph for text-classification"):
        metric.evaluate(other, task, examples, TOKENIZER, PROFILE, features=rows([3]))
    overflow = make_classifier(tmp_path / "overflow.onnx", table=np.full((40, 3), np.inf, np.float32))
    with pytest.raises(DeviceError, match="infinite or undefined 'logits' for 1 of 1 rows"):
        metric.evaluate(overflow, task, examples, TOKENIZER, PROFILE, features=rows([3]))


def reference(batch, keep):
    real = TABLE[batch["input_ids"]] * batch["attention_mask"][..., None]
    scale = 1.0 if keep is None else float(np.mean(keep))
    return {"logits": real.sum(axis=1) * scale}


def test_parity_of_a_faithful_graph(classifier, task):
    found = parity.compare_models(
        reference, parity._graph_runner(classifier, task), task, parity._spread(rows(range(1, 30))), {"": None}
    )
    assert found.max_abs < 1e-5 and found.mean_abs <= found.max_abs and found.ties == 0
    assert found.rows == 3 + 5 + 5 + 1 + 2  # three single rows, two batches, one token, two of three real
    assert len(found.cases) == 7


def test_parity_finds_a_graph_that_is_wrong_only_for_left_padding(task):
    def wrong(batch, keep):
        mask = batch["attention_mask"]
        shifted = mask * (np.arange(mask.shape[1]) < mask.sum(axis=1, keepdims=True))
        return reference({**batch, "attention_mask": shifted}, keep)

    found = parity.compare_models(reference, wrong, task, rows([2, 5, 9]), {"": None})
    assert found.max_abs > 0.1
    worst = max(found.cases, key=found.cases.get)
    assert "padded left" in worst


def test_parity_of_undefined_numbers_is_infinite(task):
    def broken(batch, keep):
        return {"logits": reference(batch, keep)["logits"] * np.nan}

    assert parity.compare_models(reference, broken, task, rows([2, 5]), {"": None}).max_abs == float("inf")


def test_rare_ties_at_dropped_tokens_are_counted_and_left_out(task):
    keeps = {"all tokens": [1.0, 1.0], "half": [0.5, 0.5], "slope": [0.9, 0.2], "low": [0.3, 0.2]}
    calls = []

    def flips(wanted):
        def run(batch, keep):
            calls.append(keep)
            found = reference(batch, keep)["logits"].copy()
            if len(calls) in wanted:
                found[0] += 0.5
            return {"logits": found}

        return run

    features = rows([2, 5, 9, 12])
    rare = parity.compare_models(reference, flips({9}), task, features, keeps)
    assert rare.max_abs < 1e-6 and rare.ties == 1
    calls.clear()
    often = parity.compare_models(reference, flips(set(range(8, 20))), task, features, keeps)
    assert often.max_abs == pytest.approx(0.5) and often.ties == 0
    calls.clear()
    full = parity.compare_models(reference, flips({2}), task, features, keeps)
    assert full.max_abs == pytest.approx(0.5) and full.ties == 0  # nothing is dropped there, so it is no tie


def test_graphs_that_cannot_be_compared(tmp_path, classifier, task):
    runner = parity._graph_runner(make_classifier(tmp_path / "other.onnx", output="scores"), task)
    with pytest.raises(ExportError, match="has no output 'logits'"):
        parity.compare_models(reference, runner, task, rows([3]), {"": None})
    with pytest.raises(ExportError, match="no input 'keep' though its checkpoint is length-adaptive"):
        parity.compare_models(reference, parity._graph_runner(classifier, task), task, rows([3]), {"x": [1.0]})
    with pytest.raises(ExportError, match="no example to compare"):
        parity._spread([])
    (tmp_path / "broken.onnx").write_bytes(b"x")
    with pytest.raises(ExportError, match="broken.onnx does not load"):
        parity._graph_runner(tmp_path / "broken.onnx", task)
    with pytest.raises(ExportError, match="gives 'logits' of shape"):
        parity.compare_models(reference, lambda b, k: {"logits": np.zeros((1, 9))}, task, rows([3]), {"": None})
    small = make_classifier(tmp_path / "small.onnx", table=TABLE[:2])
    with pytest.raises(ExportError, match="fails on input of shape"):
        parity.compare_models(reference, parity._graph_runner(small, task), task, rows([3]), {"": None})

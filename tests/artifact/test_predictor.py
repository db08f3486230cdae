import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.artifact import sample
from compressor.artifact.predictor import Predictor
from compressor.config.device import DeviceProfile, Provider
from compressor.devices.outputs import run_features
from compressor.errors import ArtifactError, DeviceError, DialError, RequestError
from compressor.tasks import entities
from compressor.tasks.examples import QuestionExample, ScoredExample, TextExample, TokenExample
from compressor.tasks.question_answering import best_span

CPU = DeviceProfile(name="cpu", description="", providers=[Provider(name="CPUExecutionProvider")], threads=1)


@pytest.fixture(scope="module")
def answering(artifacts):
    return Predictor(artifacts["question-answering"], threads=1)


def by_task(parts, artifact, examples, tokenizer):
    """What the task's own features and decoding make of the same file."""
    features = parts.task.features(examples, tokenizer, labelled=False)
    names = parts.task.output_names if parts.task.restores_tokens else ()
    outputs = run_features(artifact / "model.onnx", CPU, features, token_outputs=names)
    return parts.task.decode(examples, features, outputs), features


def tokenizer_of(parts):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(parts.tokenizer)


def test_single_question(answering):
    found = answering(question="Who wrote it?", context="It was written by Ada in London.")
    assert found["answer"] == "Ada" and 0 < found["score"] <= 1
    assert "It was written by Ada in London."[found["start"] : found["end"]] == "Ada"


def test_questions_as_the_task_answers_them_windows_and_long_questions_included(parts, artifacts, answering):
    words = ["it", "was", "written", "in", "the", "film", "a", "fine", "bad", ".", "lived"]
    random = np.random.default_rng(1)
    examples = []
    for index in range(12):
        context = " ".join(random.choice(words, size=int(random.integers(1, 90))))
        question = "  who wrote it ? " * (1 + 8 * (index % 2))
        examples.append(QuestionExample(id=str(index), question=question, context=context))
    examples.append(QuestionExample(id="late", question="who", context=" ".join(["the film ."] * 20) + " Ada lived"))
    part = parts["question-answering"]
    expected, features = by_task(part, artifacts["question-answering"], examples, tokenizer_of(part))
    assert len(features) > len(examples) + 4  # several windows
    found = answering([{"question": e.question, "context": e.context} for e in examples])
    assert [entry["answer"] for entry in found] == expected
    assert expected[-1] == "Ada"


def test_empty_context_has_an_empty_answer(answering):
    assert answering(("who", ""))["answer"] == ""


@pytest.mark.parametrize("key", ["text-classification", "multi-label"])
def test_texts_and_pairs_as_the_task_labels_them(parts, artifacts, key):
    predictor = Predictor(artifacts[key], threads=1)
    examples = [
        TextExample("a fine film"),
        TextExample("a bad film"),
        TextExample("a fine bad film"),
        TextExample("it " * 100),
    ]
    pairs = [TextExample("it was", pair="fine"), TextExample("bad", pair="bad " * 60)]
    part = parts[key]
    for group in (examples, pairs):
        expected, _ = by_task(part, artifacts[key], group, tokenizer_of(part))
        found = predictor([{"text": e.text, "pair": e.pair} for e in group])
        if key == "multi-label":
            assert [tuple(entry["labels"]) for entry in found] == expected
        else:
            assert [entry["label"] for entry in found] == expected
            assert all(abs(sum(entry["scores"].values()) - 1) < 1e-9 for entry in found)
    assert predictor("it was", pair="fine") == predictor(("it was", "fine"))
    if key == "multi-label":
        assert set(predictor("a fine bad film")["labels"]) >= {"good", "bad"}


def test_texts_and_pairs_as_the_task_rates_them(parts, artifacts):
    predictor = Predictor(artifacts["text-regression"], threads=1)
    part = parts["text-regression"]
    singles = [ScoredExample("a fine film"), ScoredExample("a bad film"), ScoredExample("it " * 100)]
    pairs = [ScoredExample("it was", pair="fine"), ScoredExample("bad", pair="bad " * 60)]
    for group in (singles, pairs):
        expected, _ = by_task(part, artifacts["text-regression"], group, tokenizer_of(part))
        found = predictor([{"text": e.text, "pair": e.pair} for e in group])
        assert [entry["score"] for entry in found] == pytest.approx(expected, abs=1e-5)
    assert predictor("it was", pair="fine") == predictor(("it was", "fine"))
    assert list(predictor("a fine film")) == ["score"]
    assert predictor("a fine film")["score"] > 1 > -1 > predictor("a bad film")["score"]


def test_words_as_the_task_tags_them(parts, artifacts):
    predictor = Predictor(artifacts["token-classification"], threads=1)
    sentences = [
        ("Ada", "Lovelace", "lived", "in", "London", "."),
        ("Paris", "films", "in", "Lin"),
        tuple(["the"] * 40 + ["Ada"]),
    ]
    part = parts["token-classification"]
    examples = [TokenExample(words) for words in sentences]
    expected, _ = by_task(part, artifacts["token-classification"], examples, tokenizer_of(part))
    found = predictor([{"words": list(words)} for words in sentences])
    assert [tuple(word["tag"] for word in entry["words"]) for entry in found] == expected
    assert [(e["type"], e["text"]) for e in found[0]["entities"]] == [("PER", "Ada Lovelace"), ("LOC", "London")]


def test_entities_of_a_plain_text_leave_punctuation_out(artifacts):
    text = "Ada Lovelace lived in London, Paris."
    found = Predictor(artifacts["token-classification"], threads=1)(text)
    assert [(e["type"], e["text"]) for e in found["entities"]] == [
        ("PER", "Ada Lovelace"),
        ("LOC", "London"),
        ("LOC", "Paris"),
    ]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in found["entities"])


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "A", "X-Y", "B-"]), max_size=12))
def test_entities_are_grouped_as_the_metric_counts_them(tags):
    assert set(sample.entities(tags)) == entities.entities(tags)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 10), st.integers(0, 1000))
def test_best_span_is_the_tasks_best_span(size, n_best, longest, seed):
    start, end = np.random.default_rng(seed).normal(size=(2, size))
    found = sample.best_spans(start, end, n_best, longest)
    expected = best_span(start, end, n_best=n_best, max_length=longest)
    assert (found[0] if found else None) == expected


def test_the_dial_by_keep_setting_and_budget(answering, artifacts):
    assert answering.keep is None
    assert list(answering.settings) == ["full", "default", "macs_60", "macs_60_2", "smallest"]
    choose = answering._choose
    assert choose([1, 0.5, 0.5], None, None, None) == [1.0, 0.5, 0.5]
    assert choose(None, "full", None, None) == [1.0] * 3
    assert choose(None, "default", None, None) == [0.8, 0.6, 0.5]
    assert choose(None, None, 1.0, None) == [1.0] * 3
    assert choose(None, None, 0.7, None) == [0.8, 0.6, 0.5]  # the better one of two that fit
    assert choose(None, None, 0.25, None) == [0.5, 0.3, 0.2]
    assert choose(None, None, None, 2.45) == [0.7, 0.6, 0.5]
    assert Predictor(artifacts["question-answering"], budget=0.3, threads=1).keep == [0.5, 0.3, 0.2]
    assert answering(question="Who?", context="by Ada", setting="smallest")["answer"] == "Ada"


def test_the_configuration_reaches_the_graph(answering, monkeypatch):
    seen = []
    real = answering._model.session

    class Spy:
        def run(self, names, feed):
            seen.append(feed.get("keep"))
            return real.run(names, feed)

        def __getattr__(self, name):
            return getattr(real, name)

    monkeypatch.setattr(answering._model, "session", Spy())
    answering(question="who", context="by Ada")
    answering(question="who", context="by Ada", keep=[0.9, 0.5, 0.1])
    assert seen[0] is None
    np.testing.assert_allclose(seen[1], [0.9, 0.5, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": [1, 0.5]}, "keep has 2 entries, but the model has 3 layers"),
        ({"keep": [1, 0.5, 0.6]}, "keep grows from 0.5 to 0.6 at entry 2"),
        ({"keep": [1, 0.5, 0]}, r"keep\[2\] = 0 is not in \(0, 1\]"),
        ({"keep": [1.5, 0.5, 0.1]}, r"keep\[0\] = 1.5 is not in"),
        ({"keep": [1, float("nan"), 0.1]}, r"keep\[1\] = nan is not in"),
        ({"keep": ["a", "b", "c"]}, "is not a list of numbers"),
        ({"setting": "fast"}, "no dial setting 'fast': choose from full, default"),
        ({"budget": 0.0}, r"budget = 0 is not in \(0, 1\]"),
        ({"budget": 0.1}, "costs at most 0.1 of the MACs; the least is 0.25"),
        ({"budget_ms": 0.5}, "costs at most 0.5 ms; the least is 1"),
        ({"budget": 0.5, "setting": "full"}, "give only one of"),
    ],
)
def test_wrong_dials_are_refused(answering, options, message):
    with pytest.raises(DialError, match=message):
        answering(question="who", context="by Ada", **options)


@pytest.mark.parametrize("key", ["text-classification", "fixed"])
def test_no_dial_no_keep(artifacts, key):
    predictor = Predictor(artifacts[key], threads=1)
    with pytest.raises(DialError, match="has no length dial"):
        predictor("it", keep=[1.0, 1.0, 1.0])


def test_a_required_dial_is_fed_its_default(artifacts):
    assert Predictor(artifacts["required"], threads=1)(question="who", context="by Ada")["answer"] == "Ada"


@pytest.mark.parametrize("wrong", [3, {"question": "who"}, {"context": "x"}, None, ("a", "b", "c"), "only a text"])
def test_wrong_inputs_are_request_errors(answering, wrong):
    with pytest.raises(RequestError, match="question-answering needs question and context as text"):
        answering([wrong])


def test_wrong_words_are_request_errors(artifacts):
    predictor = Predictor(artifacts["token-classification"], threads=1)
    with pytest.raises(RequestError, match="token-classification needs text as text"):
        predictor({"words": [1, 2]})
    assert predictor([]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"providers": ()}, r"providers = \(\) is not possible: name at least one, such as CPUExecutionProvider"),
        ({"providers": "CPUExecutionProvider"}, r"give a list of names, \['CPUExecutionProvider'\]"),
        ({"providers": [1]}, "name at least one"),
        ({"batch_size": 0}, "batch_size = 0 is not possible: give a whole number above zero"),
        ({"batch_size": None}, "batch_size = None is not possible"),
        ({"batch_size": 1.5}, "batch_size = 1.5 is not possible"),
        ({"threads": -1}, "threads = -1 is not possible"),
    ],
)
def test_options_that_are_not_possible(artifacts, options, message):
    with pytest.raises(RequestError, match=message):
        Predictor(artifacts["fixed"], **options)


def test_half_of_a_character_is_a_request_error(artifacts):
    message = r"half of a character \(a lone surrogate, '.ud800'\) at character 2"
    with pytest.raises(RequestError, match=message):
        Predictor(artifacts["fixed"], threads=1)(question="a \ud800", context="b")
    with pytest.raises(RequestError, match=message):
        Predictor(artifacts["token-classification"], threads=1)({"words": ["a", "b \ud800"]})
    texts = Predictor(artifacts["text-classification"], threads=1)
    with pytest.raises(RequestError, match=message):
        texts("a", pair="a \ud800")
    with pytest.raises(RequestError, match="text-classification needs text and pair as text"):
        texts("a", pair=3)


def test_a_provider_that_is_not_there_is_a_device_error(artifacts):
    with pytest.raises(DeviceError, match="CUDAExecutionProvider is not available here"):
        Predictor(artifacts["fixed"], providers=["CUDAExecutionProvider", "CPUExecutionProvider"])


def test_damaged_artifacts_do_not_load(artifacts, tmp_path):
    import shutil

    with pytest.raises(ArtifactError, match="is not a folder"):
        Predictor(tmp_path / "none")
    broken = tmp_path / "broken"
    shutil.copytree(artifacts["fixed"], broken)
    (broken / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ArtifactError, match="does not load"):
        Predictor(broken)


def test_predictor_needs_no_torch(artifacts):
    code = (
        "import sys; from compressor.artifact.predictor import Predictor; "
        f"print(Predictor({str(artifacts['fixed'])!r})(question='who', context='by Ada')['answer']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'onnx')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "Ada\n"), done.stderr


def run_sample(folder, *arguments):
    command = [sys.executable, "-I", str(folder / "sample.py"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")


@pytest.mark.parametrize(
    ("key", "arguments", "expected"),
    [
        ("question-answering", ["--question", "Who?", "--context", "by Ada", "--keep", "1,0.5,0.5"], ("answer", "Ada")),
        (
            "question-answering",
            ["--question", "Who?", "--context", "by Ada", "--setting", "smallest"],
            ("answer", "Ada"),
        ),
        ("text-classification", ["--text", "a bad film", "--pair", "it"], ("label", "bad")),
        ("token-classification", ["--text", "Ada"], ("entities", [("PER", "Ada")])),
    ],
)
def test_the_sample_runs_on_its_own(artifacts, key, arguments, expected):
    done = run_sample(artifacts[key], *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)[expected[0]]
    if expected[0] == "entities":
        found = [(entry["type"], entry["text"]) for entry in found]
    assert found == expected[1]


@pytest.mark.parametrize(
    ("key", "arguments", "message"),
    [
        ("question-answering", ["--question", "a", "--context", "b", "--keep", "0.5,0.6,0.7"], "keep grows"),
        (
            "question-answering",
            ["--question", "a", "--context", "b", "--setting", "x"],
            "no setting 'x': choose from full",
        ),
        ("question-answering", ["--text", "a"], "give --question and --context"),
        ("text-classification", ["--text", "a", "--keep", "1,1,1"], "no length dial"),
        ("text-classification", ["--text", "a", "--setting", "full"], "no length dial"),
    ],
)
def test_the_sample_refuses_wrong_requests(artifacts, key, arguments, message):
    done = run_sample(artifacts[key], *arguments)
    assert done.returncode == 2 and message in done.stderr


def test_the_sample_rates_a_pair(artifacts):
    done = run_sample(artifacts["text-regression"], "--text", "a fine film", "--pair", "fine")
    assert done.returncode == 0, done.stderr
    expected = Predictor(artifacts["text-regression"], threads=1)("a fine film", pair="fine")
    assert json.loads(done.stdout) == pytest.approx(expected)


def test_the_sample_keeps_to_old_python_syntax():
    import ast
    from pathlib import Path

    ast.parse(Path(sample.__file__).read_text(), feature_version=(3, 6))

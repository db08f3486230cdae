import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compressor.config.run import MeasureSettings
from compressor.devices import child, host, measure, probe, profiles
from compressor.devices import inputs as speed_inputs
from compressor.devices.outputs import run_features
from compressor.devices.rounds import STEADY, spread_of
from compressor.devices.tokenization import measure_tokenization
from compressor.errors import DataError, DeviceError, DeviceMemoryError, StorageError
from compressor.tasks.base import Feature
from compressor.tasks.examples import QuestionExample, TextExample, TokenExample

CONF = Path(__file__).parents[2] / "conf" / "device"
QUICK = MeasureSettings(warmup=1, runs=4, rounds=2)


@pytest.fixture(scope="module")
def here():
    return profiles.with_threads(profiles.load("host", [CONF]), 1)


def feature(length: int, seed: int) -> Feature:
    ids = np.random.default_rng(seed).integers(1, 100, length).tolist()
    return Feature(inputs={"input_ids": ids, "attention_mask": [1] * length}, labels={}, example=seed)


def test_speed_has_all_figures_and_says_where(graph, here, inputs):
    speed = measure.measure_speed(graph, here, QUICK, inputs)
    assert 0 < speed.p50_ms <= speed.p90_ms <= speed.p99_ms
    assert speed.first_call_ms > 0 and speed.session_ms > 0 and speed.throughput_per_s > 0
    assert speed.peak_memory_mb > speed.baseline_memory_mb > 5
    assert (speed.batch_size, speed.length, speed.runs, speed.rounds) == (1, 8, 4, 2)
    assert len(speed.round_p50_ms) == 2 and speed.threads == 1
    assert speed.providers == ("CPUExecutionProvider",)
    assert speed.on_device and speed.measured_on == f"host ({host.cpu_model()})"
    assert speed.energy_mj is None and speed.energy_note.startswith("not measured")
    assert json.loads(json.dumps(speed.to_mapping()))["p50_ms"] == speed.p50_ms


def test_another_device_is_measured_here_on_the_cpu_and_labelled(graph, elsewhere, inputs):
    speed = measure.measure_speed(graph, elsewhere, QUICK, inputs, keep=[1.0, 0.5])
    assert not speed.on_device
    assert speed.measured_on == f"this machine ({host.cpu_model()}), not board"
    assert speed.providers == ("CPUExecutionProvider",)
    assert speed.keep == (1.0, 0.5)
    assert speed.energy_note == "not measured: this machine is not board"


def test_rows_take_turns_and_each_is_a_fresh_process(graph, here, inputs, monkeypatch):
    seen = []
    real = child.LocalPlace.run_probe

    def spy(place, request, folder, **options):
        seen.append((request["mode"], request["runs"]))
        return real(place, request, folder, **options)

    monkeypatch.setattr(child.LocalPlace, "run_probe", spy)
    short = MeasureSettings(warmup=0, runs=2, rounds=1)
    steps = []
    rows = [
        measure.Row("a", graph, inputs),
        measure.Row("b", graph, [inputs, {name: array[:, :3] for name, array in inputs.items()}], settings=short),
    ]
    speeds = measure.measure_many(rows, here, QUICK, on_step=steps.append)
    assert seen == [("speed", 4), ("speed", 2), ("speed", 4), ("memory", 4), ("memory", 2)]
    assert steps == ["a", "b", "a", "a", "b"]
    assert speeds["a"].rounds == 2 and speeds["b"].rounds == 1
    with pytest.raises(ValueError, match="different names"):
        measure.measure_many([rows[0], rows[0]], here, QUICK)
    with pytest.raises(DeviceError, match="'c' has no input"):
        measure.measure_many([measure.Row("c", graph, [])], here, QUICK)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_outputs_come_back_unpadded_in_order(graph, here, batch_size):
    features = [feature(length, index) for index, length in enumerate([5, 1, 9, 3, 9, 2, 7])]
    done = []
    outputs = run_features(graph, here, features, batch_size=batch_size, on_rows=done.append)
    assert len(outputs) == len(features)
    for row, output in zip(features, outputs, strict=True):
        ids = np.asarray(row.inputs["input_ids"], np.float32)
        np.testing.assert_array_equal(output["logits"], ids + 2)
        np.testing.assert_array_equal(output["score"], [ids.sum()])
        assert output["logits"].dtype == np.float32
    assert run_features(graph, here, []) == []


def test_told_token_outputs_overrule_the_axis_names(graph, here):
    outputs = run_features(graph, here, [feature(2, 0), feature(4, 1)], token_outputs=[])
    assert [output["logits"].shape for output in outputs] == [(4,), (4,)]


def test_rows_are_sorted_by_a_numpy_that_knows_no_stable_sort(graph, tmp_path, monkeypatch):
    """numpy 1.13, which JetPack 4 brings."""
    real = np.argsort

    def old(array, kind="quicksort"):
        assert kind in ("quicksort", "mergesort", "heapsort")
        return real(array, kind=kind)

    monkeypatch.setattr(probe.np, "argsort", old)
    arrays = {
        "lengths": np.asarray([1, 2, 1]),
        "input_ids": np.asarray([7, 8, 9, 5]),
        "attention_mask": np.ones(4, int),
    }
    child.write_arrays(tmp_path / "inputs.npz", arrays)
    request = {"model": str(graph), "inputs": str(tmp_path / "inputs.npz"), "outputs": str(tmp_path / "outputs.npz"),
               "providers": [["CPUExecutionProvider", {}]], "threads": 1, "batch_size": 2}  # fmt: skip
    assert probe.outputs(request)["rows"] == 3
    with np.load(tmp_path / "outputs.npz") as found:
        np.testing.assert_array_equal(found["value/score"], [7, 17, 5])


def test_padding_uses_the_given_id(graph, here):
    outputs = run_features(graph, here, [feature(2, 0), feature(4, 1)], token_outputs=[], pad_id=50)
    assert outputs[0]["logits"][-1] == 2  # masked out, so the padding id does not show
    masked = [Feature(inputs={"input_ids": row.inputs["input_ids"], "attention_mask": [1] * row.length}, labels={},
                      example=0) for row in (feature(2, 0), feature(4, 1))]  # fmt: skip
    assert run_features(graph, here, masked, pad_id=50)[0]["logits"].shape == (2,)


@pytest.mark.parametrize("dial", ["optional", "required"])
def test_keep_reaches_the_graph(graphs, here, dial):
    row = feature(4, 0)
    output = run_features(graphs[dial], here, [row], keep=[0.5, 0.25])[0]
    np.testing.assert_allclose(output["logits"], np.asarray(row.inputs["input_ids"]) + 0.75)


def test_missing_and_unwanted_inputs_are_errors(graphs, here):
    with pytest.raises(DeviceError, match="needs the input 'keep'"):
        run_features(graphs["required"], here, [feature(4, 0)])
    with pytest.raises(DeviceError, match="no input 'keep'"):
        run_features(graphs["fixed"], here, [feature(4, 0)], keep=[1.0, 1.0])
    row = Feature(inputs={"input_ids": [1, 2]}, labels={}, example=0)
    with pytest.raises(DeviceError, match="needs the input 'attention_mask'"):
        run_features(graphs["fixed"], here, [row])


def test_a_file_that_is_no_model_is_a_device_error(tmp_path, here):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(DeviceError, match="broken.onnx could not be run: .*"):
        run_features(broken, here, [feature(3, 0)])


def test_a_provider_that_is_not_there_is_an_error_not_a_fall_back(graph, here, inputs):
    profile = profiles.resolve(
        {
            "name": "host",
            "providers": [{"name": "CUDAExecutionProvider"}, {"name": "CPUExecutionProvider"}],
        },
        where="test",
    )
    with pytest.raises(DeviceError, match="CUDAExecutionProvider is not in this onnxruntime"):
        measure.measure_speed(graph, profile, QUICK, inputs)


def test_crash_and_hang_of_the_child_are_device_errors(graph, here, tmp_path, monkeypatch):
    crash = tmp_path / "crash.py"
    crash.write_text("import os, sys\nprint('last words', flush=True)\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setattr(child, "PROBE", crash)
    with pytest.raises(DeviceError, match="was killed by signal 9, as a system .* memory; its last words: last words"):
        run_features(graph, here, [feature(3, 0)])
    crash.write_text("import sys\nsys.exit(7)\n")
    with pytest.raises(DeviceError, match="ended with exit code 7; its last words: it said nothing"):
        run_features(graph, here, [feature(3, 0)])
    crash.write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(DeviceError, match="did not end within 1 s"):
        run_features(graph, here, [feature(3, 0)], timeout_s=1)


def test_a_full_disk_is_a_storage_error(graph, here, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(child, "write_arrays", full)
    with pytest.raises(StorageError, match="No space left"):
        run_features(graph, here, [feature(3, 0)])


def test_temporary_files_are_gone(graph, here, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run_features(graph, here, [feature(3, 0)])
    assert list(tmp_path.iterdir()) == []


def test_placement_counts_nodes_by_provider(graph, tmp_path, inputs):
    """What a session on another provider goes through, here with the only provider that this machine has."""
    request = {"model": str(graph), "providers": [["CPUExecutionProvider", {}]], "threads": 1,
               "result": str(tmp_path / "result.json")}  # fmt: skip
    assert sum(probe.placement(request, inputs)["CPUExecutionProvider"] for _ in range(1)) >= 3
    assert list(tmp_path.iterdir()) == []


def test_probe_dies_when_its_parent_is_not_the_one_it_was_told(graph, tmp_path, inputs):
    request = {"mode": "memory", "model": str(graph), "inputs": "inputs.npz", "result": "result.json", "threads": 1,
               "providers": [["CPUExecutionProvider", {}]], "parent": 1 if os.getpid() != 1 else 2}  # fmt: skip
    child.write_arrays(tmp_path / "inputs.npz", {f"0/{name}": array for name, array in inputs.items()})
    (tmp_path / "request.json").write_text(json.dumps(request))
    done = subprocess.run([sys.executable, str(child.PROBE), str(tmp_path / "request.json")], check=False)
    assert done.returncode == 3
    assert "has ended" in json.loads((tmp_path / "result.json").read_text())["error"]


def test_rounds_that_disagree_are_told():
    assert spread_of([10.0]) is None
    assert spread_of([10.0, 10.4, 10.2]) == pytest.approx(0.4 / 10.2)
    assert spread_of([10.0, 10.6, 10.0]) > STEADY


def test_speed_says_whether_the_machine_was_steady(graph, here, inputs, monkeypatch):
    real = child.LocalPlace.run_probe
    times = iter([[10.0, 10.0], [11.0, 11.0], [10.0, 10.0], [10.1, 10.1]])

    def timed(place, request, folder, **options):
        answer = real(place, request, folder, **options)
        return {**answer, "times_ms": next(times), "yardstick_ms": 1.0} if request["mode"] == "speed" else answer

    monkeypatch.setattr(child.LocalPlace, "run_probe", timed)
    noisy, steady = (measure.measure_speed(graph, here, QUICK, inputs) for _ in range(2))
    assert noisy.steady is False and noisy.spread == pytest.approx(1 / 10.5)
    assert steady.steady is True


def test_rounds_of_a_slow_time_are_taken_again(graph, here, inputs, monkeypatch):
    real = child.LocalPlace.run_probe
    answers = iter([(10.0, 1.0), (5.0, 1.0), (19.0, 1.9), (5.1, 1.01), (10.2, 1.02)])  # p50, yardstick

    def timed(place, request, folder, **options):
        answer = real(place, request, folder, **options)
        if request["mode"] != "speed":
            return answer
        assert answer["yardstick_ms"] > 0
        p50, yardstick = next(answers)
        return {**answer, "times_ms": [p50, p50], "yardstick_ms": yardstick}

    monkeypatch.setattr(child.LocalPlace, "run_probe", timed)
    rows = [measure.Row("slow", graph, inputs), measure.Row("steady", graph, inputs)]
    found = measure.measure_many(rows, here, QUICK)
    assert found["slow"].round_p50_ms == (10.0, 10.2) and found["slow"].round_yardstick_ms == (1.0, 1.02)
    assert found["slow"].steady and found["slow"].rounds == QUICK.rounds and found["slow"].doubts() == []
    assert found["steady"].round_p50_ms == (5.0, 5.1)
    assert next(answers, None) is None


def test_a_round_that_is_taken_again_and_fails_loses_nothing(graph, here, inputs, monkeypatch):
    real = child.LocalPlace.run_probe
    yardsticks = iter([1.0, 1.5])

    def timed(place, request, folder, **options):
        answer = real(place, request, folder, **options)
        if request["mode"] != "speed":
            return answer
        yardstick = next(yardsticks, None)
        if yardstick is None:
            raise DeviceMemoryError("out of memory")
        return {**answer, "times_ms": [10.0, 10.0], "yardstick_ms": yardstick}

    monkeypatch.setattr(child.LocalPlace, "run_probe", timed)
    found = measure.measure_speed(graph, here, QUICK, inputs)
    assert found.rounds == QUICK.rounds and found.slowdown == pytest.approx(0.5)


def test_what_stays_slow_is_told(graph, here, inputs, monkeypatch):
    real = child.LocalPlace.run_probe
    yardsticks = iter([1.0, 1.5, 1.6, 1.55])

    def timed(place, request, folder, **options):
        answer = real(place, request, folder, **options)
        if request["mode"] != "speed":
            return answer
        return {**answer, "times_ms": [10.0, 10.0], "yardstick_ms": next(yardsticks)}

    monkeypatch.setattr(child.LocalPlace, "run_probe", timed)
    found = measure.measure_speed(graph, here, QUICK, inputs)
    assert found.spread == 0 and found.steady is False and found.slowdown == pytest.approx(0.5)
    assert found.doubts() == ["the processor was 50 % slower than at other times"]


def test_inputs_of_a_length_are_real_tokens():
    made = speed_inputs.of_length([feature(5, 0), feature(9, 1)], length=12, batch_size=3)
    assert made["input_ids"].shape == (3, 12) and made["attention_mask"].min() == 1
    np.testing.assert_array_equal(made["input_ids"][0], np.resize(feature(9, 1).inputs["input_ids"], 12))
    np.testing.assert_array_equal(made["input_ids"][0], made["input_ids"][2])
    with pytest.raises(DataError, match="no example to take them from"):
        speed_inputs.of_length([], 4, 1)


def test_a_model_that_always_runs_all_layers_is_timed_with_one_input():
    made = speed_inputs.to_time([feature(5, 0), feature(9, 1)], None, QUICK, longest=12, seed=0)
    assert made["input_ids"].shape == (1, 12)


def test_texts_of_all_depths_are_timed_where_a_model_stops_early():
    rng = np.random.default_rng(3)
    blocks = rng.choice([1, 2, 3, 12], 500, p=[0.6, 0.2, 0.1, 0.1]).tolist()
    for seed in range(5):
        chosen = speed_inputs.of_all_depths(blocks, 30, seed=seed)
        assert len(set(chosen)) == 30
        assert np.mean([blocks[place] for place in chosen]) == pytest.approx(np.mean(blocks), abs=0.25)
    assert chosen == speed_inputs.of_all_depths(blocks, 30, seed=4)
    assert chosen != speed_inputs.of_all_depths(blocks, 30, seed=3)
    assert sorted(speed_inputs.of_all_depths([2, 1], 4, seed=0)) == [0, 0, 1, 1]


def test_texts_are_timed_at_their_own_lengths_unless_one_is_asked_for():
    texts = [feature(5, 0), feature(9, 1)]
    made = speed_inputs.to_time(texts, [1, 3], MeasureSettings(runs=2), longest=12, seed=0)
    assert sorted(one["input_ids"].shape for one in made) == [(1, 5), (1, 9)]
    made = speed_inputs.to_time(texts, [1, 3], MeasureSettings(runs=1, batch_size=2), longest=12, seed=0, pad_id=7)
    short, long = sorted(
        zip(made[0]["input_ids"], made[0]["attention_mask"], strict=True), key=lambda row: row[1].sum()
    )
    assert short[0][5:].tolist() == [7] * 4 and short[1].tolist() == [1] * 5 + [0] * 4
    assert long[0].tolist() == texts[1].inputs["input_ids"]
    made = speed_inputs.to_time(texts, [1, 3], MeasureSettings(runs=2, length=12), longest=64, seed=0)
    assert [one["input_ids"].shape for one in made] == [(1, 12)] * 2 and made[0]["attention_mask"].min() == 1


def test_tokenization_is_timed_apart(here, tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    examples = [
        TextExample("a b c"),
        TextExample("a", "b"),
        QuestionExample("1", "a b", "c " * 50),
        TokenExample(("a", "b")),
    ]
    found = measure_tokenization(tmp_path / "tokenizer.json", examples, child.LocalPlace(here), max_length=8)
    assert 0 < found.p50_ms <= found.p90_ms and found.texts == 4
    assert found.note.startswith("tokenizers ") and found.on_device
    (tmp_path / "newer.json").write_text('{"version": "9.0", "model": {"type": "Unheard"}}')
    found = measure_tokenization(tmp_path / "newer.json", examples, child.LocalPlace(here), max_length=8)
    assert found.p50_ms is None and "there cannot read this tokenizer.json" in found.note
    bare = child.LocalPlace(here, environment={"PYTHONPATH": str(tmp_path)})
    (tmp_path / "tokenizers.py").write_text("raise ImportError('no tokenizers')\n")
    found = measure_tokenization(tmp_path / "tokenizer.json", examples, bare, max_length=8)
    assert found.p50_ms is None and found.note == "not measured: the library tokenizers is not installed there"

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.config.run import DataSettings
from compressor.data import load
from compressor.data.source import Source, collect_labels
from compressor.data.splitting import group, hold_out, split
from compressor.errors import DataError
from compressor.tasks.examples import QuestionExample, TextExample, TokenExample


def questions(contexts: int, each: int, prefix: str = "context") -> list[QuestionExample]:
    return [QuestionExample(f"{c}-{q}", "?", f"{prefix} {c}") for c in range(contexts) for q in range(each)]


def test_no_context_is_in_two_parts() -> None:
    source = Source("s", questions(50, 4), questions(10, 4, "dev") + questions(2, 1), ())
    splits = split(source, DataSettings(search=30, calibration=16), seed=3)
    assert len(splits.search) == 30 and len(splits.calibration) == 16
    train, search, dev = ({group(example) for example in splits.part(name)} for name in ("train", "search", "dev"))
    assert not train & search and not train & dev and not search & dev
    assert set(splits.calibration) <= set(splits.train)
    assert len(splits.dev) == 42  # dev is whole, what training shared with it is gone


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 40), st.integers(0, 3))
def test_hold_out_keeps_groups_whole_and_sizes_bounded(contexts: int, each: int, count: int, seed: int) -> None:
    examples: list[Any] = questions(contexts, each)
    train, search = hold_out(examples, count, seed)
    assert len(search) == (min(count, len(examples) // 5) if contexts > 1 else 0)
    assert not {group(example) for example in train} & {group(example) for example in search}
    assert train
    dropped = len(examples) - len(train) - len(search)
    assert 0 <= dropped < each


def test_the_seed_decides_and_the_same_seed_repeats() -> None:
    source = Source("s", questions(50, 4), questions(10, 1, "dev"), ())
    settings = DataSettings(max_train=100, max_dev=5, search=10, calibration=8)
    first, again, other = (split(source, settings, seed) for seed in (0, 0, 1))
    assert first == again
    assert len(first.train) + len(first.search) <= 100 and len(first.dev) == 5
    assert first.fingerprints != other.fingerprints
    assert set(first.fingerprints) == {"train", "calibration", "search", "dev"}


def test_fingerprints_follow_the_content() -> None:
    one = split(Source("s", [], [TextExample("a", None, ("x",))], ("x",)), DataSettings(), 0)
    two = split(Source("s", [], [TextExample("a", None, ("y",))], ("y",)), DataSettings(), 0)
    assert one.fingerprints["dev"] != two.fingerprints["dev"]
    assert one.fingerprints["train"] == two.fingerprints["train"]


def test_dev_alone_is_enough_and_no_dev_is_not() -> None:
    splits = split(Source("s", [], questions(2, 2), ()), DataSettings(), 0)
    assert [len(splits.part(name)) for name in ("train", "calibration", "search", "dev")] == [0, 0, 0, 4]
    with pytest.raises(DataError, match="no dev examples"):
        split(Source("s", questions(2, 2), [], ()), DataSettings(), 0)


def test_labels_are_collected_in_a_fixed_order() -> None:
    tags = TokenExample(("a", "b", "c", "d"), ("I-PER", "B-PER", "O", "B-LOC"))
    assert collect_labels([tags]) == ("O", "B-LOC", "B-PER", "I-PER")
    assert collect_labels([TextExample("", None, ("z", "a"))]) == ("a", "z")


def test_demo_parts_have_the_sizes_asked_for() -> None:
    splits = load(DataSettings(demo_train=40, demo_dev=10, search=8, calibration=5), "text-classification", 0)
    assert [len(splits.part(name)) for name in ("train", "calibration", "search", "dev")] == [32, 5, 8, 10]
    assert splits.name == "demo"

import numpy as np
import pytest

from compressor.config.run import FeatureSettings
from compressor.tasks import make_task
from compressor.validation.agreement import agreement
from compressor.validation.bootstrap import paired_interval
from compressor.validation.metric import Evaluation


def test_interval_against_a_slow_bootstrap():
    random = np.random.default_rng(5)
    reference = random.normal(80, 10, 60)
    scores = reference + random.normal(-1, 3, 60)
    found = paired_interval(scores, reference, seed=1, resamples=4000)
    assert found.difference == pytest.approx(float(np.mean(scores) - np.mean(reference)))
    means = []
    for _ in range(4000):
        drawn = [int(place) for place in random.integers(0, 60, 60)]
        means.append(sum(scores[place] - reference[place] for place in drawn) / 60)
    low, high = np.percentile(means, (2.5, 97.5))
    assert found.low == pytest.approx(low, abs=0.06) and found.high == pytest.approx(high, abs=0.06)
    assert found.low < found.difference < found.high


def test_interval_is_seeded_and_does_not_depend_on_chunks(monkeypatch):
    from compressor.validation import bootstrap

    scores, reference = np.random.default_rng(0).normal(size=(2, 50))
    whole = paired_interval(scores, reference, seed=3)
    assert whole == paired_interval(scores, reference, seed=3)
    assert whole != paired_interval(scores, reference, seed=4)
    monkeypatch.setattr(bootstrap, "_CHUNK", 170)
    assert paired_interval(scores, reference, seed=3) == whole


def test_equal_scores_have_no_interval_to_speak_of():
    found = paired_interval(np.ones(5), np.ones(5))
    assert (found.difference, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize(("first", "second"), [((3,), (4,)), ((0,), (0,)), ((2, 2), (2, 2))])
def test_scores_that_do_not_pair(first, second):
    with pytest.raises(ValueError, match="two lists of scores of one length"):
        paired_interval(np.zeros(first), np.zeros(second))


def test_agreement_counts_flips_both_ways():
    task = make_task("question-answering", FeatureSettings())
    teacher = Evaluation({"f1": 60.0}, ["the cat", "dog", "a bird", "x"], np.array([100.0, 0.0, 100.0, 40.0]), 4)
    model = Evaluation({"f1": 55.0}, ["cat", "fish", "frog", "y"], np.array([100.0, 100.0, 49.0, 45.0]), 4)
    found = agreement(task, teacher, model)
    assert found.same == 0.25  # "the cat" and "cat" are one answer to SQuAD
    assert (found.right_to_wrong, found.wrong_to_right, found.examples) == (1, 1, 4)
    assert found.interval.difference == pytest.approx((0 + 100 - 51 + 5) / 4)
    assert teacher.primary == 60.0

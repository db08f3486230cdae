"""Settings of `search_lengths`; imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from compressor.config.schema import Count, NonNegative, Positive, Probability, Whole, settings


@settings
class SearchLengthsSettings:
    """Evolutionary search of length configurations (Kim & Cho 2020, section 3.4, and their appendix's figures).

    The dial's new default is the cheapest configuration found that costs at most `budget` and whose metric is
    at most `max_drop` points below the same graph at full length. Where `max_evaluations` is too small for
    all children of all iterations, every iteration gets an equal share of what is left.
    """

    iterations: Whole = 30
    population: Count = 20  # constant-rate configurations at the start, evenly spaced in MACs
    late: Whole = 12  # further ones at the start whose constant rate begins after a third or two thirds of the layers
    mutations: Whole = 30  # new configurations by mutation, per iteration
    crossovers: Whole = 30  # new configurations by crossover, per iteration
    mutation_probability: Probability = 0.5  # of each layer's count being drawn anew
    cost: Literal["macs", "latency"] = "macs"
    budget: Positive | None = None  # macs: fraction of the full length's MACs; latency: milliseconds
    max_drop: NonNegative = 0.5  # points of the primary metric below full length
    max_evaluations: Count = 200  # distinct configurations whose metric is measured
    samples: Count | None = None  # examples of the search part that are used; None: all
    reference_length: Count | None = None  # tokens that costs are counted at; None: the longest search input
    batch_size: Count = 8  # windows a run; fewer where their lengths differ
    latency_runs: Count = 9  # timed runs a configuration (cost: latency)

"""Speed and memory without training: the cost model against held-out shapes, and the study's own models."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np
from bench import LOOSE, Bench
from scipy.stats import spearmanr

from compressor.advisor import cost_model
from compressor.advisor.advise import make_pricer
from compressor.advisor.candidates import lay_out
from compressor.advisor.prices import Item, Price
from compressor.advisor.pricing import shape_config
from compressor.advisor.requests import ask, of_candidate
from compressor.cache import Cache
from compressor.devices import child, host, profiles
from compressor.errors import RequestError
from compressor.models.config_file import read_config
from compressor.pipeline import prepare
from compressor.request.folders import group_folders

STUDY: Mapping[str, dict[str, Any]] = {
    "BERT": {"model_type": "bert", "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12,
             "intermediate_size": 3072, "vocab_size": 30522, "max_position_embeddings": 512},
    "RoBERTa": {"model_type": "roberta", "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12,
                "intermediate_size": 3072, "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1,
                "pad_token_id": 1},
    "DistilBERT": {"model_type": "distilbert", "n_layers": 6, "dim": 768, "n_heads": 12, "hidden_dim": 3072,
                   "vocab_size": 30522, "max_position_embeddings": 512},
    "TinyBERT": {"model_type": "bert", "num_hidden_layers": 4, "hidden_size": 312, "num_attention_heads": 12,
                 "intermediate_size": 1200, "vocab_size": 30522, "max_position_embeddings": 512},
}  # fmt: skip
"""The study's models (TinyBERT: the one of four layers), of which there are shapes here and no weights."""
GRIDS = {
    "encoder": [
        "advise.grid.layers=[1.0,0.84,0.67,0.5,0.34,0.17]",
        "advise.grid.widths=[1.0,0.75,0.5,0.25]",
        "advise.grid.keep=[1.0,0.95,0.9,0.8,0.7]",
    ],
    "families": [
        "advise.grid.layers=[1.0,0.67,0.5,0.34]",
        "advise.grid.widths=[1.0,0.5]",
        "advise.grid.keep=[1.0,0.9,0.8]",
    ],
}
"""What the cost model is tried on: shapes cut from one encoder, and those of several families."""
NAMES = ("MiniLM", *STUDY)
BOARDS = [f"{board}_{size}gb" for board in ("raspberry_pi_4", "jetson_nano", "up2", "udoo") for size in (2, 4)]


def items_of(bench: Bench, grid: str, *more: str, device: str | None = None) -> tuple[list[Item], Any]:
    """Candidates of a grid over the encoder, or over all families, by the encoder's own steps; and the pricer."""
    encoder = bench.teacher.path
    question = bench.question(*LOOSE, *GRIDS.get(grid, []), *more, teacher=encoder)
    if device is not None:
        own = [word for word in question.words if not word.startswith("device=")]
        question = ask([*own, f"device={device}", *LOOSE, *GRIDS.get(grid, []), *more])
    cache = Cache(question.request.output / ".cache")
    steps, _, _ = prepare(question.request, cache, bench.progress)
    configs = [read_config(encoder), *(STUDY.values() if grid != "encoder" else ())]
    items = []
    for candidate in lay_out(configs, question.settings, question.request.device):
        request = of_candidate(question.request, candidate, question.settings)
        try:
            config = shape_config(request, configs[candidate.shape.teacher], question.request.task)
        except RequestError:
            continue
        items.append(Item(candidate, request, config, steps))
    return items, make_pricer(question, steps)


def predict(bench: Bench) -> None:
    """Calibrate on at most 12 shapes, predict others that are measured in the same rounds, and keep both."""
    for grid in bench.options.grids:
        items, pricer = items_of(bench, grid)
        features = [pricer.features(item) for item in items]
        chosen = [items[place] for place in cost_model.choose(features, pricer.settings.calibration)]
        others = [item for item in items if item not in chosen]
        held = Random(f"held out of {grid}").sample(others, min(bench.options.held_out, len(others)))
        bench.progress.line(f"{grid}: {len(chosen)} shapes to calibrate on, {len(held)} of {len(others)} held out")
        prices = pricer.measured([*chosen, *held])
        chosen, held = ([item for item in items if item.name in prices] for items in (chosen, held))
        model = pricer.calibrate(chosen, prices)
        rows = [
            {"name": name_of(item, grid), "p50_ms": prices[item.name].p50_ms, "rounds": rounds(prices[item.name]),
             "memory_mb": prices[item.name].memory_mb, "size_mb": prices[item.name].size_mb,
             "features": pricer.features(item), "calibrated": item in chosen,
             "predicted": dataclasses.asdict(pricer.predicted(item, model))}
            for item in [*chosen, *held]
        ]  # fmt: skip
        bench.keep(f"predict-{grid}", {"rows": rows, "candidates": len(items), "prices": model.p50.prices})
        for line in verdict(rows):
            bench.progress.line(f"{grid}: {line}")


def verdict(rows: list[dict[str, Any]]) -> list[str]:
    """Median error and rank correlation of what was held out, in words."""
    held = [row for row in rows if not row["calibrated"]]
    found = []
    for figure in ("p50_ms", "memory_mb", "size_mb"):
        wanted = np.asarray([row[figure] for row in held])
        given = np.asarray([row["predicted"][figure] for row in held])
        errors = np.abs(given / wanted - 1)
        rank = float(spearmanr(wanted, given).statistic)
        found.append(
            f"{figure} of {len(held)} unseen shapes: median error {100 * np.median(errors):.1f} %, "
            f"worst {100 * errors.max():.1f} %, Spearman {rank:.3f}"
        )
    return found


def study(bench: Bench) -> None:
    """The study's models and the encoder, whole, in float32 and int8, under the limits of every profile."""
    found = bench.kept("study") or {}
    whole = ["advise.grid.layers=[1.0]", "advise.grid.widths=[1.0]", "advise.grid.keep=[1.0]",
             "advise.grid.formats=[float32,dynamic_int8]"]  # fmt: skip
    for name in bench.options.profiles or BOARDS:
        if name in found:
            continue
        profile = profiles.load(name, group_folders("device"))
        items, pricer = items_of(bench, "study", *whole, device=name)
        bench.progress.line(f"{name}: {len(items)} models, {child.threads_for(profile)} threads")
        prices = pricer.measured(items)
        for failed, reason in pricer.failed.items():
            bench.progress.line(f"{name}, {failed}: {reason}")
        found[name] = {
            "threads": child.threads_for(profile),
            "memory_mb": profile.memory_mb,
            "host": host.describe()["cpu"],
            "rows": {name_of(item, "study"): prices[item.name].speed | {"size_mb": prices[item.name].size_mb}
                     for item in items if item.name in prices},
        }  # fmt: skip
        bench.keep("study", found)


def repeat(bench: Bench) -> None:
    """One small and one large candidate, measured anew several times: do medians agree?"""
    items, pricer = items_of(bench, "encoder")
    wanted = [item for item in items if item.name in ("l6-w100-fp32", "l6-w100-int8", "l2-w50-int8")]
    found: dict[str, list[dict[str, Any]]] = {item.name: [] for item in wanted}
    for turn in range(bench.options.times):
        for name, notes in pricer.measured_anew(wanted).items():
            found[name].append({key: notes["speed"][key] for key in ("p50_ms", "spread", "round_yardstick_ms")})
        bench.progress.line(f"measured {turn + 1} of {bench.options.times} times")
    bench.keep("repeat", found)


def name_of(item: Item, grid: str) -> str:
    """A candidate's name with its family in front where there are several."""
    if grid == "encoder":
        return item.name
    return f"{NAMES[item.candidate.shape.teacher]} {item.name.removeprefix(f't{item.candidate.shape.teacher}-')}"


def rounds(price: Price) -> list[float]:
    """The medians of the rounds that a price is made of."""
    return list(price.speed["round_p50_ms"]) if price.speed else []

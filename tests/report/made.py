"""Manifests as runs write them, with figures that tests choose."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

from compressor.artifact.dial_table import make_dial
from compressor.artifact.manifest import Depth, DepthExample, KeptTokens, Manifest, Measurement, StageRow

RECIPES = ("minilm", "qualaminilm", "distilbert", "int8", "power_bert", "dynabert")
DEVICES = ("jetson_nano_4gb", "raspberry_pi_4_2gb", "up2_2gb", "host")
TEXT = "[CLS] The young man at the desk in Riga was always very kind to me , but the parc ##el never came . [SEP]"
LAYERS = 6


def speed(p50_ms: float, *, on_device: bool = True, rounds: tuple[float, ...] = (1.0, 1.01, 0.99), seed: int = 0):
    """A `Speed` mapping; `rounds` are the medians as shares of `p50_ms`."""
    noise = random.Random(seed)
    times = [round(p50_ms * share * noise.lognormvariate(0, 0.04), 4) for share in rounds for _ in range(30)]
    return {
        "p50_ms": p50_ms,
        "p90_ms": p50_ms * 1.08,
        "p99_ms": p50_ms * 1.3,
        "mean_ms": p50_ms,
        "first_call_ms": p50_ms * 3,
        "session_ms": 90.0,
        "throughput_per_s": 1e3 / p50_ms,
        "peak_memory_mb": 80 + p50_ms,
        "baseline_memory_mb": 47.0,
        "energy_mj": p50_ms * 9 if on_device else None,
        "energy_note": "RAPL",
        "batch_size": 1,
        "length": 128,
        "keep": None,
        "runs": 30,
        "rounds": len(rounds),
        "round_p50_ms": [p50_ms * share for share in rounds],
        "threads": 4,
        "providers": ["CPUExecutionProvider"],
        "nodes_by_provider": None,
        "onnxruntime": "1.31.1",
        "on_device": on_device,
        "measured_on": "host (a processor)" if on_device else "this machine (a processor), not jetson",
        "times_ms": times,
    }


def manifest(
    recipe: str = "minilm",
    device: str = "host",
    *,
    metric: float = 88.0,
    p50_ms: float = 5.0,
    size_mb: float = 14.0,
    data: str = "goemotions",
    task: str = "text-classification",
    on_device: bool = True,
    refused: bool = False,
    rounds: tuple[float, ...] = (1.0, 1.01, 0.99),
    seed: int = 0,
) -> Manifest:
    """One run: three steps, a length dial with examples, a depth dial, gates."""
    name = "f1" if task == "token-classification" else "accuracy"
    drop = 90.0 - metric
    limit = 1.0 if refused else 50.0
    tokens = TEXT.split()
    keep = [0.9, 0.7, 0.6, 0.5, 0.3, 0.2]
    rows = [
        {"keep": [1.0] * LAYERS, "macs": 900_000_000, name: metric + 0.4, "latency_ms": p50_ms * 1.6},
        {"keep": keep, "macs": 500_000_000, name: metric, "latency_ms": p50_ms},
        {"keep": [0.5, 0.4, 0.3, 0.2, 0.1, 0.1], "macs": 200_000_000, name: metric - 4, "latency_ms": p50_ms * 0.5},
    ]
    where = "host (a processor)" if on_device else "this machine (a processor), not jetson"
    return Manifest(
        task=task,
        labels=["joy", "anger"],
        multi_label=False,
        request={
            "recipe": {"name": recipe, "paper": "A Paper 2020", "stages": {"distill": {"epochs": 3.0}}},
            "data": {},
            "features": {},
            "gates": {},
            "measure": {},
            "export": {"parity_tolerance": 1e-3},
        },
        request_key=f"request-{recipe}-{device}-{data}-{seed}",
        command=[f"recipe={recipe}", f"device={device}", "data=files", f"seed={seed}"],
        device={"name": device, "description": "a board", "number_format": "dynamic_int8", "why": "it is"},
        teacher={"name": "/home/somebody/models/my-teacher", "metrics": {name: 90.0}},
        data={"name": data, "fingerprints": {"dev": "0" * 64}},
        seed=seed,
        preprocessing={"max_length": 128, "pad_id": 0, "inputs": ["input_ids"]},
        decoding={},
        metrics={name: metric, "macro_f1": metric - 3},
        host={"cpu": "a processor"},
        agreement={
            "same": 0.97,
            "right_to_wrong": 3,
            "wrong_to_right": 1,
            "examples": 100,
            "interval": {
                "difference": -drop,
                "low": -drop - 0.8,
                "high": -drop + 0.7,
                "level": 0.95,
                "resamples": 2000,
            },
        },
        gates=[
            {
                "name": "max_metric_drop",
                "limit": limit,
                "value": drop,
                "unit": f"points of {name}",
                "judged": True,
                "passed": drop <= limit,
                "note": "",
            },
            {
                "name": "max_latency_ms",
                "limit": 50.0,
                "value": p50_ms,
                "unit": "ms p50",
                "judged": on_device,
                "passed": True if on_device else None,
                "note": "" if on_device else f"measured on {where}",
            },
        ],
        measurements=[
            Measurement(
                name=name,
                value=metric,
                unit="points",
                how="100 held-out examples",
                where="the file itself",
                on_device=False,
            ),
            Measurement(
                name="latency p50",
                value=p50_ms,
                unit="ms",
                how="128 real tokens, batch 1, 4 threads, 3 rounds of 30 "
                "runs after warm-up, each in a fresh process, CPUExecutionProvider",
                where=where,
                on_device=on_device,
            ),
            Measurement(
                name="tokenization p50", value=0.21, unit="ms", how="64 texts", where=where, on_device=on_device
            ),
            Measurement(name="energy", value=None, unit="mJ", how="none", where="-", on_device=False),
        ],
        speed={
            "teacher": speed(p50_ms * 4, on_device=on_device),
            "artifact": speed(p50_ms, on_device=on_device, rounds=rounds, seed=seed),
        },
        stages=[
            StageRow(
                name="teacher",
                metric=90.0,
                size_bytes=90_000_000,
                macs=2_700_000_000,
                p50_ms=p50_ms * 4,
                measured_on=where,
            ),
            StageRow(
                name="distill",
                metric=metric + 0.3,
                size_bytes=50_000_000,
                macs=900_000_000,
                p50_ms=p50_ms * 1.8,
                measured_on=where,
                seconds=420.0,
            ),
            StageRow(
                name="artifact",
                metric=metric,
                size_bytes=int(size_mb * 1e6),
                macs=500_000_000,
                p50_ms=p50_ms,
                measured_on=where,
            ),
        ],
        dial=make_dial(
            kind="optional",
            default=keep,
            minimum=2,
            full_macs=900_000_000,
            rows=rows,
            metric=name,
            measured_on=where,
            examples=[
                KeptTokens(
                    tokens=tokens,
                    layers=[min(LAYERS, (place * 7 + seed) % (LAYERS + 2)) for place in range(len(tokens))],
                )
            ],
        ),
        depth=Depth(
            method="pabee",
            input="patience",
            kind="optional",
            layers=LAYERS,
            default=2.0,
            mean_blocks=3.1,
            histogram=[0, 10, 60, 40, 5, 1],
            full_macs=900_000_000,
            mean_macs=470_000_000,
            early=[DepthExample(text="Thank you!", blocks=2)],
            late=[DepthExample(text="It was, well, fine I guess?", blocks=6)],
        ),
        board_check={
            "examples": 64,
            "same": 98.4,
            "max_abs": 0.021,
            "metrics": {name: 89.1},
            "metrics_here": {name: 90.6},
            "measured_on": "an emulated Cortex-A72",
        },
        versions={"onnxruntime": "1.31.1"},
    )


def many(count: int) -> list[Manifest]:
    """Different runs, of which some were refused, measured elsewhere, or on a noisy machine."""
    noise = random.Random(7)
    found = []
    for place in range(count):
        size = noise.uniform(4, 60)
        p50_ms = 1.2 + size * noise.uniform(0.2, 0.5)
        found.append(
            manifest(
                RECIPES[place % len(RECIPES)],
                DEVICES[place // len(RECIPES) % len(DEVICES)],
                metric=min(90.5, 70 + 5 * size**0.33 + noise.gauss(0, 1.3)),
                p50_ms=p50_ms,
                size_mb=size,
                on_device=place % 4 != 1,
                refused=place % 9 == 8,
                rounds=(1.0, 1.12, 0.97) if place % 10 == 3 else (1.0, 1.01, 0.99),
                seed=place,
            )
        )
    return found


def put(folder: Path, made: Manifest) -> Path:
    """Write a manifest where a run would have."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(made.to_json(), encoding="utf-8")
    return folder


def without(made: Manifest, **changes) -> Manifest:
    """The same run with other entries."""
    return dataclasses.replace(made, **changes)

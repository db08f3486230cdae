"""The model card: `README.md` with a YAML header that the Hugging Face hub understands."""

from __future__ import annotations

from typing import Any

import yaml

from compressor.artifact import usage
from compressor.artifact.figures import number, shown_name, signed, table
from compressor.artifact.manifest import Manifest

_SAME = {"text-regression": "The teacher's number to within 0.02 or 2 %"}
"""What it means to agree with the teacher, where it is more than the same answer."""


def render(manifest: Manifest, size_bytes: int) -> str:
    """The whole card as text."""
    header = yaml.safe_dump(_header(manifest), sort_keys=False, allow_unicode=True).strip()
    parts = [
        f"---\n{header}\n---",
        f"# {manifest.title}",
        _summary(manifest, size_bytes),
        "## Results",
        _results(manifest),
        _stages(manifest),
        _dial(manifest),
        _depth(manifest),
        usage.halves(manifest),
        "## How to run it",
        usage.how_to_run(manifest),
        "## How the figures were taken",
        _measurements(manifest),
        "Everything else - the resolved recipe, all versions, data fingerprints, the SHA-256 of every file - is in "
        "`manifest.json`; `report.html` shows it.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(manifest: Manifest) -> dict[str, Any]:
    teacher = shown_name(manifest.teacher.get("name"))
    data = shown_name(manifest.data.get("name"))
    recipe = str(manifest.request.get("recipe", {}).get("name", "compressed"))
    header: dict[str, Any] = {
        "library_name": "onnx",
        "pipeline_tag": usage.PIPELINES.get(manifest.task, manifest.task),
        "tags": ["onnx", "onnxruntime", "compressor", recipe],
        "metrics": list(manifest.metrics),
    }
    if manifest.teacher.get("hub"):
        header["base_model"] = str(manifest.teacher["hub"])
    if manifest.data.get("hub"):
        header["datasets"] = [str(manifest.data["hub"])]
    header["model-index"] = [
        {
            "name": f"{recipe} of {teacher}",
            "results": [
                {
                    "task": {"type": usage.PIPELINES.get(manifest.task, manifest.task)},
                    "dataset": {"name": data, "type": str(manifest.data.get("hub") or data)},
                    "metrics": [
                        {"type": name, "value": round(value, 3), "name": name}
                        for name, value in manifest.metrics.items()
                    ],
                }
            ],
        }
    ]
    return header


def _summary(manifest: Manifest, size_bytes: int) -> str:
    recipe = manifest.request.get("recipe", {})
    device = manifest.device
    lines = [
        f"Made from the teacher `{shown_name(manifest.teacher.get('name'))}` with the recipe "
        f"`{recipe.get('name', '')}`"
        + (f" ({recipe['paper']})" if recipe.get("paper") else "")
        + f" for the device `{device.get('name', '')}`: {device.get('description', '')}.",
        f"`model.onnx` has {size_bytes / 1e6:.1f} MB{_weights(manifest)}.",
    ]
    if device.get("why"):
        lines.append(f"What the device is fast at: {device.get('number_format')}. {device['why']}")
    return "\n\n".join(lines)


def _weights(manifest: Manifest) -> str:
    shares = [f"{100 * share:.0f} % {name}" for name, share in manifest.weights.items()]
    return f"; of its weights' bytes {', '.join(shares)}" if shares else ""


def _results(manifest: Manifest) -> str:
    data = shown_name(manifest.data.get("name"))
    rows = [(name, f"{value:.2f}") for name, value in manifest.metrics.items()]
    parts = [f"On `{data}`, data that nothing else has seen:", table(("metric", "points"), rows)]
    found = manifest.agreement
    if found:
        same = _SAME.get(manifest.task, "The same answer as the teacher")
        sentence = (
            f"{same} in {100 * found['same']:.1f} % of {found['examples']} examples; "
            f"{found['right_to_wrong']} right answers became wrong, {found['wrong_to_right']} wrong ones right."
        )
        interval = found.get("interval")
        if interval:
            sentence += (
                f" Difference of the mean example score {signed(interval['difference'])} points "
                f"({100 * interval['level']:.0f} % interval {signed(interval['low'])} to {signed(interval['high'])})."
            )
        parts.append(sentence)
    if manifest.gates:
        states = {None: "not judged", True: "met", False: "missed"}
        rows_of_gates = [
            (gate["name"], f"{gate['limit']:g} {gate['unit']}", number(gate["value"], ".4g"), states[gate["passed"]],
             gate["note"] or None)
            for gate in manifest.gates
        ]  # fmt: skip
        parts.append(table(("gate", "limit", "value", "verdict", "note"), rows_of_gates))
    return "\n\n".join(parts)


def _stages(manifest: Manifest) -> str:
    if not manifest.stages:
        return ""
    rows = [
        (
            row.name,
            number(row.metric),
            None if row.size_bytes is None else f"{row.size_bytes / 1e6:.1f}",
            None if row.macs is None else f"{row.macs / 1e9:.2f}",
            number(row.p50_ms),
            row.measured_on,
        )
        for row in manifest.stages
    ]
    head = ("step", manifest.metric_name, "MB", "GMACs", "p50 ms", "measured on")
    return "## From teacher to artifact\n\n" + table(head, rows)


def _dial(manifest: Manifest) -> str:
    dial = manifest.dial
    if dial is None:
        return ""
    default = ", ".join(f"{value:.3g}" for value in dial.default)
    text = (
        "## The length dial\n\nEach layer keeps a fraction of the input's tokens. "
        f"The default is `keep` = ({default}), with at least {dial.minimum} tokens."
    )
    if dial.kind == "optional":
        text += " Another configuration can be given at every call, as the optional input `keep`."
    elif dial.kind == "required":
        text += " The graph takes the configuration at every call, as the input `keep`."
    else:
        text += " It is fixed in this graph."
    text += (
        " How many tokens a layer keeps is counted on the longest text of a batch, so that a text's answer can depend "
        "on what it shares its batch with; in a batch of one it depends on itself alone."
    )
    if not dial.settings:
        return text
    rows = [
        (
            row.name,
            ", ".join(f"{value:.3g}" for value in row.keep),
            number(row.macs / 1e9 if row.macs is not None else None),
            number(row.metric),
            number(row.p50_ms),
            row.measured_on,
        )
        for row in dial.settings
    ]
    head = ("setting", "keep", "GMACs", manifest.metric_name, "p50 ms", "measured on")
    return f"{text}\n\n{table(head, rows)}\n\nThe metric of this table is from {dial.metric_data}."


_METHODS = {"dact": "DACT-BERT", "deebert": "DeeBERT", "pabee": "PABEE"}
_SETTINGS = {
    "dact": "the share of later layers that is disregarded: 0 keeps what all layers predict, 1 takes the first exit",
    "deebert": "the entropy in nats below which a layer's answer is taken",
    "pabee": "the number of layers in a row that must confirm an answer",
}


def _timed(manifest: Manifest) -> str:
    """The layers that ran while speed was measured."""
    ran = manifest.speed.get("artifact", {}).get("layers_run")
    known = isinstance(ran, int | float)
    return f" What speed was measured with ran {number(ran)} layers in the mean." if known else ""


def _depth(manifest: Manifest) -> str:
    depth = manifest.depth
    if depth is None:
        return ""
    text = (
        f"## The depth dial\n\n{_METHODS[depth.method]}: an input runs as many of the {depth.layers} layers as it "
        f"needs, {depth.mean_blocks:.2f} in the mean on the held-out data. `{depth.input}` is "
        f"{_SETTINGS[depth.method]}; its default is {depth.default:g}. The output `blocks_run` says how many layers "
        f"ran.{_timed(manifest)}"
    )
    if not depth.saves:
        text += " Nothing stopped early at this value: every held-out text ran all layers."
    ways = {
        "optional": f" Another value can be given at every call, as the optional input `{depth.input}`, float32 [1].",
        "fixed": " It is fixed in this graph.",
    }
    rows = [(str(number), str(count)) for number, count in enumerate(depth.histogram, start=1)]
    shown = f"{text}{ways[depth.kind]}\n\n{table(('layers', 'held-out texts'), rows)}"
    if not depth.settings:
        return shown
    head = (depth.input, manifest.metric_name, "mean layers")
    tried = [(f"{row.setting:g}", number(row.metric), number(row.mean_blocks)) for row in depth.settings]
    return f"{shown}\n\nValues that were tried, on texts held out of training:\n\n{table(head, tried)}"


def _measurements(manifest: Manifest) -> str:
    rows = [
        (
            entry.name,
            "not measured" if entry.value is None else f"{entry.value:.4g} {entry.unit}",
            entry.how,
            entry.where,
        )
        for entry in manifest.measurements
    ]
    return table(("figure", "value", "how", "where"), rows) if rows else "No speed was measured."

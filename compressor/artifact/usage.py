"""What the model card says of running the artifact."""

from __future__ import annotations

from compressor.artifact.manifest import Manifest

_CALLS = {
    "question-answering": 'question="Who wrote it?", context="It was written by Ada."',
    "text-classification": '"a fine film"',
    "text-regression": '"a fine film", pair="a good film"',
    "token-classification": '"Ada Lovelace lived in London"',
}
_ARGUMENTS = {
    "question-answering": '--question "Who wrote it?" --context "It was written by Ada."',
    "text-classification": '--text "a fine film"',
    "text-regression": '--text "a fine film" --pair "a good film"',
    "token-classification": '--text "Ada Lovelace lived in London"',
}
_CLASSES = {
    "question-answering": "ORTModelForQuestionAnswering",
    "text-classification": "ORTModelForSequenceClassification",
    "text-regression": "ORTModelForSequenceClassification",
    "token-classification": "ORTModelForTokenClassification",
}
_READ_FIRST = {
    "question-answering": ("It was written by Ada.", "Who wrote it?"),
    "other": ("a second text", "a fine film"),
}
PIPELINES = {"text-regression": "text-classification"}
"""What transformers and the hub call a task that they have under another name."""
_CUT = dict.fromkeys(("text-classification", "text-regression"), ", truncation=True")
"""What `pipeline` must be told to cut a long text as we do; for other tasks it does so by itself."""


def how_to_run(manifest: Manifest) -> str:
    """Every way to run the artifact, with code to copy."""
    task = manifest.task
    name = PIPELINES.get(task, task)
    parts = [
        "With onnxruntime, numpy and tokenizers alone:",
        f"```\npython sample.py {_ARGUMENTS[task]}\n```",
        "With compressor, in Python:",
        "```python\nfrom compressor.artifact.predictor import Predictor\n\n"
        f'predictor = Predictor("FOLDER")\nprint(predictor({_CALLS[task]}))\n```',
    ]
    if manifest.dial and manifest.dial.kind != "fixed":
        options = 'setting="full"' if not manifest.dial.full_macs else "budget=0.5"
        parts.append(f"The dial is turned with `--keep` or `--setting`, and with `predictor(..., {options})`.")
    if manifest.depth and manifest.depth.kind != "fixed":
        parts.append("The depth dial is turned with `--depth`, and with `predictor(..., depth=...)`.")
    if not manifest.dial or manifest.dial.kind != "required":
        parts.append(
            "With Optimum and transformers:\n\n"
            f"```python\nfrom optimum.onnxruntime import {_CLASSES[task]}\n"
            "from transformers import AutoTokenizer, pipeline\n\n"
            f'model = {_CLASSES[task]}.from_pretrained("FOLDER")\n'
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
            f'run = pipeline("{name}", model=model, tokenizer=tokenizer{_CUT.get(task, "")})'
            f"\n```{_defaults_alone(manifest)}"
        )
    return "\n\n".join(parts)


def _defaults_alone(manifest: Manifest) -> str:
    """That Optimum and `pipeline` leave dials where they are, and how plain onnxruntime turns them."""
    turned = {}
    if manifest.dial and manifest.dial.kind == "optional":
        turned["keep"] = [1.0] * manifest.dial.layers
    if manifest.depth and manifest.depth.kind == "optional":
        turned[manifest.depth.input] = [manifest.depth.default]
    if not turned:
        return ""
    layers = ", and `blocks_run` is not among their outputs" if manifest.depth else ""
    values = ", ".join(f'"{name}": np.array({value}, np.float32)' for name, value in turned.items())
    return (
        f"\n\nThey run the defaults: they have no way to turn {' or '.join(f'`{name}`' for name in turned)}{layers}. "
        "Plain onnxruntime has, beside `sample.py` and `Predictor` (`inputs` as the tokenizer gives them with "
        '`return_tensors="np"`):\n\n'
        "```python\nimport numpy as np\nimport onnxruntime\n\n"
        'session = onnxruntime.InferenceSession("FOLDER/model.onnx")\n'
        f"outputs = session.run(None, {{**inputs, {values}}})\n```"
    )


def halves(manifest: Manifest) -> str:
    """How the halves of a model that keeps two texts apart are used; empty for others."""
    made = manifest.halves
    if made is None:
        return ""
    asking = manifest.task == "question-answering"
    first, second = ("question", "context") if asking else ("first text", "second text")
    files = " and ".join(f"`{name}` ({size / 1e6:.1f} MB)" for name, size in made.sizes.items())
    read, ask = _READ_FIRST["question-answering" if asking else "other"]
    return (
        f"## A {second} that is read once\n\n"
        f"In the lower {made.layers} of {made.of_layers} layers {first} and {second} do not see each other. "
        f"{files} are the lower and the upper layers of `model.onnx`, so that what the lower ones make of a {second} "
        f"can be kept for any {first}. On {made.examples} held-out examples both ways gave the same answer in "
        f"{100 * made.same:.1f} % (largest difference of an output {made.max_abs:.2g}). A {first} may have "
        f"{made.first_tokens} tokens; a longer one is cut.\n\n"
        "```python\nfrom sample import Model  # or Predictor, as below\n\n"
        f'model = Model("FOLDER")\nkept = model.read("{read}")\nprint(model.ask(kept, "{ask}"))\n```\n\n'
        f"`python sample.py ... --read` takes this way too. `lower.onnx` reads one text: a {first} with the separator "
        f"(id {made.separator}) behind it, a {second} with the separator before it, whose state is then left out. "
        "`upper.onnx` reads the states of both, one behind the other, and their attention mask."
    )

"""The teacher that ships with the demo: a BERT of 4 layers and hidden size 128, fine-tuned for each task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.config.run import TaskName
from compressor.data.demo import LABELS, require, vocabulary
from compressor.errors import StorageError

if TYPE_CHECKING:
    from transformers import BertConfig

WEIGHTS = Path(__file__).with_name("teacher.safetensors")
"""Two encoders and three heads in one file, float16; made by `make_teacher.py`."""

ENCODERS: dict[TaskName, str] = {
    "question-answering": "questions",
    "text-classification": "labels",
    "token-classification": "labels",
}
"""Which encoder a task's head stands on."""
CLASSES: dict[TaskName, str] = {
    "question-answering": "BertForQuestionAnswering",
    "text-classification": "BertForSequenceClassification",
    "token-classification": "BertForTokenClassification",
}


def shape(task: TaskName) -> dict[str, Any]:
    """The teacher's `config.json` with the labels of a task's demo data; imports nothing heavy.

    Raises `TaskError` for a task that the demo does not have.
    """
    require(task)
    labels = LABELS[task] or ("LABEL_0", "LABEL_1")
    return {
        "model_type": "bert",
        "architectures": [CLASSES[task]],
        "vocab_size": len(vocabulary.vocabulary()),
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "max_position_embeddings": vocabulary.MAX_TOKENS,
        "type_vocab_size": 2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "single_label_classification" if task == "text-classification" else None,
    }


def encoder_config(task: TaskName) -> BertConfig:
    """The teacher's architecture as transformers' config."""
    from transformers import BertConfig

    values = {key: value for key, value in shape(task).items() if key != "model_type"}
    return BertConfig(**values)  # type: ignore[no-untyped-call]


def new_model(task: TaskName) -> Any:
    """A stock BERT model for the task with fresh weights."""
    import transformers

    return getattr(transformers, CLASSES[task])(encoder_config(task))


def stored_name(task: TaskName, parameter: str) -> str:
    """The name in the file of a parameter of the task's model: encoders are shared, heads are not."""
    return f"{ENCODERS[task] if parameter.startswith('bert.') else task}/{parameter}"


def demo_teacher(task: TaskName, target: Path) -> Path:
    """Write the embedded teacher of a task as a `save_pretrained` checkpoint (float32) into `target`.

    Raises `StorageError` if the folder cannot be written.
    """
    from safetensors.torch import load_file

    stored = load_file(WEIGHTS)
    model = new_model(task)
    model.load_state_dict({name: stored[stored_name(task, name)].float() for name in model.state_dict()})
    try:
        model.save_pretrained(target)
        vocabulary.tokenizer().save_pretrained(target)
    except OSError as error:
        raise StorageError(f"the demo's teacher could not be written to {target}: {error}.") from error
    return target

"""Small files of every format."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a text file under a name (packed if it ends in .gz); returns its path."""

    def write_file(name: str, text: str) -> str:
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(tmp_path / name)

    return write_file


def squad(contexts: dict[str, list[tuple[str, str, list[str]]]]) -> dict[str, Any]:
    """SQuAD JSON of contexts with (id, question, answer texts)."""
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": name,
                    "question": question,
                    "answers": [{"text": text, "answer_start": context.find(text)} for text in answers],
                }
                for name, question, answers in questions
            ],
        }
        for context, questions in contexts.items()
    ]
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}


@pytest.fixture
def squad_file(write: Callable[[str, str], str]) -> Callable[..., str]:
    """Write contexts with questions as SQuAD JSON; `change` edits the value first."""

    def write_squad(name: str, contexts: Any, change: Callable[[Any], Any] = lambda value: value) -> str:
        return write(name, json.dumps(change(squad(contexts))))

    return write_squad

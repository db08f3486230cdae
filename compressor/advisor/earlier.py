"""An earlier advice in the same folder: one for the same data is renewed, another one is in the way."""

from __future__ import annotations

import json

from compressor.advisor.requests import Question
from compressor.errors import ArtifactExistsError

FILE = "advice.json"


def require_room(question: Question, held_out: str) -> None:
    """Raise `ArtifactExistsError` where an advice for other held-out data or another teacher would be replaced.

    It and its artifacts, which have the same names. `held_out` is the fingerprint of the held-out data. An advice
    that cannot be read, or does not say what it is for, is in nobody's way.
    """
    request = question.request
    if request.overwrite:
        return
    try:
        found = json.loads((question.folder / FILE).read_text(encoding="utf-8"))
        there = (found["held_out"], found["teacher"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    what = "other held-out data" if there[0] != held_out else f"the teacher {there[1]}"
    if there != (held_out, request.teacher_name):
        raise ArtifactExistsError(
            f"{question.folder} holds an advice for {what}: add overwrite=true to replace it and its artifacts, or "
            "write elsewhere with output=DIR."
        )

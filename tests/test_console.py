"""What a run says where there is no terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console as RichConsole

from compressor import console


def test_long_work_says_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    text = io.StringIO()
    ours = console.Console(RichConsole(file=text, force_terminal=False))
    with ours.bar("distill", 10) as bar:
        for note in ("", "loss 2", "", "loss 1"):
            now[0] += 20
            bar.advance(2, note)
    assert text.getvalue().splitlines() == ["distill: 4 of 10, loss 2", "distill: 8 of 10, loss 1"]


def test_short_work_says_nothing() -> None:
    text = io.StringIO()
    with console.Console(RichConsole(file=text, force_terminal=False)).bar("fuse", 3) as bar:
        bar.advance()
    assert text.getvalue() == ""


def test_rounds_that_differ_are_told_of_every_row_that_was_timed() -> None:
    def row(name: str, spread: float) -> SimpleNamespace:
        speed = SimpleNamespace(steady=spread <= 0.05, spread=spread, fits_memory=None)
        return SimpleNamespace(name=name, speed=speed, on_board=None)

    untimed = SimpleNamespace(name="distill", speed=None, on_board=None)
    assert list(console._doubts([row("teacher", 0.2), untimed, row("artifact", 0.01)])) == [
        "The machine was too noisy: rounds differ by more than 5 % (teacher by 20 %)."
    ]
    assert list(console._doubts([row("teacher", 0.02), row("artifact", 0.05)])) == []

"""Processes that measure on one machine take turns; those of different machines do not wait."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event

import pytest

from compressor.devices.turn import turn_to_measure


def hold(host: str | None, inside: Event, leave: Event) -> None:
    with turn_to_measure(host):
        inside.set()
        leave.wait(30)


@pytest.fixture
def held() -> Callable[[str], None]:
    """Another process that measures on a host until the test ends."""
    context = multiprocessing.get_context("spawn")
    running = []

    def start(host: str) -> Event:
        inside, leave = context.Event(), context.Event()
        process = context.Process(target=hold, args=(host, inside, leave))
        process.start()
        running.append((process, leave))
        assert inside.wait(30)
        return leave

    yield start
    for process, leave in running:
        leave.set()
        process.join(30)


def test_others_wait_and_other_machines_do_not(held: Callable[[str], Event]) -> None:
    leave = held("user@a-board-of-this-test")
    with turn_to_measure("user@another-board-of-this-test"), turn_to_measure("user@another-board-of-this-test"):
        pass  # neither another machine's turn nor one's own is waited for
    leave_at = time.monotonic() + 0.5
    threading.Timer(0.5, leave.set).start()
    with turn_to_measure("user@a-board-of-this-test"):
        assert time.monotonic() >= leave_at - 0.05

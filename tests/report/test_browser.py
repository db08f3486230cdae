"""The page in a real Chromium: sorting, filters, keyboard, a phone's width, nothing loaded, quick with 200 runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compressor.report.entry import Entry, Figure
from compressor.report.page import render, render_run
from tests.report.made import manifest, many
from tests.require import missing, require

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
QUIET += ("--disable-component-update", "--disable-sync")
SECONDS = 2.0
MEGABYTES = 6.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = require("chromium", "apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is missing: pip install 'compressor[dev]'")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "run.html").write_text(render_run(manifest(on_device=False)), encoding="utf-8")
    entries = [Entry.from_manifest(made, name=f"run {place}") for place, made in enumerate(many(200))]
    (folder / "sweep.html").write_text(render(entries, title="200 runs"), encoding="utf-8")
    candidates = [
        Entry(
            name=f"candidate {place}", state="ruled out", task=entries[0].task, data=entries[0].data, device="host",
            metric_name="accuracy", reason="too slow",
            figures={"metric": Figure(80.0 + place, "predicted"), "p50_ms": Figure(30.0 + place, "predicted")},
        )
        for place in range(3)
    ]  # fmt: skip
    advice = render([*entries[:5], *candidates], title="An advice", limits={"p50_ms": 20.0, "metric": 80.0})
    (folder / "advice.html").write_text(advice, encoding="utf-8")
    return folder


class Page:
    """An open page that has noted everything it should not have done."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **context})
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda asked: asked.url.startswith("file:") or self.said.append(asked.url))
        started = time.monotonic()
        self.page.goto(file.as_uri())
        self.seconds = time.monotonic() - started

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()
        assert self.said == []


def column(page: Any, number: int) -> list[str]:
    return page.eval_on_selector_all(
        f"#table tbody tr:not([hidden]) > :nth-child({number})", "cells => cells.map((one) => one.textContent.trim())"
    )


def number_of(page: Any, head: str) -> int:
    heads = page.eval_on_selector_all("#table thead th", "heads => heads.map((one) => one.textContent)")
    return next(place for place, text in enumerate(heads, start=1) if text.strip().startswith(head))


def test_columns_sort_both_ways(browser: Any, pages: Path) -> None:
    with Page(browser, pages / "sweep.html") as page:
        place = number_of(page, "size")
        head = page.locator(f"#table thead th:nth-child({place})")
        for order, reverse in (("ascending", False), ("descending", True)):
            head.locator("button").click()
            values = [float(text) for text in column(page, place)]
            assert head.get_attribute("aria-sort") == order
            assert len(values) == 200 and values == sorted(values, reverse=reverse)
        page.locator(f"#table thead th:nth-child({number_of(page, 'energy')}) button").click()
        energy = column(page, number_of(page, "energy"))
        assert energy[-1] == "–" and energy[0] != "–"  # what was not measured comes last


@pytest.mark.parametrize("name", ["run", "sweep", "advice"])
def test_captions_stand_above_their_tables(browser: Any, pages: Path, name: str) -> None:
    heads = """() => [...document.querySelectorAll("caption:not(.hidden)")].filter((one) => one.checkVisibility())
        .map((one) => [one.getBoundingClientRect(), one.parentElement.tHead.getBoundingClientRect()])
        .map(([one, head]) => [one.bottom <= head.top, one.width >= Math.min(300, head.width)])"""
    with Page(browser, pages / f"{name}.html") as page:
        found = page.evaluate(heads)
    assert found and all(above and wide for above, wide in found), found


def test_scripts_leave_the_columns_as_wide_as_they_are(browser: Any, pages: Path) -> None:
    widths = "() => [...document.querySelectorAll('#table thead th')].map((one) => Math.round(one.offsetWidth))"
    with Page(browser, pages / "sweep.html", java_script_enabled=False) as page:
        plain = [round(one.bounding_box()["width"]) for one in page.locator("#table thead th").all()]
    with Page(browser, pages / "sweep.html") as page:
        assert page.evaluate(widths) == pytest.approx(plain, abs=1)


def test_filters_hold_for_table_plot_and_details(browser: Any, pages: Path) -> None:
    with Page(browser, pages / "sweep.html") as page:
        assert page.locator("#plot a").count() == 200
        page.select_option("[data-filter=device]", "up2_2gb")
        page.select_option("[data-filter=state]", "artifact")
        shown = column(page, 1)
        assert 0 < len(shown) < 60 and set(column(page, number_of(page, "device"))) == {"up2_2gb"}
        assert page.locator("#plot a").count() == len(shown) == page.locator("details.run:visible").count()
        assert page.inner_text("#shown") == f"{len(shown)} of 200 shown."
        page.fill("#search", "no such run")
        assert column(page, 1) == [] and "None of those shown" in page.inner_text("#plot")


def test_axes_are_chosen_and_marks_tell_their_figures(browser: Any, pages: Path) -> None:
    with Page(browser, pages / "sweep.html") as page:
        page.select_option("#x", "size_mb")
        page.select_option("#y", "metric_drop")
        axes = page.eval_on_selector_all("#plot .axis", "texts => texts.map((one) => one.textContent)")
        assert axes == ["size, MB", "below the teacher, points"]
        assert page.locator("#plot .front").count() == 1
        page.locator("#plot a").nth(7).dispatch_event("pointerover", {"bubbles": True})
        assert "size" in page.inner_text("#tip") and "MB" in page.inner_text("#tip")


def test_everything_is_reached_with_the_keyboard(browser: Any, pages: Path) -> None:
    with Page(browser, pages / "sweep.html") as page:
        where = "() => document.activeElement.getAttribute('href') || document.activeElement.id"
        page.keyboard.press("Tab")
        assert page.evaluate(where) == "#main"
        page.locator("#colour").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.tagName") == "a"
        first = page.evaluate(where)
        assert first.startswith("#run-") and page.locator("#tip").is_visible()
        page.keyboard.press("ArrowRight")
        second = page.evaluate(where)
        assert second.startswith("#run-") and second != first
        page.keyboard.press("Enter")
        assert page.locator(second).get_attribute("open") is not None
        assert page.evaluate("() => document.activeElement.tagName") == "SUMMARY"
        assert page.locator(second).get_by_text("What each step gained and cost").is_visible()
        outline = (
            "() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth; }"
        )
        page.locator("#search").focus()
        page.keyboard.press("Tab")
        assert page.evaluate(outline) == "solid2px"
        head = page.locator("#table thead th button").nth(0)
        head.focus()
        page.keyboard.press("Enter")
        assert page.locator("#table thead th").nth(0).get_attribute("aria-sort") == "ascending"


@pytest.mark.parametrize("name", ["run", "sweep", "advice"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways_on_a_phone(browser: Any, pages: Path, name: str, scheme: str) -> None:
    with Page(browser, pages / f"{name}.html", viewport={"width": 360, "height": 740}, color_scheme=scheme) as page:
        page.eval_on_selector_all("details", "all => all.slice(0, 3).forEach((one) => { one.open = true; })")
        page.wait_for_selector("details[open] pre, details[open] table")
        assert page.evaluate("() => document.documentElement.scrollWidth") == 360
        ratios = page.evaluate(CONTRAST)
        assert min(ratios) >= 4.5, min(ratios)


def test_limits_of_an_advice_are_lines(browser: Any, pages: Path) -> None:
    with Page(browser, pages / "advice.html") as page:
        assert page.locator("#plot line.limit").count() == 2
        names = page.eval_on_selector_all("#plot .limit-name", "all => all.map((one) => one.textContent)")
        assert names == ["at most 20", "at least 80"]
        assert page.locator("#plot .dot.hollow").count() >= 3
        assert not page.locator("[data-filter=data]").is_visible(), "there is one data alone"
        page.select_option("#x", "size_mb")
        assert page.locator("#plot line.limit").count() == 1


def test_it_can_be_read_without_javascript(browser: Any, pages: Path) -> None:
    with Page(browser, pages / "sweep.html", java_script_enabled=False) as page:
        assert page.locator("#plot svg a").count() == 200 and page.locator("#table tbody tr").count() == 200
        assert page.locator("#legend li").count() == 6
        assert not page.locator("#filters").is_visible() and not page.locator("#axes").is_visible()
        page.locator("details.run summary").first.click()
        assert "What each step gained and cost" in page.locator("details.run").first.inner_text()


def test_200_runs_are_light_and_quick(browser: Any, pages: Path) -> None:
    assert (pages / "sweep.html").stat().st_size < MEGABYTES * 1e6
    seconds = []
    for _ in range(3):  # the best of three: what else the machine does is not the page's fault
        opened = Page(browser, pages / "sweep.html")
        with opened as page:
            loaded = page.evaluate("() => performance.getEntriesByType('navigation')[0].loadEventEnd")
            assert page.locator("#plot a").count() == 200
        seconds.append(max(loaded / 1e3, opened.seconds))
    assert min(seconds) < SECONDS, seconds


CONTRAST = """() => {
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const found = numbers(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  const texts = "p, th, td, dt, dd b, a:not(svg a), small, figcaption, caption, li, summary span";
  for (const node of document.querySelectorAll(texts)) {
    if (!node.textContent.trim() || !node.checkVisibility()) continue;
    const ink = light(numbers(getComputedStyle(node).color).slice(0, 3));
    const [a, b] = [ink, light(behind(node))].sort((x, y) => y - x);
    found.push((a + 0.05) / (b + 0.05));
  }
  return found;
}"""


def test_marks_of_a_run_say_where_their_times_were_taken(browser: Any, pages: Path, tmp_path: Path) -> None:
    labels = "marks => marks.map((one) => one.getAttribute('aria-label'))"
    with Page(browser, pages / "run.html") as page:
        said = page.eval_on_selector_all("#plot a", labels)
    assert len(said) == 6 and all("ms (other machine)" in one for one in said)
    (tmp_path / "here.html").write_text(render_run(manifest()), encoding="utf-8")
    with Page(browser, tmp_path / "here.html") as page:
        assert not any("other machine" in one for one in page.eval_on_selector_all("#plot a", labels))


def test_marks_say_what_does_not_fit(browser: Any, tmp_path: Path) -> None:
    entries = [Entry.from_manifest(made, name=f"run {place}") for place, made in enumerate(many(2))]
    entries[1] = dataclasses.replace(entries[1], fits_memory=False)
    (tmp_path / "two.html").write_text(render(entries, title="two"), encoding="utf-8")
    with Page(browser, tmp_path / "two.html") as page:
        labels = [mark.get_attribute("aria-label") for mark in page.locator("#plot a").all()]
        assert [("does not run in the memory" in one) for one in sorted(labels)] == [False, True]

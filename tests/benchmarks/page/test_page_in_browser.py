"""The page in headless Chromium: the slider, offline, 360 pixels, light and dark, contrast, without JavaScript."""

from __future__ import annotations

import io
import os
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_reports import FIRST, NASTY, SECOND, full_gallery, full_report
from numpy.typing import NDArray
from PIL import Image

from mirnet_deploy.benchmarks.page.page import bench_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

CONTRASTS = """
() => {
  const parse = (text) => {
    const found = text.match(/^rgba?\\(([^)]+)\\)$/);
    if (!found) throw new Error("a colour that is not understood: " + text);
    const [r, g, b, a = 1] = found[1].split(",").map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((value, index) => a * value + (1 - a) * below[index]);
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const colour = parse(getComputedStyle(element).backgroundColor);
    return colour[3] === 1 ? colour.slice(0, 3) : over(colour, behind(element.parentElement));
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  const add = (kind, element, colour, opacity, said) => {
    const below = behind(element);
    const [r, g, b, a] = parse(colour);
    found.push([kind, ratio(over([r, g, b, a * opacity], below), below), said]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const said = walker.currentNode.textContent.trim();
    if (!said || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName) || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    add("text", element, element instanceof SVGElement ? style.fill : style.color, 1, said);
  }
  for (const element of document.querySelectorAll("select")) {
    add("text", element, getComputedStyle(element).color, 1, "a choice");
    add("graphic", element, getComputedStyle(element).borderTopColor, 1, "the border of a choice");
  }
  for (const element of document.querySelectorAll(".dot, .bar")) {
    const style = getComputedStyle(element);
    add("graphic", element, style.fill, Number(style.fillOpacity), element.getAttribute("class"));
  }
  for (const element of document.querySelectorAll(".mark, .base, .axis line, .series line, .marker")) {
    add("graphic", element, getComputedStyle(element).stroke, 1, element.getAttribute("class"));
  }
  return found;
}
"""
"""The contrast of every text that is seen, and of what figures are read from, by WCAG 2.2's formula."""


@dataclass
class Opened:
    """The page in a browser, and what happened meanwhile."""

    browser: Any
    page: Any
    address: str
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def panels(self) -> NDArray[np.uint8]:
        """The first slider as it is seen."""
        shot = self.page.locator(".panels").first.screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def divider(self) -> int:
        """Where the first slider's divider is said to be, in percent."""
        return int(self.page.locator(".divider input").first.input_value())


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """One browser, and one page with everything that a page may have."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        warnings.warn("the page of bench --html was not tried in a browser: there is no Chromium here", stacklevel=1)
        pytest.skip("there is no Chromium here (apt-get install chromium)")
    report = full_report()
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(bench_page(report, full_gallery(report).entries), encoding="utf-8")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # whom Chromium's sandbox refuses
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if root else [])
        page = browser.new_context(viewport={"width": 1100, "height": 900}, has_touch=True).new_page()
        made = Opened(browser, page, path.as_uri())
        page.on("request", lambda request: made.requests.append(request.url))
        page.on("console", lambda message: made.messages.append(message.text))
        page.on("pageerror", lambda error: made.messages.append(str(error)))
        page.goto(made.address)
        yield made
        browser.close()


def shows(pixels: NDArray[np.uint8], at: float) -> bool:
    """Whether the dark input ends, and the bright output begins, at so many percent of the picture's width."""
    middle = pixels[len(pixels) // 8 : len(pixels) // 4].mean(axis=(0, 2))  # above the handle
    left, right = (round((at + off) / 100 * len(middle)) for off in (-2, 2))
    return bool(middle[:left].max() < 60 and middle[right:].min() > 60)


def test_it_opens_in_the_middle_between_input_and_output(opened: Opened) -> None:
    assert opened.divider() == 50
    assert shows(opened.panels(), 50)


def test_the_divider_follows_the_mouse(opened: Opened) -> None:
    box = opened.page.locator(".panels").first.bounding_box()
    mouse, y = opened.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + 0.5 * box["width"], y)
    mouse.down()
    mouse.move(box["x"] + 0.3 * box["width"], y, steps=3)
    assert shows(opened.panels(), 30)
    mouse.move(box["x"] - 50, y)
    assert opened.divider() == 0
    mouse.move(box["x"] + 0.8 * box["width"], y)
    mouse.up()
    mouse.move(box["x"] + 0.1 * box["width"], y)
    assert opened.divider() == 80, "it was let go"
    assert shows(opened.panels(), 80)


def test_the_divider_follows_a_finger_and_lets_it_scroll(opened: Opened) -> None:
    box = opened.page.locator(".panels").first.bounding_box()
    y = box["y"] + box["height"] / 3
    session = opened.page.context.new_cdp_session(opened.page)

    def touch(kind: str, *at: float) -> None:
        points = [{"x": box["x"] + share * box["width"], "y": y} for share in at]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.7)
    touch("touchMove", 0.5)
    touch("touchMove", 0.25)
    touch("touchEnd")
    assert opened.divider() == 25
    assert shows(opened.panels(), 25)
    assert opened.page.locator(".panels").first.evaluate("e => getComputedStyle(e).touchAction") == "pan-y"


def test_the_divider_follows_the_keyboard_and_its_focus_is_seen(opened: Opened) -> None:
    page = opened.page
    page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    without = opened.page.locator(".handle svg").first.evaluate("e => getComputedStyle(e).boxShadow")
    page.locator("h1").first.click()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement === document.querySelector('.divider input')")
    assert page.locator(".handle svg").first.evaluate("e => getComputedStyle(e).boxShadow") != without
    page.keyboard.press("Home")
    assert opened.divider() == 0
    assert not shows(opened.panels(), 50)
    for _ in range(3):
        page.keyboard.press("PageUp")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert opened.divider() == 34
    assert shows(opened.panels(), 34)
    said = page.locator(".divider input").first.get_attribute("aria-valuetext")
    assert said == f"34 % input, the rest {FIRST}"


def test_every_panel_can_be_put_on_either_side(opened: Opened) -> None:
    right, left = opened.page.locator("select.right").first, opened.page.locator("select.left").first
    opened.page.locator(".divider input").first.fill("50")
    before = opened.panels()[40:60, -60:-20].mean()
    right.select_option("ground truth")
    truth = opened.panels()[40:60, -60:-20].mean()
    assert before - truth == pytest.approx(12, abs=4), "the output of the report is 12 levels too bright"
    right.select_option(SECOND)
    assert truth - opened.panels()[40:60, -60:-20].mean() == pytest.approx(25, abs=5)
    right.select_option("input")
    assert left.evaluate("e => e.value") == SECOND, "sides that would show the same picture are exchanged"
    left.select_option("input")
    right.select_option(FIRST)
    assert shows(opened.panels(), 50)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_is_legible(opened: Opened, scheme: str) -> None:
    opened.page.emulate_media(color_scheme=scheme)
    found = opened.page.evaluate(CONTRASTS)
    background = opened.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(int(value) for value in background[4:-1].split(",")) > 600) == (scheme == "light")
    assert sum(kind == "text" for kind, _, _ in found) > 300
    assert sum(kind == "graphic" for kind, _, _ in found) > 50
    bad = [each for each in found if each[1] < (4.5 if each[0] == "text" else 3)]
    assert bad == []
    opened.page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("width", [360, 800, 1100])
def test_the_page_never_scrolls_sideways(opened: Opened, width: int) -> None:
    page = opened.page
    page.set_viewport_size({"width": width, "height": 740})
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]") == [width, width]
    beyond = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((each) => {
             const box = each.getBoundingClientRect();
             return box.width && box.right > innerWidth + 1 && !each.closest(".scroll table, .panels, .axis");
           }).map((each) => each.outerHTML.slice(0, 80))"""
    )
    assert beyond == []
    small = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((each) =>
             each.checkVisibility() && parseFloat(getComputedStyle(each).fontSize) < 12).length"""
    )
    assert small == 0
    page.set_viewport_size({"width": 1100, "height": 900})


def test_nothing_was_fetched_and_the_policy_would_stop_it(opened: Opened) -> None:
    """The last of the tests with this page: all that was done so far made no request."""
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.address]
    assert opened.messages == []
    stopped = opened.page.evaluate(
        """() => new Promise((resolve) => {
             document.addEventListener("securitypolicyviolation", (event) => resolve(event.blockedURI));
             const image = new Image();
             image.src = "https://example.invalid/beacon.png";
             setTimeout(() => resolve(null), 2000);
           })"""
    )
    assert stopped == "https://example.invalid/beacon.png"


def test_without_javascript_pictures_stand_side_by_side(opened: Opened) -> None:
    context = opened.browser.new_context(viewport={"width": 1100, "height": 900}, java_script_enabled=False)
    page = context.new_page()
    page.goto(opened.address)
    boxes = [panel.bounding_box() for panel in page.locator(".panels").first.locator(".panel").all()]
    assert len(boxes) == 4
    assert None not in boxes
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    shot = np.asarray(Image.open(io.BytesIO(page.locator(".panel").nth(1).screenshot())).convert("RGB"))
    assert shot.mean() > 80
    for hidden in (".divider", ".choices"):
        assert not page.locator(hidden).first.is_visible()
    assert page.locator("h2", has_text=NASTY).is_visible()
    assert page.get_by_text("Latency at 600x400, 60 runs", exact=True).is_visible()
    for folded in page.locator("details").all():
        folded.locator("summary").click()
        assert folded.locator("table").is_visible()
    context.close()


def test_printed_it_has_both_pictures_and_no_controls(opened: Opened) -> None:
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert all(panel.is_visible() for panel in opened.page.locator(".panels").first.locator(".panel").all())
    assert not opened.page.locator(".choices").first.is_visible()
    assert opened.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(253, 252, 250)"
    opened.page.emulate_media(media="screen", color_scheme="light")

# SPDX-License-Identifier: Apache-2.0
"""The page: its pictures, charts and figures, without a network."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from edgepose.errors import InvalidInputError
from edgepose.evaluation import Mpii, Scenes, calibrate, evaluate
from edgepose.evaluation.cases import as_data_uri, draw_case
from edgepose.evaluation.charts import reliability_chart, spread_chart
from edgepose.evaluation.report import page

Write = Callable[[Any], Path]
SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that elements nest, and keeps pictures, headings and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.addresses += [named[name] or "" for name in ("src", "href") if name in named]
        if tag == "img":
            self.pictures.append(named["src"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def people(images: Path, write: Write) -> Mpii:
    records = [
        {
            "image": f"{name}.png",
            "center": [30.0, 20.0],
            "scale": 0.2,
            "joints": [[10 + k, 20 + k * (number + 1)] for k in range(16)],
            "joints_vis": [1] * 16,
        }
        for number, name in enumerate("abc")
    ]
    return Mpii(write(records), images)


def test_page_holds_everything(people: Mpii, answering: Any, tmp_path: Path) -> None:
    found = evaluate(answering(people, shift=(1, 0), kind="<b>&model"), people)
    data, html = found.save(tmp_path / "out")
    text = html.read_text(encoding="utf-8")
    shown = Page(text)
    assert len(shown.pictures) == 3  # two best, one worst
    for picture in shown.pictures:
        kind, _, content = picture.partition(",")
        assert kind == "data:image/jpeg;base64"
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None and decoded.shape == (340, 340, 3)
    assert all(address.startswith("data:") for address in shown.addresses)
    assert "<b>&model on mpii" in shown.words and "PCKh@0.5" in shown.words
    assert "Worst by mean error / head size" in shown.words
    assert text.count("<svg") == 2
    value = json.loads(data.read_text(encoding="utf-8"))
    assert value["metrics"]["PCKh@0.5"] == pytest.approx(found.metrics["PCKh@0.5"])
    assert [case["id"] for case in value["worst"]] == ["0"]  # the smallest head
    assert [case["id"] for case in value["best"]] == ["2", "1"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evaluation.json", "report.html"]


def test_page_of_places_in_metres(
    scenes_json: dict[str, Any], images: Path, write: Write, answering: Any
) -> None:
    dataset = Scenes(write(scenes_json), images, parts=["left_arm", "all"])
    found = evaluate(answering(dataset, crop=False, shift_m=(0.1, 0, 0)), dataset)
    shown = Page(page(found))
    assert "Parts of the body, mm" in shown.words and "In space" in shown.words
    assert "left arm" in shown.words and len(shown.pictures) == 4


def test_cases_show_truth_and_answer(people: Mpii, answering: Any) -> None:
    found = evaluate(answering(people), people)
    sample, answer = found.samples[0], found.answers[0]
    grey = np.full((48, 64, 3), 90, np.uint8)
    picture = draw_case(grey, sample, answer)
    assert picture.shape == (340, 340, 3) and picture.dtype == np.uint8
    red = (picture.astype(int) - (255, 72, 66)).astype(int)
    assert not (np.abs(red).sum(axis=2) < 30).any()  # no error, no line
    moved = evaluate(answering(people, shift=(9, 0)), people).answers[0]
    red = (draw_case(grey, sample, moved).astype(int) - (255, 72, 66)).astype(int)
    assert (np.abs(red).sum(axis=2) < 30).sum() > 50
    decoded = cv2.imdecode(
        np.frombuffer(base64.b64decode(as_data_uri(picture).split(",")[1]), np.uint8), cv2.IMREAD_COLOR
    )
    assert np.abs(decoded[..., ::-1].astype(int) - picture).mean() < 8


def test_charts_are_sound_svg() -> None:
    std = np.linspace(0.5, 50, 200)
    found = calibrate(np.random.default_rng(0).normal(size=200) * std, std, "px & more")
    for chart, dots in ((reliability_chart, 2), (spread_chart, 10)):
        root = ElementTree.fromstring(chart(found, "A <title>"))
        assert root.tag == f"{SVG}svg" and root[0].text == "A <title>"
        circles = root.findall(f"{SVG}circle")
        assert len(circles) == dots
        for circle in circles:
            assert 0 <= float(circle.get("cx", "nan")) <= 376 and 0 <= float(circle.get("cy", "nan")) <= 362
    # Right deviations: the curve stays on the diagonal.
    curve = ElementTree.fromstring(reliability_chart(found, "")).findall(f"{SVG}polyline")[1]
    points = [tuple(map(float, p.split(","))) for p in (curve.get("points") or "").split()]
    assert all(abs((x - 62) - (314 - y)) < 30 for x, y in points) and len(points) == 31


def test_charts_of_nothing() -> None:
    nothing = calibrate([np.nan], [np.nan], "px")
    for chart in (reliability_chart, spread_chart):
        assert ElementTree.fromstring(chart(nothing, "")).findall(f"{SVG}circle") == []
    certain = calibrate([1.0, 2.0], [0.0, 0.0], "px")
    assert ElementTree.fromstring(spread_chart(certain, "")).findall(f"{SVG}circle") == []


def test_page_without_deviations_or_pictures(people: Mpii, answering: Any) -> None:
    found = evaluate(answering(people), people, limit=1)
    text = page(found)
    assert len(Page(text).pictures) == 1 and "Worst" not in text
    assert not re.search(r"\$\w", text)  # no placeholder is left


def test_places_that_cannot_be_written_to(people: Mpii, answering: Any, images: Path) -> None:
    found = evaluate(answering(people), people)
    with pytest.raises(InvalidInputError, match="folder that can be written to"):
        found.save(images / "a.png")

"""``rlkit report``: the page is well formed, needs no network, and shows what the folders say."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner

from rlkit_tools.report.chart import HEIGHT, WIDTH, Series, chart, short, ticks
from rlkit_tools.report.command import report


class Page(HTMLParser):
    """Tables as lists of cells, and what is asked for elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.asked, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.asked += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "line"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])

    def handle_endtag(self, tag):
        if tag != "line":
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1].append(data)


def test_the_page_says_what_the_folders_say(tmp_path, write_run):
    for seed, final in enumerate((1.0, 2.0, 6.0)):
        run = write_run(tmp_path / f"a{seed}", seed=seed, final=final)
    write_run(tmp_path / "b<", lr=2e-3, curve=((100, 5.0), (200, 7.0)))
    (run / "versions.json").write_text(json.dumps({"python": "3.11.7", "plugins": {"rlkit-ppo": "0.1.0"}}))
    out = tmp_path / "report.html"
    done = CliRunner().invoke(report, [str(tmp_path), "-o", str(out)])
    assert done.exit_code == 0, done.output
    text = out.read_text()
    page = Page(text)
    assert page.open == page.asked == []
    assert "http" not in text
    assert "@import" not in text
    groups, levels, differs, runs, versions = page.tables
    assert groups[1][:5] == ["A", "PPO", "CartPole-v1", "3", "3"]
    assert levels[-1] == ["3", "200 (3/3)", "100 (1/1)"]
    assert differs[1] == ["lr", "0.001", "0.002"]
    assert [row[:4] for row in runs[-2:]] == [["A", str(run), "2", "6"], ["B", str(tmp_path / "b<"), "0", "7"]]
    assert ["python", "-", "3.11.7"] in versions
    assert ["rlkit-ppo", "-", "0.1.0"] in versions


def test_runs_without_a_return_have_no_curve(tmp_path, write_run):
    write_run(tmp_path / "run", curve=())
    done = CliRunner().invoke(report, [str(tmp_path), "-o", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    assert "<svg" not in (tmp_path / "r.html").read_text()


def test_curves_stay_inside_and_keep_their_proportions():
    steps, values = np.array([0.0, 500.0, 1000.0]), np.array([-3.0, 0.0, 9.0])
    band = Series("a & b", 0, steps, values, values - 1.0, values + 1.0)
    drawn = chart([band, Series("line", 9, steps, values, values * math.nan, values * math.nan)], "return", target=8.0)
    svg = ET.fromstring(drawn[: drawn.index("</svg>") + 6])
    assert "a &amp; b" in drawn
    assert [line.get("class") for line in svg.findall("polyline")] == ["s0", "s1"]  # there are eight colours
    (polygon,), (line, _) = svg.findall("polygon"), svg.findall("polyline")
    corners = [tuple(map(float, pair.split(","))) for pair in polygon.get("points").split()]
    assert len(corners) == 6
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in corners)
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, pair.split(","))) for pair in line.get("points").split())
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert (y0 - y1) / (y1 - y2) == pytest.approx(3.0 / 9.0, abs=0.01)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 4096), (-2000, -100), (5, 5), (0, 0), (0.001, 0.0011), (9.5, 500)]
)
def test_ticks_are_few_round_and_enclose(low, high):
    found = ticks(low, high)
    assert found[0] <= low <= high <= found[-1]
    assert 2 <= len(found) <= 8
    assert np.ptp(np.diff(found)) == pytest.approx(0.0, abs=1e-9)


def test_short_numbers():
    assert [short(value) for value in (0, 500, 20_000, 1_500_000, 2e9)] == ["0", "500", "20k", "1.5M", "2G"]


def test_a_single_point_is_a_dot():
    nothing = np.array([math.nan])
    drawn = chart([Series("one", 0, np.array([5.0]), np.array([2.0]), nothing, nothing)], "return")
    (line,) = ET.fromstring(drawn[: drawn.index("</svg>") + 6]).findall("polyline")
    first, second = line.get("points").split()
    assert first == second

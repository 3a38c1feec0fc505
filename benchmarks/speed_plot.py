"""The plot of how many times as fast rlkit is as its peers: bars with their range. The file holds them as text too."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

Bars = Sequence[tuple[str, float, float, float]]
#: Of the text in the file that holds the figures.
KEY = "Description"


def figures(bars: Bars, caption: str) -> str:
    """What tells one plot from another."""
    return json.dumps([caption, *([name, *(round(value, 4) for value in ratio)] for name, *ratio in bars)])


def draw(bars: Bars, caption: str, file: Path) -> None:
    """Write the plot as PNG; the caption says on what and with which versions."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(9, 1.1 + 0.28 * len(bars)), layout="constrained")
        axes = figure.add_subplot()
        names, medians, least, most = zip(*reversed(bars), strict=True)
        down = [median - low for median, low in zip(medians, least, strict=True)]
        up = [high - median for median, high in zip(medians, most, strict=True)]
        colours = ["tab:blue" if median >= 1 else "tab:grey" for median in medians]
        lengths = [median - 1 for median in medians]
        axes.barh(names, lengths, left=1, xerr=[down, up], color=colours, ecolor="black", capsize=2, height=0.7)
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set_xscale("log")
        ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("times as fast as the peer, median and range of the rounds")
        figure.supxlabel(caption, fontsize=6)
        for spine in ("top", "right"):
            axes.spines[spine].set_visible(False)
        figure.savefig(file, dpi=110, metadata={"Software": None, KEY: figures(bars, caption)})


def shows(file: Path, bars: Bars, caption: str) -> bool:
    """Whether a plot is of these figures."""
    if not file.exists():
        return False
    data, place = file.read_bytes(), 8
    while place < len(data):  # length, kind, content, checksum
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        content = data[place + 8 : place + 8 + length]
        key, _, text = content.partition(b"\0")
        if kind in (b"tEXt", b"iTXt") and key == KEY.encode():
            return text.lstrip(b"\0").decode("latin-1") == figures(bars, caption)
        place += 12 + length
    return False

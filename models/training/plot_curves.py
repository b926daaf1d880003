"""Draws the loss curves of a training run as an SVG.

    python3 plot_curves.py ../training/curves/cria-tiny
reads PREFIX-train.csv and PREFIX-heldout.csv, writes PREFIX.svg.
"""

import csv
import math
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 56, 44, 28, 16  # pixels
LOW, HIGH = 0.02, 8.0  # nats a token, drawn on a logarithmic axis
COLORS = {"loss": "#888888", "story": "#1b7837", "note": "#2166ac", "tool": "#b2182b"}
LABELS = {"loss": "training, weighted", "story": "held-out stories", "note": "held-out notes", "tool": "held-out calls"}


def read_columns(path: Path) -> dict[str, list[float]]:
    """Column name -> values."""
    with open(path) as rows:
        table = list(csv.DictReader(rows))
    return {name: [float(row[name]) for row in table] for name in table[0]}


def x_of(tokens: float, last: float) -> float:
    """Pixel of a number of tokens."""
    return LEFT + (WIDTH - LEFT - RIGHT) * tokens / last


def y_of(loss: float) -> float:
    """Pixel of a loss."""
    share = (math.log(min(max(loss, LOW), HIGH)) - math.log(LOW)) / (math.log(HIGH) - math.log(LOW))
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share


def axes(last: float) -> list[str]:
    """Grid lines with their numbers, and the names of the axes."""
    out = []
    for loss in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5):
        y = y_of(loss)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{loss}</text>')
    for i in range(5):
        x = x_of(last * i / 4, last)
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{last * i / 4e6:.1f}</text>')
    out.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">million tokens trained</text>')
    out.append(f'<text x="{LEFT}" y="{TOP - 12}">loss, nats a token</text>')
    return out


def curve(name: str, tokens: list[float], losses: list[float], place: int) -> list[str]:
    """A line and its entry in the legend."""
    points = " ".join(f"{x_of(t, max(tokens)):.1f},{y_of(v):.1f}" for t, v in zip(tokens, losses))
    y = TOP + 8 + 16 * place
    return [f'<polyline points="{points}" fill="none" stroke="{COLORS[name]}" stroke-width="1.5"/>',
            f'<text x="{WIDTH - RIGHT - 150}" y="{y}" fill="{COLORS[name]}">{LABELS[name]}</text>']


def main() -> None:
    """Command line."""
    prefix = sys.argv[1]
    train, heldout = read_columns(Path(prefix + "-train.csv")), read_columns(Path(prefix + "-heldout.csv"))
    lines = axes(train["tokens"][-1]) + curve("loss", train["tokens"], train["loss"], 0)
    for place, name in enumerate(("story", "note", "tool"), 1):
        lines += curve(name, heldout["tokens"], heldout[name], place)
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>')
    Path(prefix + ".svg").write_text("\n".join([head] + lines + ["</svg>"]) + "\n")


if __name__ == "__main__":
    main()

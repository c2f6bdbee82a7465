"""Draws ratios as an SVG: one bar a workload, ours over the best peer, on a logarithmic scale."""

import math
from xml.sax.saxutils import escape

LEFT, WIDTH, LINE, TOP, BELOW = 240, 430, 19, 58, 44
LEAST, MOST = 0.05, 2.0    # what is outside is drawn at the edge; its figure says what it is
TICKS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 15px; font-weight: 600; }
  .note { font-size: 11px; fill: #57606a; }
  .grid { stroke: #d0d7de; }
  .even { stroke: #57606a; stroke-width: 1.5; }
  .faster { fill: #2da44e; }
  .slower { fill: #cf222e; }
  .spread { stroke: #24292f; stroke-width: 1.2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .even { stroke: #9198a1; }
    .spread { stroke: #e6edf3; }
  }
"""


def x(ratio):
    part = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + WIDTH * part


def grid(height):
    out = []
    for tick in TICKS:
        kind = "even" if tick == 1.0 else "grid"
        out.append(f'<line class="{kind}" x1="{x(tick):.1f}" y1="{TOP - 6}" x2="{x(tick):.1f}" '
                   f'y2="{height - BELOW + 6}"/>')
        out.append(f'<text class="note" text-anchor="middle" x="{x(tick):.1f}" '
                   f'y="{height - BELOW + 20}">{tick:g}</text>')
    return out


def bar(row, y):
    ratio = row["ratio"]
    kind = "faster" if ratio <= 1 else "slower"
    end, middle = x(ratio), y + LINE / 2 - 2
    label = f'{ratio:.2f} of {row["peer"]}'
    return [
        f'<text text-anchor="end" x="{LEFT - 8}" y="{y + 12}">{escape(row["workload"])}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{y + 2}" width="{max(end - LEFT, 2):.1f}" '
        f'height="{LINE - 7}" rx="2"/>',
        f'<line class="spread" x1="{x(row["least"]):.1f}" y1="{middle:.1f}" '
        f'x2="{x(row["most"]):.1f}" y2="{middle:.1f}"/>',
        f'<text class="note" x="{max(end, x(row["most"])) + 6:.1f}" y="{y + 12}">'
        f'{escape(label)}</text>']


def draw(rows, title, note):
    """The picture of `rows`, each {"workload", "peer", "ratio", "least", "most"}, as text."""
    height = TOP + LINE * len(rows) + BELOW
    width = LEFT + WIDTH + 150
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" role="img">',
           f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
           f'<text class="title" x="12" y="22">{escape(title)}</text>',
           f'<text class="note" x="12" y="40">{escape(note)}</text>']
    out += grid(height)
    for number, row in enumerate(rows):
        out += bar(row, TOP + LINE * number)
    out.append(f'<text class="note" x="{LEFT}" y="{height - 8}">time over that of the best peer of '
               "the run; shorter is faster; the line is the spread</text>")
    out.append("</svg>")
    return "\n".join(out) + "\n"

"""Plots as SVG text: lines and bars. Pure; colours and fonts are the page's (page.py).

Everything is drawn for a width of 360, which a phone shows at about its own size. Values are shown
where they are, so that nobody has to read them off an axis; pointing at one tells it in full.
"""

import math
from html import escape

WIDTH = 360
HEIGHT = 250
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 14, 40
BAR_HEIGHT = 20
BAR_ROW = 44
BAR_VALUE = 108  # room for a bar's value behind it


def lines(series, x_title, y_title, log_x=False, log_y=False, x_text=None):
    """{name: [(x, y)]} as a plot of lines. x_text makes a tick's text from its number."""
    points = [point for one in series.values() for point in one]
    x_axis = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT, log_x, zero=not log_x)
    y_axis = Axis([y for _, y in points], HEIGHT - BOTTOM, TOP, log_y, zero=not log_y)
    at = sorted({x for x, _ in points}) if log_x else x_axis.ticks()
    parts = [grid_y(y_axis), ticks_x(x_axis, at, x_text or short), titles(x_title, y_title)]
    taken = []
    for number, (name, one) in enumerate(series.items()):
        parts.append(line(name, sorted(one), x_axis, y_axis, number, x_text or short))
        parts.append(last_value(max(one), x_axis, y_axis, taken))
    return svg(HEIGHT, parts, f"{y_title} by {x_title}") + legend(series)


def line(name, points, x_axis, y_axis, number, x_text):
    path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)
    marks = "".join(
        f'<circle class="mark c{number}" cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="4">'
        f"<title>{escape(name)}: {long(y)} at {escape(x_text(x))}</title></circle>"
        for x, y in points)
    return f'<polyline class="line c{number}" points="{path}"/>{marks}'


def last_value(point, x_axis, y_axis, taken):
    """Above its point, below it where another one is, or nowhere; `taken` are the places so far."""
    x, y = x_axis.at(point[0]), y_axis.at(point[1])
    for at in (y - 8, y + 18):
        if all(abs(at - other_y) > 12 or abs(x - other_x) > 40 for other_x, other_y in taken):
            taken.append((x, at))
            return (f'<text class="value" text-anchor="end" x="{x + 6:.1f}" y="{at:.1f}">'
                    f"{short(point[1])}</text>")
    return ""


def bars(rows, longest=None):
    """[(name, value, text, kind)] as horizontal bars; `text` is shown behind the bar. kind: a
    colour's number."""
    top = longest or max((value for _, value, _, _ in rows), default=0) or 1
    room = WIDTH - BAR_VALUE
    parts = []
    for number, (name, value, text, kind) in enumerate(rows):
        y = number * BAR_ROW
        width = max(2.0, room * value / top)
        parts.append(
            f'<text class="name" x="0" y="{y + 13}">{escape(name)}</text>'
            f'<rect class="bar c{kind}" x="0" y="{y + 19}" width="{width:.1f}" '
            f'height="{BAR_HEIGHT}" rx="3"><title>{escape(name)}: {long(value)}</title></rect>'
            f'<text class="value" x="{width + 7:.1f}" y="{y + 34}">{escape(text)}</text>')
    return svg(max(1, len(rows)) * BAR_ROW, parts, "bars: " + ", ".join(row[0] for row in rows))


class Axis:
    """From values to places between `begin` and `end`."""

    def __init__(self, values, begin, end, log, zero):
        self.log, self.begin, self.end = log, begin, end
        low, high = min(values), max(values)
        if log:
            self.low, self.high = log_bounds(low, high)
        else:
            self.low, self.high = (0.0 if zero else low), high * 1.08
        if self.high <= self.low:
            self.high = self.low + 1

    def at(self, value):
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return self.begin + (self.end - self.begin) * (value - low) / (high - low)

    def ticks(self):
        if not self.log:
            step = nice_step(self.high - self.low)
            return [step * number for number in range(int(self.high / step) + 1)]
        found, power = [], math.floor(math.log10(self.low))
        while 10**power <= self.high * 1.001:
            found.append(10.0**power)
            power += 1
        if self.high / self.low < 100:
            found = sorted(found + [2 * one for one in found] + [5 * one for one in found])
        return [one for one in found if self.low * 0.999 <= one <= self.high * 1.001]


def log_bounds(low, high):
    """A little more than what is shown."""
    low = max(low, 1e-9)
    return low / 1.25, max(high, low * 2) * 1.25


def nice_step(length):
    """1, 2 or 5 times a power of ten, of which three to six are in the length."""
    power = 10.0 ** math.floor(math.log10(length / 4))
    return next(one * power for one in (1, 2, 5, 10) if length / (one * power) <= 6)


def grid_y(axis):
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{axis.at(value):.1f}" '
        f'y2="{axis.at(value):.1f}"/><text class="tick" text-anchor="end" x="{LEFT - 6}" '
        f'y="{axis.at(value) + 4:.1f}">{short(value)}</text>' for value in axis.ticks())


def ticks_x(axis, at, text):
    return "".join(
        f'<text class="tick" text-anchor="middle" x="{axis.at(value):.1f}" '
        f'y="{HEIGHT - BOTTOM + 16}">{escape(text(value))}</text>' for value in at)


def titles(x_title, y_title):
    return (f'<text class="title" x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">'
            f'{escape(x_title)}</text><text class="title" x="0" y="{TOP - 4}">'
            f'{escape(y_title)}</text>')


def legend(series):
    if len(series) < 2:
        return ""
    items = "".join(f'<span><i class="c{number}"></i>{escape(name)}</span>'
                    for number, name in enumerate(series))
    return f'<p class="legend">{items}</p>'


def svg(height, parts, label):
    return (f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
            f'{"".join(parts)}</svg>')


def short(value):
    """123,456 as 123k."""
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return f"{value / bound:.3g}{unit}"
    return f"{value:.3g}"


def long(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

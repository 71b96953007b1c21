"""What the quick start shows: steps with their times, and a bar for what takes longer.

On a terminal, what is under way is shown in one line that is written over; elsewhere (a pipe, a
file, CI) only what is done is printed, and a line now and then.
"""

import contextlib
import os
import shutil
import sys
import time

NAME_WIDTH = 9
TEXT_WIDTH = 66
BAR_WIDTH = 30
EVERY_S = 5  # between two lines where no line can be written over
CLEAR = "\r\033[K"


class Screen:
    def __init__(self, out=None):
        self.out = out or sys.stdout
        self.live = self.out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.name = ""
        self.printed_at = 0

    @contextlib.contextmanager
    def step(self, name):
        """A step of the story. The block is given a function, which takes the line to be printed
        when the step is done."""
        began = time.monotonic()
        self.name = name
        self.passing("...")
        said = []
        yield said.append
        took_s = time.monotonic() - began
        self.line(f"{name:<{NAME_WIDTH}} {said[-1]:<{TEXT_WIDTH}} {took_s:6.1f} s")

    def passing(self, text):
        """Something that is true only for now."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.write(CLEAR + f"{self.name:<{NAME_WIDTH}} {text}"[:width])

    def say(self, text):
        """Something that is worth a line where none can be written over."""
        if self.live:
            self.passing(text)
        else:
            self.line(f"{self.name:<{NAME_WIDTH}} {text}")

    def clear(self):
        if self.live:
            self.write(CLEAR)

    def progress(self, part, text):
        """How far it is, `part` being from 0 to 1."""
        if self.live:
            full = int(BAR_WIDTH * part)
            bar = "#" * full + "." * (BAR_WIDTH - full)
            self.passing(f"[{bar}] {part:4.0%}  {text}")
        elif time.monotonic() - self.printed_at >= EVERY_S:
            self.printed_at = time.monotonic()
            self.line(f"{self.name:<{NAME_WIDTH}} {part:4.0%}  {text}")

    def line(self, text=""):
        self.write((CLEAR if self.live else "") + text.rstrip() + "\n")

    def write(self, text):
        self.out.write(text)
        self.out.flush()


def table(titles, rows, indent="  "):
    """Lines of columns as wide as what is in them; numbers are to the right."""
    cells = [list(map(str, row)) for row in (titles, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    right = [all(is_number(cell) for cell in column[1:]) for column in zip(*cells)]
    for row in cells:
        padded = [f"{cell:>{width}}" if to_right else f"{cell:<{width}}"
                  for cell, width, to_right in zip(row, widths, right)]
        yield (indent + "  ".join(padded)).rstrip()


def is_number(text):
    return text.replace(",", "").replace(".", "").isdigit()

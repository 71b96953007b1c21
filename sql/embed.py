#!/usr/bin/env python3
"""Embeds files in the program: writes a C file with a table of their names, texts and checksums.

    embed.py OUTPUT.c SYMBOL FILE...

SYMBOL is the table's name (common/embed.h says what is in it).  A file `0001_ledger.sql` becomes
number 1, name "ledger"; one without a number in front, such as `publish.lua`, number 0.
"""

import hashlib
import pathlib
import re
import sys


def c_string(line: bytes) -> str:
    """The bytes as a C string literal: printable ASCII as it is, the rest in octal."""
    out = []
    for byte in line:
        if byte == 0x0A:
            out.append("\\n")
        elif byte == 0x09:
            out.append("\\t")
        elif byte in b'"\\':
            out.append("\\" + chr(byte))
        elif 0x20 <= byte < 0x7F and byte != ord("?"):  # no trigraphs
            out.append(chr(byte))
        else:
            out.append(f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


def entry(path: pathlib.Path) -> str:
    data = path.read_bytes()
    number, name = re.fullmatch(r"(?:(\d+)_)?(.+)", path.stem).groups()
    lines = data.splitlines(keepends=True) or [b""]
    text = "\n\t\t".join(c_string(line) for line in lines)
    return (
        "\t{\n"
        f'\t\t.number = {int(number or 0)},\n\t\t.name = "{name}",\n'
        f"\t\t.length = {len(data)},\n"
        f'\t\t.sha256 = "{hashlib.sha256(data).hexdigest()}",\n'
        f"\t\t.text = {text},\n"
        "\t},\n"
    )


def main() -> None:
    output, symbol, *files = sys.argv[1:]
    paths = sorted((pathlib.Path(name) for name in files), key=lambda path: path.name)
    with open(output, "w", encoding="ascii", newline="\n") as out:
        out.write(f"/* Made by sql/embed.py from {', '.join(p.name for p in paths)}. */\n")
        out.write(f'#include "embed.h"\n\nstatic const struct embed_file {symbol}_files[] = {{\n')
        out.writelines(entry(path) for path in paths)
        out.write("};\n\n")
        out.write(f"const struct embed {symbol} = {{{symbol}_files, {len(paths)}}};\n")


if __name__ == "__main__":
    main()

"""Writes the sources of the planted simulator: see planted.py.

    plant.py source PATH INPUT OUTPUT   a copy of the source PATH with its planted bugs
    plant.py table C H PATH...          their names, and the variable that chooses one

Each place becomes a choice at run time, and lines keep their numbers.  A text that is not there
exactly once ends the build: then the source has changed, and the table must follow.
"""

import json
import sys

sys.dont_write_bytecode = True
from planted import BUGS  # noqa: E402


def constant(name):
    return "PLANTED_" + name.upper().replace("-", "_")


def die(message):
    sys.exit(f"tests/sim/planted.py: {message}")


def choice(bug, old, new, statement):
    """Old and new as one expression, or as one statement."""
    new = " ".join(new.split())
    if statement:
        return f"{{ if (planted_bug == {bug}) {{ {new} }} else {{ {old} }} }}"
    return f"(planted_bug == {bug} ? ({new}) : ({old}))"


def places(path):
    """Every text of this source that is replaced, and what by: old -> [(bug, new), ...]."""
    found = {}
    for name, bug in BUGS.items():
        for where, old, new in bug["places"]:
            if where == path:
                found.setdefault(old, []).append((name, new))
    return found or die(f"no bug is planted in {path}: take it out of meson.build")


def replace(path, text, old, bugs):
    if text.count(old) != 1:
        die(f"{bugs[0][0]}: {path} has this {text.count(old)} times, not once: {old}")
    result = old
    for name, new in bugs:
        result = choice(constant(name), result, new, statement=old.endswith(";"))
    return text.replace(old, result)


def source(path, origin, output):
    with open(origin, encoding="utf-8") as file:
        text = file.read()
    for old, bugs in places(path).items():
        text = replace(path, text, old, bugs)
    with open(output, "w", encoding="utf-8") as file:
        file.write(f'#include "planted.h"\n#line 1 {json.dumps(path)}\n{text}')


C = """#include "planted.h"

#include <stdio.h>
#include <string.h>

int planted_bug;

static const struct {
	const char *name, *what;
} bugs[] = {
%s
};

int planted_find(const char *name)
{
	for (int i = 0; i < (int)(sizeof bugs / sizeof *bugs); i++)
		if (strcmp(bugs[i].name, name) == 0)
			return i + 1;
	return 0;
}

void planted_list(void)
{
	for (size_t i = 0; i < sizeof bugs / sizeof *bugs; i++)
		printf("%%s\\t%%s\\n", bugs[i].name, bugs[i].what);
}
"""

H = """#ifndef PLANTED_H
#define PLANTED_H

enum {
	PLANTED_NONE = 0,
%s
};

extern int planted_bug;

int planted_find(const char *name); /* 0: there is none */
void planted_list(void);

#endif
"""


def table(c, h, *paths):
    for name, bug in BUGS.items():
        for path, _, _ in bug["places"]:
            if path not in paths:
                die(f"{name}: {path} is not among the sources in meson.build")
    rows = [f"\t{{{json.dumps(name)}, {json.dumps(bug['what'])}}}," for name, bug in BUGS.items()]
    with open(c, "w", encoding="utf-8") as file:
        file.write(C % "\n".join(rows))
    with open(h, "w", encoding="utf-8") as file:
        file.write(H % "\n".join(f"\t{constant(name)}," for name in BUGS))


if __name__ == "__main__":
    {"source": source, "table": table}[sys.argv[1]](*sys.argv[2:])

#!/usr/bin/env python3
"""Puts the status page together: one HTML file, and the policy that lets only its own parts run.

    join.py OUTPUT.html OUTPUT.txt page.html page.css page.js

The policy (Content-Security-Policy) names the style and the script by their hashes, so that nothing
else is ever run or fetched, whatever the texts in the page hold.
"""

import base64
import hashlib
import pathlib
import sys


def source(text: str) -> str:
    """A part's name in the policy."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def main() -> None:
    out_page, out_policy, *files = map(pathlib.Path, sys.argv[1:])
    page, style, script = (path.read_text(encoding="utf-8") for path in files)
    assert "</" not in style and "</script" not in script
    page = page.replace("@STYLE@", style).replace("@SCRIPT@", script)
    policy = "; ".join([
        "default-src 'none'", f"style-src {source(style)}", f"script-src {source(script)}",
        "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'",
        "frame-ancestors 'none'"])
    out_page.write_text(page, encoding="utf-8", newline="\n")
    out_policy.write_text(policy, encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()

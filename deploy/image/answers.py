"""Exits with 0 if a URL answers with a success, as health checks want to know."""

# ruff: noqa: INP001 (a script of the image, run by its path)

import sys
import urllib.request

try:
    with urllib.request.urlopen(sys.argv[1], timeout=4) as reply:  # noqa: S310 (a literal of the compose file)
        sys.exit(0 if reply.status < 300 else 1)  # noqa: PLR2004 (HTTP)
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")

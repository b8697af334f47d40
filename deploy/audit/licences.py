"""The licence of each installed release, held against those that may be used without asking."""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

ALLOWED = frozenset(
    {
        *(
            "0BSD",
            "Apache-2.0",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "BSL-1.0",
            "CC0-1.0",
            "CNRI-Python",
            "ISC",
            "MIT",
        ),
        *("MIT-0", "MIT-CMU", "NCSA", "PSF-2.0", "Unlicense", "Zlib", "Apache-2.0 WITH LLVM-exception"),
    }
)
"""SPDX names of permissive licences."""
_SPDX = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "gpl-3.0": "GPL-3.0-only",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "university of illinois/ncsa open source license": "NCSA",
}
"""Other names by which packages call them, in lower case."""
_NO_LICENCE = frozenset({"DFSG approved", "OSI Approved"})
"""Classifiers that name none."""
_KNOWN = {
    "axe-playwright-python": "MIT",
    "huey": "MIT",
    "skops": "MIT",
    "zss": "BSD-3-Clause",
}
"""Of packages whose metadata do not say it: from the licence file in their source."""


def licence_of(package: str) -> str | None:
    """An SPDX expression; None where the package is not installed, empty where it does not say."""
    try:
        told = metadata(package)
    except PackageNotFoundError:
        return None
    expression = told.get("License-Expression")
    if expression:
        return str(expression)
    names = [
        name.rpartition(" :: ")[2]
        for name in told.get_all("Classifier") or []
        if name.startswith("License ::")
    ]
    names = [name for name in names if name not in _NO_LICENCE]
    if not names:
        first = (told.get("License") or "").strip().splitlines()[:1]
        names = [first[0].strip()] if first else []
    return " OR ".join(_SPDX.get(name.lower(), name) for name in names) or _KNOWN.get(package, "")


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression without brackets can be met by allowed licences alone."""
    return any(
        all(part.strip() in ALLOWED for part in re.split(r"\s+AND\s+", choice))
        for choice in re.split(r"\s+OR\s+", expression)
    )


def check_licences(
    packages: Iterable[str], accepted: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], int]:
    """What is wrong, a sentence each, and how many packages were looked at; those not installed here are not."""
    wrong, num_seen, unused = [], 0, set(accepted)
    for package in packages:
        licence = licence_of(package)
        if licence is None:
            unused.discard(package)
            continue
        num_seen += 1
        if is_allowed(licence):
            continue
        unused.discard(package)
        known = accepted.get(package, {}).get("licence")
        if licence != known:
            wrong.append(
                f"{package} has the licence {licence or 'that it does not tell'!r}, which is not among those allowed: "
                "replace it, or accept it with a reason in deploy/audit/accepted.yaml."
            )
    without_need = "is accepted in deploy/audit/accepted.yaml without need: remove it."
    wrong += [f"{package} {without_need}" for package in sorted(unused)]
    return wrong, num_seen

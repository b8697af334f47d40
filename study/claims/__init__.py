"""Claims files: what a study claims, registered before its results are seen.

`file.py` reads one into what `study.statistics` judges; `lock.py` registers it and proves that it is unchanged;
`arithmetic.py` reads the formulas of `compare.at`.
"""

from study.claims.arithmetic import parse_transform
from study.claims.file import CLAIMS_TEMPLATE, ClaimsFile, json_schema, load_claims, parse_claims
from study.claims.formula import Transform
from study.claims.lock import Registration, amend, check, lock, require_locked

__all__ = [
    "CLAIMS_TEMPLATE",
    "ClaimsFile",
    "Registration",
    "Transform",
    "amend",
    "check",
    "json_schema",
    "load_claims",
    "lock",
    "parse_claims",
    "parse_transform",
    "require_locked",
]

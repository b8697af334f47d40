"""`make audit`: licences, known vulnerabilities, and build/sbom.cdx.json; exit code 1 where something is wrong."""

import sys
from datetime import UTC, datetime
from importlib.metadata import version

import yaml

from deploy.audit.licences import check_licences
from deploy.audit.lock import EVERYTHING, ROOT, RUNTIME, read_lock, torch_pin
from deploy.audit.sbom import sbom
from deploy.audit.vulnerabilities import check_vulnerabilities


def main() -> int:
    """Audit, and say what was and what was not looked at."""
    torch = {"torch": torch_pin()}
    runtime = torch | read_lock(ROOT / RUNTIME)
    everything = runtime | read_lock(ROOT / EVERYTHING)
    accepted = yaml.safe_load((ROOT / "deploy/audit/accepted.yaml").read_text(encoding="utf-8"))
    path = ROOT / "build" / "sbom.cdx.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(sbom(everything, runtime, version("trialwright")), encoding="utf-8")
    wrong, num_seen = check_licences(everything, accepted["licences"])
    _say(f"Licences: {num_seen} of {len(everything)} releases are installed here and were looked at.")
    found = check_vulnerabilities(
        list(everything.values()), accepted["vulnerabilities"], today=datetime.now(tz=UTC).date()
    )
    if found.problem:
        _say(f"Vulnerabilities: NOT all checked, since {found.problem}.")
    _say(f"Vulnerabilities: {found.num_checked} of {len(everything)} releases were looked up.")
    _say(f"All {len(everything)} are listed in {path.relative_to(ROOT)}.")
    for sentence in (*wrong, *found.wrong):
        _say(sentence)
    return 1 if wrong or found.wrong else 0


def _say(sentence: str) -> None:
    sys.stdout.write(f"audit: {sentence}\n")


if __name__ == "__main__":
    sys.exit(main())

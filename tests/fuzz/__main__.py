"""`python -m tests.fuzz --seconds 60 [TARGET …]`: give the parsers to atheris, each for so long, and keep what breaks.

Each target runs in a process of its own, whose memory and whose time for one input are limited. Where atheris is not
installed (it has no release for every Python), hypothesis makes the inputs, many more of them than in the tests.
"""

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS

FOUND = Path(".fuzz")
"""Where inputs that were found, and those that broke something, are kept."""
MAX_INPUT_BYTES = 20_000
MAX_INPUT_S = 30
MAX_MEMORY_MB = 4_096
EXAMPLES_PER_S = 20


def main() -> int:
    """Run the targets one after another; 1 if one of them broke."""
    parser = argparse.ArgumentParser(description="Fuzz everything that is parsed.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all, if none")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"unknown target {min(unknown)!r}: choose of {', '.join(TARGETS)}")
    names = options.targets or list(TARGETS)
    if options.inside:
        return fuzz(names[0], options.seconds)
    if importlib.util.find_spec("atheris") is None:
        return with_hypothesis(names, options.seconds)
    broken = [name for name in names if not survives(name, options.seconds)]
    print(f"Broken: {', '.join(broken)}; see {FOUND}/." if broken else f"{len(names)} targets held.")  # noqa: T201
    return 1 if broken else 0


def survives(name: str, seconds: int) -> bool:
    """Whether a target held for so long in a process of its own."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds), "--inside"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if not line.startswith("INFO:")]
    runs = next(
        (line.split()[-1] for line in lines if line.startswith("stat::number_of_executed_units")), "?"
    )
    told = f"held, {runs} inputs" if ended.returncode == 0 else "BROKE"
    print(f"{name}: {told}, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    if ended.returncode != 0:
        print("\n".join(lines)[:6000], flush=True)  # noqa: T201
    return ended.returncode == 0


def fuzz(name: str, seconds: int) -> int:
    """Give one target to atheris, in this process; it does not return."""
    import atheris

    from tests.fuzz.seeds import SEEDS

    with atheris.instrument_imports(include=["study", "trainers", "search_spaces", "yaml"]):
        for seed in SEEDS[name]()[:3]:
            TARGETS[name](seed)
    inputs = FOUND / name
    inputs.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[name]():
        if len(seed) <= MAX_INPUT_BYTES:
            (inputs / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    flags = {
        "max_total_time": seconds,
        "max_len": MAX_INPUT_BYTES,
        "timeout": MAX_INPUT_S,
        "rss_limit_mb": MAX_MEMORY_MB,
        "artifact_prefix": f"{FOUND}/broken-{name}-",
        "verbosity": 0,
        "print_final_stats": 1,
    }
    atheris.Setup(
        [sys.argv[0], str(inputs), *(f"-{flag}={value}" for flag, value in flags.items())], TARGETS[name]
    )
    atheris.Fuzz()
    return 0


def with_hypothesis(names: list[str], seconds: int) -> int:
    """The same targets with the inputs of the tests, and many more of them."""
    print("atheris is not installed here (pip install 'trialwright[fuzz]'): hypothesis makes the inputs.")  # noqa: T201
    command = [sys.executable, "-m", "pytest", "-q", "tests/fuzz/test_targets.py", "-k", " or ".join(names)]
    environment = {**os.environ, "FUZZ_EXAMPLES": str(EXAMPLES_PER_S * seconds)}
    return subprocess.run(
        [*command, f"--timeout={10 * seconds + 300}"], env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())

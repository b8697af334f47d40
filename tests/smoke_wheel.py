"""Build the wheel and use it from another folder, where nothing but what it packs can be found."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CODE = """
import search_spaces, study, trainers
from pathlib import Path
from study.ledger import Ledger
here = Path.cwd()
for package in (search_spaces, study, trainers):
    assert Path(package.__file__).is_relative_to(here / "site"), package.__file__
Ledger.open(f"sqlite:///{here / 'ledger.db'}").close()
import study.report, study.runner, study.tracking, trainers.trial
"""


def run(*command: str, folder: Path) -> str:
    """Run a command in a folder where only the unpacked wheel comes first on Python's path."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Build, unpack, import, and write and count a study."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", name, str(ROOT)]
        run(*build, folder=folder)
        (wheel,) = folder.glob("trialwright-*.whl")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(folder / "site"),
        ]
        run(*pip, str(wheel), folder=folder)
        run(sys.executable, "-c", CODE, folder=folder)
        command = [sys.executable, "-m", "study.cli"]
        assert "0.1.0" in run(*command, "--version", folder=folder)
        assert "grsgd" in run(*command, "families", folder=folder)
        run(*command, "init", "study.yaml", folder=folder)
        print(f"{wheel.name} works from another folder.")  # noqa: T201


if __name__ == "__main__":
    main()

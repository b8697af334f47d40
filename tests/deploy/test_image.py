"""The Dockerfile and what goes to its builder."""

import re
import shlex
import subprocess
from pathlib import Path

from deploy.rehearsal.dockerfile import read_dockerfile
from deploy.rehearsal.stack import read_stack
from tests.deploy.files import DEPLOY, ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IMAGE = read_dockerfile(ROOT / "Dockerfile")


def test_it_is_built_from_the_wheel_in_stages():
    assert re.findall(r"^FROM \S+ AS (\w+)", TEXT, flags=re.MULTILINE) == [
        "builder",
        "environment",
        "runtime",
    ]
    assert "COPY --from=builder /wheels /wheels" in TEXT
    assert "-c /constraints.txt" in TEXT


def test_its_base_is_pinned_by_tag_and_digest():
    (base,) = re.findall(r"^ARG PYTHON=(\S+)", TEXT, flags=re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert set(re.findall(r"^FROM (\S+)", TEXT, flags=re.MULTILINE)) == {"${PYTHON}"}


def test_what_is_installed_besides_is_pinned():
    for names in re.findall(r"(?:apt-get install|pip install) ([^\\\n]+)", TEXT):
        for word in shlex.split(names):
            if not word.startswith(("-", "/", "$")):
                assert "=" in word, word


def test_it_starts_as_a_plain_user_with_an_init():
    assert IMAGE.user == "1000:1000"
    assert IMAGE.entrypoint == ("tini", "-g", "--", "/opt/deploy/enter")
    assert IMAGE.environment["TRIALWRIGHT_HOME"] == "/srv/trialwright"
    assert IMAGE.copies == {"deploy/image": "/opt/deploy"}


def test_everything_that_it_copies_is_sent_to_the_builder():
    sent = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)", TEXT, flags=re.MULTILINE)
        for word in shlex.split(line)[:-1]
    }
    assert copied == sent
    for name in copied:
        assert (ROOT / name).exists(), name


def test_commands_of_the_compose_file_are_in_the_image():
    for service in read_stack({}).services.values():
        if service.is_ours:
            scripts = [word for word in (*service.command, *service.check) if word.startswith("/opt/deploy/")]
            for script in scripts:
                assert (DEPLOY / "image" / Path(script).name).exists(), script


def enter(tmp_path: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        [DEPLOY / "image/enter", *command],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_a_password_for_postgresql_becomes_a_private_file(tmp_path: Path):
    (tmp_path / "secret").write_text("p$w`d\n")
    out = enter(tmp_path, "sh", "-c", 'echo "$PGPASSFILE"; umask', PGPASSWORD_FILE=str(tmp_path / "secret"))
    path, umask = out.split()
    assert Path(path).read_text() == "*:*:*:*:p$w`d\n"
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert umask == "0022"


def test_mlflows_secrets_become_its_environment(tmp_path: Path):
    names = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")
    for name in names:
        (tmp_path / name).write_text(f'{name} "$(id)" \\ end\n')
        out = enter(tmp_path, "printenv", name, **{f"{name}_FILE": str(tmp_path / name)})
        assert out == f'{name} "$(id)" \\ end\n'


def test_a_missing_secret_stops_the_start(tmp_path: Path):
    done = subprocess.run(
        [DEPLOY / "image/enter", "true"],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "PGPASSWORD_FILE": str(tmp_path / "absent")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert "absent" in done.stderr

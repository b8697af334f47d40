import logging
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from search_spaces.errors import SpecError
from study.ledger import Ledger, Scope
from study.service.server import make_server
from study.service.settings import ServiceSettings
from study.service.tokens import create_token, digest
from tests.study.service.support import NoDrivers, serving, spec
from tests.study.service.test_studies import ledger_of


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


class TestTokens:
    def test_has_256_random_bits_and_leaves_only_its_digest(self, home: Path):
        with Ledger.open(f"sqlite:///{home}/ledger.db") as ledger:
            secret = create_token(ledger, "ann", Scope.READ)
            assert secret.startswith("twr_")
            assert len(secret) == 4 + 43  # base64 of 32 bytes
            assert secret != create_token(ledger, "bob", Scope.READ)
            assert ledger.token(digest(secret)) is not None
        kept = b"".join(path.read_bytes() for path in home.glob("ledger.db*"))
        assert secret.encode() not in kept
        assert secret.removeprefix("twr_").encode() not in kept

    def test_opens_what_its_scope_allows(self, http: TestClient):
        ledger = ledger_of(http)
        reader, runner = (create_token(ledger, scope, scope) for scope in (Scope.READ, Scope.RUN))
        assert http.get("/api/v1/studies", headers=bearer(reader)).status_code == 200
        answer = http.post("/api/v1/studies", json={"spec": spec()}, headers=bearer(reader))
        assert answer.status_code == 403
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
        answer = http.post("/api/v1/studies", json={"spec": spec()}, headers=bearer(runner))
        assert answer.status_code == 201
        assert ledger.events("reviews")[0].detail["by"] == "run"
        for method, path in (("POST", "stop"), ("POST", "resume"), ("DELETE", "")):
            answer = http.request(
                method, f"/api/v1/studies/reviews/{path}".rstrip("/"), headers=bearer(reader)
            )
            assert answer.status_code == 403

    def test_closes_an_open_service(self, http: TestClient):
        assert http.get("/api/v1/studies").status_code == 200
        create_token(ledger_of(http), "ann", Scope.READ)
        for path in ("/api/v1/studies", "/metrics", "/api/v1/studies/x/watch"):
            answer = http.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert http.get("/health/ready").status_code == 200

    @pytest.mark.parametrize(
        "secret",
        ["twr_" + "A" * 43, "twr_", "sk-other", "twr_ü", "twr_" + "A" * 10_000, "twr_' OR 1=1 --"],
    )
    def test_a_forged_one_is_refused_and_logged_without_it(
        self, http: TestClient, caplog: pytest.LogCaptureFixture, secret: str
    ):
        create_token(ledger_of(http), "ann", Scope.RUN)
        header = {"Authorization": f"Bearer {secret}".encode()}
        answer = http.get("/api/v1/studies", headers=header)  # type: ignore[arg-type]
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert "refused" in caplog.text
        if len(secret) > len("twr_"):
            assert secret not in caplog.text + answer.text

    def test_an_expired_or_revoked_one_is_refused_at_once(
        self, http: TestClient, caplog: pytest.LogCaptureFixture
    ):
        ledger = ledger_of(http)
        old = create_token(ledger, "old", Scope.RUN, expires_at=time.time() - 1)
        lost = create_token(ledger, "lost", Scope.RUN, expires_at=time.time() + 3600)
        assert http.get("/api/v1/studies", headers=bearer(lost)).status_code == 200
        ledger.revoke_token("lost")
        for secret, was in ((old, "has expired"), (lost, "was revoked")):
            answer = http.get("/api/v1/studies", headers=bearer(secret))
            assert answer.status_code == 401
            assert was in answer.json()["detail"]
            assert was in caplog.text
            assert secret not in caplog.text + answer.text

    def test_other_ways_to_authenticate_are_refused(self, http: TestClient):
        create_token(ledger_of(http), "ann", Scope.RUN)
        for header in ("Basic YW5uOnB3", "bearer", "Bearer", "twr_x"):
            assert http.get("/api/v1/studies", headers={"Authorization": header}).status_code == 401

    def test_a_browser_sends_it_as_a_cookie(self, http: TestClient):
        secret = create_token(ledger_of(http), "ann", Scope.RUN)
        http.cookies.set("trialwright_token", secret)
        assert http.get("/api/v1/studies").status_code == 200
        foreign = {"Origin": "http://evil.example"}
        cross = {"Sec-Fetch-Site": "cross-site"}
        for headers in (
            foreign,
            cross,
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "null"},
            {"Origin": "http://["},
        ):
            answer = http.post("/api/v1/studies", json={"spec": spec()}, headers=headers)
            assert answer.status_code == 403
        own = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
        assert http.post("/api/v1/studies", json={"spec": spec()}, headers=own).status_code == 201

    def test_without_tokens_another_site_may_not_use_the_browser_either(
        self, http: TestClient, launcher: NoDrivers
    ):
        answer = http.post(
            "/api/v1/studies", json={"spec": spec()}, headers={"Origin": "http://evil.example"}
        )
        assert answer.status_code == 403
        assert launcher.started == []


class TestListening:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "head.cluster"])  # noqa: S104
    def test_beyond_loopback_only_with_a_token(self, home: Path, host: str):
        with pytest.raises(SpecError, match="token create"):
            make_server(ServiceSettings(home=home, host=host))
        with Ledger.open(f"sqlite:///{home}/ledger.db") as ledger:
            create_token(ledger, "ann", Scope.READ)
        make_server(ServiceSettings(home=home, host=host))

    def test_a_foreign_host_name_is_refused(self, http: TestClient):
        for host in ("evil.example", "evil.example:8400", "", "127.0.0.1.evil.example", "[::2]:80"):
            answer = http.get("/api/v1/studies", headers={"Host": host})
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/problem+json"
        for host in ("localhost:8400", "127.0.0.1", "[::1]:8400", "LOCALHOST"):
            assert http.get("/api/v1/studies", headers={"Host": host}).status_code == 200

    def test_every_answer_carries_the_headers(self, http: TestClient):
        for path in ("/health/live", "/api/v1/studies", "/api/v1/studies/x", "/nothing"):
            headers = http.get(path, headers={"Origin": "http://evil.example"}).headers
            assert "'unsafe-inline'" not in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers


class TestSizes:
    def test_a_spec_of_100_mb_is_refused_while_it_streams_in(self, settings: ServiceSettings):
        sent = 0

        def pieces() -> Any:
            nonlocal sent
            for _ in range(100):
                sent += 1
                yield b"x" * 1_000_000

        with serving(settings, NoDrivers()) as service:
            headers = {"Content-Type": "application/json"}
            try:
                answer = httpx2.post(f"{service.url}/api/v1/plan", content=pieces(), headers=headers)
            except httpx2.WriteError:  # it was cut off before it had been read
                pass
            else:
                assert answer.status_code == 413
                assert answer.headers["content-type"] == "application/problem+json"
            assert sent < 30
            assert httpx2.get(f"{service.url}/health/live").status_code == 200

    def test_what_says_that_it_is_too_large_is_not_read(self, http: TestClient):
        answer = http.post("/api/v1/plan", content=b"x" * 1_000_001)
        assert answer.status_code == 413
        assert "1,000,000 bytes" in answer.json()["detail"]

    def test_chunks_that_add_up_are_refused(self, http: TestClient):
        answer = http.post(
            "/api/v1/plan",
            content=iter([b"x" * 400_000] * 3),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 413

    def test_too_many_requests_have_to_wait(self, home: Path, launcher: NoDrivers):
        settings = ServiceSettings(home=home, burst=5, rate_per_s=0.5)
        with serving(settings, launcher) as service, httpx2.Client(base_url=service.url) as http:
            statuses = [http.get("/api/v1/studies").status_code for _ in range(7)]
            assert statuses == [200] * 5 + [429] * 2
            answer = http.get("/api/v1/studies")
            assert 1 <= int(answer.headers["retry-after"]) <= 2
            secret = service.token("ann", Scope.READ)
            assert http.get("/api/v1/studies", headers=bearer(secret)).status_code == 200
            forged = [bearer(f"twr_{number}") for number in range(3)]
            assert {http.get("/api/v1/studies", headers=one).status_code for one in forged} == {429}
            assert http.get("/health/live").status_code == 200


class TestPaths:
    @pytest.fixture
    def allowed(self, tmp_path: Path) -> Path:
        folder = tmp_path / "shared"
        (folder / "model").mkdir(parents=True)
        (folder / "rows.csv").write_text("text,label\n")
        (folder / "out").symlink_to(tmp_path)
        (tmp_path / "secret.csv").write_text("s3cret")
        return folder

    @pytest.fixture
    def settings(self, home: Path, allowed: Path) -> ServiceSettings:
        return ServiceSettings(home=home, allow_paths=(allowed,))

    def answer(self, http: TestClient, **changes: Any) -> Any:
        return http.post("/api/v1/plan", json={"spec": spec(**changes)})

    def test_a_folder_that_is_allowed_may_be_named(self, http: TestClient, allowed: Path):
        rows = {"name": "rows", "path": f"{allowed}/rows.csv", "prompt": "{text}", "answer": "label"}
        rows |= {"options": ["a", "b"]}
        answer = self.answer(http, base={"model": f"path:{allowed}/model"}, task=rows)
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize(
        "path",
        [
            "/etc/passwd",
            "{allowed}/../secret.csv",
            "{allowed}/out/secret.csv",
            "{allowed}evil/rows.csv",
            "rows.csv",
            "~/rows.csv",
            "",
            "/etc/\0passwd",
            "file:///etc/passwd",
            "/proc/self/environ",
        ],
    )
    def test_anything_else_is_refused_and_logged(
        self, http: TestClient, allowed: Path, caplog: pytest.LogCaptureFixture, path: str
    ):
        named = path.format(allowed=allowed)
        for changes in (
            {"base": {"model": f"path:{named}"}},
            {"task": {"name": "rows", "path": named}},
            {"claims": named},
        ):
            caplog.clear()
            answer = self.answer(http, **changes)
            assert answer.status_code == 422
            detail = answer.json()["detail"]
            assert "control characters" in detail or "folders that it was told to allow" in detail
            assert "control characters" in detail or "refused" in caplog.text
            assert "s3cret" not in answer.text
            assert "model" in detail or str(allowed) not in detail.replace(named, "")

    def test_what_is_there_and_what_is_not_look_the_same(self, http: TestClient):
        details = {
            self.answer(http, base={"model": f"path:{path}"}).json()["detail"].replace(path, "")
            for path in ("/etc", "/etc/nothing-is-called-so")
        }
        assert len(details) == 1

    @pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2f..%2fetc", "a%00b", "a%2fb", "-x", "x" * 65, "ü"])
    def test_a_name_never_leaves_the_home(self, http: TestClient, home: Path, name: str):
        before = sorted(home.rglob("*"))
        for method, place in (("GET", ""), ("DELETE", ""), ("POST", "/stop"), ("GET", "/reports/html")):
            assert http.request(method, f"/api/v1/studies/{name}{place}").status_code in {404, 405, 422}
        assert sorted(home.rglob("*")) == before

    @pytest.mark.parametrize("name", ["../x", "..", "a/b", "a\\b", ".x", "", "x" * 65, 7, None, "a\nb"])
    def test_nor_does_the_name_of_a_new_study(self, http: TestClient, name: Any):
        answer = http.post("/api/v1/studies", json={"spec": {**spec(), "name": name}})
        assert answer.status_code == 422

    def test_nor_does_a_report(self, http: TestClient):
        http.post("/api/v1/studies", json={"spec": spec()})
        for form in ("..%2f..%2fledger.db", "report.html", "exe", "%2e%2e"):
            assert http.get(f"/api/v1/studies/reviews/reports/{form}").status_code in {404, 422}


def test_nothing_of_our_own_failures_is_told(
    http: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object) -> None:
        raise ValueError("s3cret in /var/lib/place")

    monkeypatch.setattr(Ledger, "standings", fail)
    with caplog.at_level(logging.ERROR):
        answer = http.get("/api/v1/studies")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "s3cret" not in answer.text
    assert "s3cret" in caplog.text


def test_a_ledger_that_does_not_answer_makes_a_request_wait_no_longer_than_it_may(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = ServiceSettings(home=home, patience_s=0.3)
    over = threading.Event()
    with serving(settings, NoDrivers()) as service:
        monkeypatch.setattr(service.context.ledger, "standings", lambda: over.wait(5))
        began = time.monotonic()
        answer = httpx2.get(f"{service.url}/api/v1/studies")
        over.set()
        assert answer.status_code == 503
        assert time.monotonic() - began < 3

"""A stand-in for a Ray dashboard's HTTP side: jobs are entries of a dict that the test fills."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "right"  # noqa: S105 -- a stand-in's


@dataclass
class Dashboard:
    """What the stand-in knows, and what it was sent."""

    url: str = ""
    ray_version: str = "2.60.0"
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    answer: Callable[[str, str, Any], tuple[int, str]] | None = None
    """Answers in place of all else."""

    def add(self, job_id: str, status: str, **more: Any) -> None:
        self.jobs[job_id] = {"submission_id": job_id, "status": status, "message": "", **more}

    def reply(self, method: str, path: str, body: Any, token: str | None) -> tuple[int, str]:
        self.asked.append((method, path, body))
        if self.answer is not None:
            return self.answer(method, path, body)
        if path == "/api/authentication_mode":
            return 200, '{"authentication_mode": "token"}'
        if token is None:
            return 401, "Unauthorized: Missing authentication token"
        if token != f"Bearer {TOKEN}":
            return 403, "Forbidden: Invalid authentication token"
        if path == "/api/version":
            return 200, json.dumps({"version": "4", "ray_version": self.ray_version})
        return self._of_jobs(method, path, body)

    def _of_jobs(self, method: str, path: str, body: Any) -> tuple[int, str]:
        job_id, _, rest = path.removeprefix("/api/jobs/").partition("/")
        if not job_id and method == "POST":
            if body["submission_id"] in self.jobs:
                return (
                    400,
                    f"Traceback …\nValueError: Job with submission_id {body['submission_id']} already exists.",
                )
            self.add(body["submission_id"], "PENDING", **body)
            return 200, json.dumps({"submission_id": body["submission_id"]})
        if not job_id:
            return 200, json.dumps(list(self.jobs.values()))
        return self._of_job(job_id, method, rest)

    def _of_job(self, job_id: str, method: str, rest: str) -> tuple[int, str]:
        if job_id not in self.jobs:
            return 404, f"Job {job_id} does not exist"
        if rest == "logs":
            return 200, json.dumps({"logs": self.logs.get(job_id, "")})
        if rest == "stop":
            self.jobs[job_id]["status"] = "STOPPED"
        if method == "DELETE":
            del self.jobs[job_id]
            return 200, '{"deleted": true}'
        return 200, json.dumps(self.jobs[job_id])


@contextmanager
def serving() -> Iterator[Dashboard]:
    """The stand-in on a free port of loopback."""
    dashboard = Dashboard()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, text = dashboard.reply(self.command, self.path, body, self.headers.get("Authorization"))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", text)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 -- http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    dashboard.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield dashboard
    finally:
        server.shutdown()
        server.server_close()

"""The service as an ASGI application: the API under /api/v1, health and metrics, and the pages where they are there."""

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware import Middleware

from study.service.api import router as api
from study.service.context import Context, make_context
from study.service.guards import BodyLimit, HostCheck, Observed, SecurityHeaders
from study.service.health import router as health
from study.service.problems import install
from study.service.settings import ServiceSettings
from study.service.watching import Watches

PAGES = "study.service.pages"
DESCRIPTION = """
Plan, start, watch and read studies. Every error is `application/problem+json` (RFC 9457) with one sentence in `detail`
and, where they are known, `value`, `rule` and `way_out`.
"""


def make_app(settings: ServiceSettings, *, context: Context | None = None) -> FastAPI:
    """The application.

    Args:
        settings: how the service is set up.
        context: what its requests share; None: opened as the settings say.

    Raises:
        SpecError: the ledger cannot be opened.
    """
    shared = context or make_context(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        shared.ledger.close()

    app = FastAPI(
        title="Trialwright",
        version=version("trialwright"),
        description=DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        middleware=[
            Middleware(Observed, meters=shared.meters),
            Middleware(SecurityHeaders),
            Middleware(HostCheck, hosts=settings.hosts),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    app.state.context = shared
    app.state.watches = Watches(shared)
    install(app)
    app.include_router(health)
    app.include_router(api)
    _mount_pages(app)
    return app


def _mount_pages(app: FastAPI) -> None:
    """Serve the pages, which are another part, where they are installed."""
    if importlib.util.find_spec(PAGES) is None:
        return
    pages = importlib.import_module(PAGES)
    if hasattr(pages, "router"):
        app.include_router(pages.router)
        app.state.error_page = pages.error_page
        context: Context = app.state.context
        app.state.study_pages = pages.StudyPages(context.ledger, fresh_s=context.settings.poll_s)
        app.state.feeds = pages.Feeds(context)
        app.state.watches.also_close(app.state.feeds.close)

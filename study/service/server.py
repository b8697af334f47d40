"""Run the service: open the ledger, refuse what is not safe, and serve until told to end."""

import logging
from types import FrameType

import uvicorn

from search_spaces.errors import SpecError
from study.service.app import make_app
from study.service.context import Context, make_context
from study.service.launcher import Launcher
from study.service.log_lines import log_to_stderr
from study.service.settings import ServiceSettings
from study.service.watching import Watches

SHUTDOWN_S = 5
"""How long requests may take to end."""


class _Server(uvicorn.Server):
    """Ends the streams when it is told to end, since they would keep it."""

    def __init__(self, config: uvicorn.Config, watches: Watches) -> None:
        """Wrap a configuration."""
        super().__init__(config)
        self._watches = watches

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take note of a signal."""
        super().handle_exit(sig, frame)
        self._watches.close()


def serve(settings: ServiceSettings, launcher: Launcher | None = None) -> None:
    """Serve until SIGINT or SIGTERM; drivers that were started go on.

    Args:
        settings: how the service is set up.
        launcher: who starts drivers; None: as the settings say.

    Raises:
        SpecError: it would be open to others without a token, or cannot open its ledger or its port.
    """
    log_to_stderr()
    logging.getLogger("alembic").setLevel(logging.WARNING)  # a new ledger is no news
    server = make_server(settings, launcher)
    try:
        server.run()
    except SystemExit:
        raise SpecError(
            f"The service cannot listen on {settings.host}:{settings.port}: choose another --port."
        ) from None


def make_server(settings: ServiceSettings, launcher: Launcher | None = None) -> uvicorn.Server:
    """A server that has not started.

    Raises:
        SpecError: as `serve`.
    """
    context = make_context(settings, launcher)
    require_token(context)
    app = make_app(settings, context=context)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    return _Server(config, app.state.watches)


def require_token(context: Context) -> None:
    """Refuse to be reached from elsewhere as long as everyone there might do everything.

    Raises:
        SpecError: no token is in the ledger.
    """
    if not context.settings.is_loopback and not context.ledger.tokens():
        context.ledger.close()
        raise SpecError(
            f"The service would listen on {context.settings.host}, where others reach it, but the ledger "
            f"{context.ledger.address} holds no token: make one by `trialwright token create`, or listen on 127.0.0.1."
        )

"""The service's pages: rendered on the server from the ledger, kept up to date by server-sent events.

`router` has the pages, `error_page` shows a problem to people; `study.service.app.make_app` mounts both.
"""

from study.service.pages.errors import error_page
from study.service.pages.routes import router

__all__ = ["error_page", "router"]

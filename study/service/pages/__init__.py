"""The service's pages: rendered on the server from the ledger, kept up to date by server-sent events.

`router` has the pages, `error_page` shows a problem to people, `Feeds` keeps live pages up to date, `StudyPages`
renders a study's page once for all who look; `study.service.app.make_app` mounts them.
"""

from study.service.pages.errors import error_page
from study.service.pages.feed import Feeds
from study.service.pages.routes import router
from study.service.pages.showing import StudyPages

__all__ = ["Feeds", "StudyPages", "error_page", "router"]

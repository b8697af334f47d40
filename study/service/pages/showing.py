"""The fragments of each live page; the page itself and its stream render the same ones."""

import time
from collections.abc import Callable
from urllib.parse import quote

from study.ledger import Ledger, StudyRecord
from study.service.pages.feed import Shown
from study.service.pages.live import StudyView, study_view
from study.service.pages.overview import StudyRow, study_rows
from study.service.pages.rendering import fragment
from study.service.pages.trial import TrialView, trial_view
from study.service.views import is_starting

STUDY_PARTS = ("head", "phases", "families", "survival", "landscape", "packs", "cost", "failures")
"""Fragments of a study's page, from top to bottom."""


def show_studies(rows: tuple[StudyRow, ...], *, root: str, here_url: str, now: float) -> Shown:
    """The list of studies."""
    part = fragment("studies_list.html", root=root, rows=rows, here_url=here_url, now=now)
    return Shown(fragments={"studies": part}, said="")


def show_study(view: StudyView, *, root: str, ray_url: str) -> Shown:
    """One study."""
    parts = {
        name: fragment(f"study_{name}.html", root=root, view=view, ray_url=ray_url) for name in STUDY_PARTS
    }
    return Shown(fragments=parts, said=view.announcement)


def show_trial(view: TrialView, *, root: str) -> Shown:
    """One trial."""
    told = f"Trial {view.record.planned.key} is {view.kind}."
    return Shown(fragments={"trial": fragment("trial_body.html", root=root, view=view)}, said=told)


def study_shower(ledger: Ledger, study: str, *, root: str, ray_url: str) -> Callable[[], Shown]:
    """What renders a study's page anew; nothing is read of a study that nobody drives and that did not change."""
    last: tuple[tuple[StudyRecord, int, bool], Shown] | None = None

    def show() -> Shown:
        nonlocal last
        record = ledger.study(study)
        if ledger.holder(study) is not None:
            last = None
            return study_page(ledger, study, root=root, ray_url=ray_url)[1]
        state = (record, len(ledger.events(study)), is_starting(ledger, study))
        if last is None or last[0] != state:
            last = (state, study_page(ledger, study, root=root, ray_url=ray_url)[1])
        return last[1]

    return show


def study_page(ledger: Ledger, study: str, *, root: str, ray_url: str) -> tuple[StudyView, Shown]:
    """A study's view and its fragments now."""
    view = study_view(ledger, study, now=time.time())
    return view, show_study(view, root=root, ray_url=ray_url)


def trial_page(ledger: Ledger, study: str, key: str, *, root: str) -> tuple[TrialView, Shown]:
    """A trial's view and its fragment now."""
    view = trial_view(ledger, study, key, now=time.time())
    return view, show_trial(view, root=root)


def studies_page(ledger: Ledger, *, root: str, here_url: str) -> Shown:
    """The list of studies now."""
    now = time.time()
    return show_studies(study_rows(ledger, now=now), root=root, here_url=here_url, now=now)


def live_path(*parts: str) -> str:
    """Address of a page's stream."""
    return "/live/" + "/".join(quote(part) for part in parts)

"""The fragments of each live page; the page itself and its stream render the same ones."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from urllib.parse import quote

from study.ledger import Ledger
from study.service.pages.feed import Shown
from study.service.pages.live import StudyView, study_view
from study.service.pages.overview import StudyRow, study_rows
from study.service.pages.rendering import fragment
from study.service.pages.trial import TrialView, trial_view
from study.service.views import is_starting

STUDY_PARTS = ("head", "phases", "families", "survival", "landscape", "packs", "cost", "failures")
"""Fragments of a study's page, from top to bottom."""
AGED_S = 30.0
"""After which a page that says how long ago something was is rendered anew."""
MOST_KEPT = 16
"""Pages of studies that are kept: those looked at last."""


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


@dataclass
class _Kept:
    lock: Lock = field(default_factory=Lock)
    state: object = None
    until: float = 0.0
    """Time by the monotonic clock at which it is rendered anew, whatever has happened."""
    shown: tuple[StudyView, Shown] | None = None


class StudyPages:
    """Pages of studies, each rendered once for all who look at it at once, by stream or not.

    A study that is driven is rendered anew every `fresh_s` seconds at the most, and whenever its state changes; one
    that nobody drives only when something happened, or its times have grown old.
    """

    def __init__(self, ledger: Ledger, *, fresh_s: float) -> None:
        """Begin with none."""
        self._ledger, self._fresh_s = ledger, fresh_s
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()

    def page(self, study: str, *, root: str, ray_url: str) -> tuple[StudyView, Shown]:
        """A study's view and its fragments, as they are now or were a moment ago.

        Raises:
            SpecError: there is no such study.
        """
        ledger = self._ledger
        record, is_driven = ledger.study(study), ledger.holder(study) is not None
        state = (record, is_driven, len(ledger.events(study)), is_starting(ledger, study))
        kept = self._place(study, root, ray_url)
        with kept.lock:
            if kept.shown is None or kept.state != state or time.monotonic() > kept.until:
                view = study_view(ledger, study, now=time.time())
                kept.shown = view, show_study(view, root=root, ray_url=ray_url)
                kept.state = state
                kept.until = time.monotonic() + (self._fresh_s if is_driven else AGED_S)
            return kept.shown

    def _place(self, *names: str) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(names, _Kept())
            self._kept.move_to_end(names)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return kept


def trial_page(ledger: Ledger, study: str, key: str, *, root: str) -> tuple[TrialView, Shown]:
    """A trial's view and its fragment now."""
    view = trial_view(ledger, study, key, now=time.time())
    return view, show_trial(view, root=root)


def studies_page(ledger: Ledger, *, root: str, here_url: str) -> Shown:
    """The list of studies now."""
    now = time.time()
    return show_studies(study_rows(ledger), root=root, here_url=here_url, now=now)


def live_path(*parts: str) -> str:
    """Address of a page's stream."""
    return "/live/" + "/".join(quote(part) for part in parts)

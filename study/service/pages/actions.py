"""What the pages change: signing in and out, and creating, stopping, resuming and deleting studies.

Every form works without script and ends in a redirect, so that reloading a page repeats nothing.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from search_spaces.errors import SpecError
from study.ledger import StudyRecord
from study.service import driving
from study.service.auth import COOKIE, Reader, Runner, address_of, check_secret, require_same_site
from study.service.bodies import CLAIMS, STUDY, Sent, read_yaml
from study.service.context import Context, context_of
from study.service.intake import Submission, check_sent, plan_document
from study.service.pages.rendering import fragment, page, root_of
from study.service.problems import Problem
from study.spec import STUDY_TEMPLATE

router = APIRouter(include_in_schema=False)

MOST_FIELDS = 10
SIGNED_IN_S = 30 * 86_400
"""How long a browser keeps a token; the token itself may hold for less."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A study file that was checked: its plan, or what is wrong with it."""

    mistake: str = ""
    submission: Submission | None = None
    plan: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The study's."""
        return self.submission.spec.name if self.submission else ""

    @property
    def families(self) -> tuple[str, ...]:
        """The study's."""
        return self.submission.spec.families if self.submission else ()


@router.get("/new")
async def new(request: Request, _: Reader) -> Response:
    """A form with a study to begin with."""
    return await _form(request, STUDY_TEMPLATE, "")


@router.post("/new/check")
async def check(request: Request, _: Reader) -> Response:
    """What the form shows beside a study file while it is written."""
    require_same_site(request)
    form = await form_of(request)
    checked = await _checked(context_of(request), form.get("spec", ""), form.get("claims", ""), to_run=False)
    html = fragment("checked.html", root=root_of(request), checked=checked).html
    return HTMLResponse(html, headers={"Cache-Control": "no-store"})


@router.post("/new")
async def create(request: Request, who: Runner) -> Response:
    """Start a study, or show again what is wrong with it."""
    context, form = context_of(request), await form_of(request)
    spec, claims = form.get("spec", ""), form.get("claims", "")
    starts = form.get("do") == "start"
    checked = await _checked(context, spec, claims, to_run=starts)
    if not starts or checked.submission is None:
        return await _form(request, spec, claims, checked)
    try:
        await context.call(driving.create, context, checked.submission, by=who.name)
    except Problem as problem:
        return await _form(request, spec, claims, Checked(mistake=problem.detail))
    return _to(request, f"/studies/{checked.name}")


@router.post("/studies/{study}/stop")
async def stop(request: Request, study: str, who: Runner) -> Response:
    """Stop a study in order."""
    await _change(request, driving.stop, study, by=who.name)
    return _to(request, f"/studies/{study}")


@router.post("/studies/{study}/resume")
async def resume(request: Request, study: str, who: Runner) -> Response:
    """Let a study go on."""
    await _change(request, driving.resume, study, by=who.name)
    return _to(request, f"/studies/{study}")


@router.get("/studies/{study}/delete")
async def ask_to_delete(request: Request, study: str, _: Reader) -> Response:
    """Ask before a study is deleted."""
    context = context_of(request)
    await known(context, study)
    tallies = await context.call(context.ledger.trial_tallies, study)
    return page(request, "delete.html", name=study, num_trials=sum(one.number for one in tallies))


@router.post("/studies/{study}/delete")
async def delete(request: Request, study: str, who: Runner) -> Response:
    """Delete a study."""
    await _change(request, driving.delete, study, by=who.name)
    return _to(request, "/")


@router.get("/login")
async def login(request: Request, next: str = "/") -> Response:  # noqa: A002 -- the parameter's name in the address
    """Ask for a token."""
    return page(request, "login.html", next=local(next), problem="")


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """Keep a token in the browser, out of reach of any script."""
    require_same_site(request)
    form = await form_of(request)
    token, then = form.get("token", "").strip(), local(form.get("next", "/"))
    try:
        await check_secret(context_of(request), token, address_of(request))
    except Problem as problem:
        told = page(request, "login.html", status=problem.status, next=then, problem=problem.detail)
        told.headers.update(problem.headers)
        return told
    answer = _to(request, then)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=SIGNED_IN_S,
        path=root_of(request) or "/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    """Forget the token."""
    require_same_site(request)
    answer = _to(request, "/login")
    answer.delete_cookie(COOKIE, path=root_of(request) or "/", httponly=True, samesite="strict")
    return answer


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a posted form, each once.

    Raises:
        Problem: 400, it is no such form.
    """
    try:
        text = (await request.body()).decode("utf-8")
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Problem(400, "The form cannot be read: reload its page and send it again.") from None
    return {name: values[-1].replace("\r\n", "\n") for name, values in fields.items()}


async def known(context: Context, study: str) -> StudyRecord:
    """A study that there is.

    Raises:
        Problem: 404.
    """
    try:
        return await context.call(context.ledger.study, study)
    except SpecError as error:
        raise Problem(404, str(error)) from None


def local(address: str) -> str:
    """A path of this service; any other address becomes the first page."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_local and "\\" not in address else "/"


async def _form(request: Request, text: str, claims: str, checked: Checked | None = None) -> Response:
    if checked is None:
        checked = await _checked(context_of(request), text, claims, to_run=False)
    status = 422 if checked.mistake else 200
    return page(request, "new.html", status=status, here="new", text=text, claims=claims, checked=checked)


async def _checked(context: Context, text: str, claims: str, *, to_run: bool) -> Checked:
    return await context.call(_check, context, text, claims, to_run=to_run)


def _check(context: Context, text: str, claims: str, *, to_run: bool) -> Checked:
    try:
        sent = Sent(spec=read_yaml(text, STUDY), claims=read_yaml(claims, CLAIMS) if claims.strip() else None)
        submission = check_sent(sent, context.settings, to_run=to_run)
        return Checked(submission=submission, plan=plan_document(submission))
    except SpecError as error:
        return Checked(mistake=str(error))


async def _change(request: Request, function: Any, study: str, **named: Any) -> None:
    """Do something to a study; 404 where there is none."""
    context = context_of(request)
    await known(context, study)
    await context.call(function, context, study, **named)


def _to(request: Request, path: str) -> RedirectResponse:
    return RedirectResponse(root_of(request) + path, status_code=303)

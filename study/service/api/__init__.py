"""The HTTP API, version 1."""

from fastapi import APIRouter

from study.service.api import planning, reading, reports, studies, tables

router = APIRouter()
for _part in (planning, studies, tables, reading, reports):
    router.include_router(_part.router)

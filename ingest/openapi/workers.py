"""The routes about workers."""

from typing import Final

from ingest.openapi.parts import CANNOT_KNOW, Route, answer, answers, route
from schemas.worker import WorkerView

RECORDS: Final = (WorkerView,)
WORKERS: Final[Route] = route(
    200,
    answers({200: answer("Every worker process that was heard of in ten minutes.", "WorkerList")}, _503=CANNOT_KNOW),
)

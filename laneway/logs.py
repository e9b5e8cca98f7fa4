"""What a process says of itself: structured lines on standard error, our own and those of libraries alike."""

import logging
import sys
import traceback
import warnings
from collections.abc import MutableMapping
from typing import Any, Final

import msgspec
import structlog

from schemas.settings import LogSettings

_LIBRARY_LEVELS: Final = {
    # A group's coordinator that moves or still loads is found again by itself; twelve lanes would say it twelve times.
    "aiokafka": logging.CRITICAL,
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "uvicorn": logging.WARNING,
}
"""How loud libraries may be, unless the level is DEBUG."""


def configure(settings: LogSettings) -> None:
    """Write every log line of this process as the settings say; called once, by the command that is the process."""
    level = logging.getLevelNamesMapping()[settings.level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso", utc=True),
    ]
    rendered: list[structlog.typing.Processor]
    if settings.format == "json":
        rendered = [_exception_fields, structlog.processors.JSONRenderer(serializer=_json)]
    else:
        rendered = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    if level > logging.DEBUG:
        for name, floor in _LIBRARY_LEVELS.items():
            logging.getLogger(name).setLevel(max(level, floor))
    logging.captureWarnings(capture=True)
    if level > logging.DEBUG:
        warnings.simplefilter("ignore", DeprecationWarning)


def _json(value: Any, **_: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _exception_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as fields: what it is in ``error``, where it came from in ``traceback``."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event.setdefault("error", f"{type(error).__name__}: {error}")
        event["traceback"] = "".join(traceback.format_exception(error))
    return event

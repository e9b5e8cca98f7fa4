from dataclasses import dataclass, field
from pathlib import Path

from laneway.context import Context
from laneway.files import FileStore
from schemas.settings import Settings
from schemas.status import Progress
from schemas.task import Priority


@dataclass(kw_only=True)
class RecordedContext(Context):
    """A context without a worker: what the handler reports is in ``reported``."""

    reported: list[Progress] = field(default_factory=list)


def context_for(type_name: str, settings: Settings, *, attempt: int = 1, task_id: str | None = None) -> RecordedContext:
    """The first attempt of a task of ``type_name``, with the file store of ``settings``."""
    reported: list[Progress] = []
    return RecordedContext(
        task_id=task_id or "01976e2a-7c00-7d3e-8b11-5a6f0c9d2e41",
        type=type_name,
        priority=Priority.NORMAL,
        attempt=attempt,
        max_attempts=5,
        generation=1,
        labels={},
        deadline=None,
        settings=settings,
        files=FileStore(settings.files_dir),
        report=reported.append,
        reported=reported,
    )


def stored(context: Context, name: str, content: bytes | Path, content_type: str = "application/octet-stream") -> str:
    """Reference of a file that was just put into the context's store."""
    with context.files.create(name, content_type) as file:
        file.write(content.read_bytes() if isinstance(content, Path) else content)
    return file.ref

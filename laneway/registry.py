"""Task types and the decorator that makes them."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, Literal, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from schemas.errors import ConfigurationError, PayloadError, UnknownTypeError
from schemas.rate import Rate
from schemas.retry import RetryPolicy
from schemas.task import OWN_WORD, check_type_name

Executor = Literal["loop", "thread", "process"]
Handler = TypeVar("Handler", bound=Callable[..., Any])

DEFAULT_TIMEOUT: Final = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskType:
    """One kind of task: its name, its payload's schema, what runs it and how."""

    name: str
    handler: Callable[..., Any]
    payload: TypeAdapter[Any]
    takes_context: bool
    executor: Executor
    """``loop``: an ``async`` handler on the worker's loop. ``thread``: a ``def`` handler. ``process``: on request."""
    retry: RetryPolicy
    timeout: timedelta | None
    """Bound of one attempt; ``None``: none."""
    rate: Rate | None = None
    """How many may start in a time, on all workers together."""
    key_rate: Rate | None = None
    """How many of one ordering key and lane."""
    own: bool = False
    """Laneway's own: nobody submits it."""

    @cached_property
    def payload_schema(self) -> dict[str, Any]:
        """JSON Schema of the payload."""
        return self.payload.json_schema()

    @property
    def description(self) -> str:
        """The first paragraph of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n\n")[0].replace("\n", " ")

    def validate(self, payload: bytes) -> Any:
        """The payload as the handler takes it, from its JSON.

        Raises:
            PayloadError: its schema refuses it; says where and why.
        """
        try:
            # The adapter's own way adds two microseconds of choosing among options that nobody gives.
            return self.payload.validator.validate_json(payload)
        except ValidationError as error:
            violations = [
                {"at": "/".join(("/payload", *map(str, part["loc"]))), "why": part["msg"]}
                for part in error.errors(include_url=False, include_context=False, include_input=False)
            ]
            raise PayloadError(self.name, violations) from error


class Registry:
    """The task types that a process knows.

    Those that can be submitted are listed and iterated; Laneway's own are found by name, and listed by ``own``.
    """

    def __init__(self) -> None:
        self._types: dict[str, TaskType] = {}

    def __getitem__(self, name: str) -> TaskType:
        try:
            return self._types[name]
        except KeyError:
            raise UnknownTypeError(name, self.names) from None

    def __contains__(self, name: str) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[TaskType]:
        return iter(self._types[name] for name in self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def names(self) -> list[str]:
        """Names of the types that can be submitted, sorted."""
        return sorted(name for name, task_type in self._types.items() if not task_type.own)

    @property
    def own(self) -> list[str]:
        """Names of Laneway's own types, sorted."""
        return sorted(name for name, task_type in self._types.items() if task_type.own)

    @property
    def every(self) -> list[TaskType]:
        """Every type."""
        return list(self._types.values())

    def only(self, names: list[str]) -> "Registry":
        """A registry of just these types.

        Raises:
            UnknownTypeError: one of them is not known.
        """
        chosen = Registry()
        chosen._types = {name: self[name] for name in names}
        return chosen

    def task(
        self,
        name: str,
        *,
        retry: RetryPolicy | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
        executor: Literal["process"] | None = None,
        rate: Rate | str | None = None,
        key_rate: Rate | str | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated function as the handler of the type ``name``.

        ``async def`` runs on the worker's loop, ``def`` in a thread, ``executor="process"`` in a process that a
        time-out can kill. The annotation of the first parameter is the payload's type: a pydantic model, a dataclass,
        a ``TypedDict`` or anything else that pydantic validates; a second parameter gets the ``Context``. What is
        returned is the result and must be JSON. The function itself is left as it was, so tests call it directly.

        Args:
            name: lower-case words joined by dots, such as ``billing.invoice``.
            retry: when and how often to try again; default ``RetryPolicy()``.
            timeout: bound of one attempt; ``None`` for none.
            executor: ``"process"`` for work that must be killable or that keeps the interpreter busy.
            rate: how many may start in a time, such as ``"100/s"`` or ``"20/m"``, on all workers together; each gets
                the part that its partitions are of all, so while some lie idle, it is less.
            key_rate: the same for the tasks of one ordering key in one lane.

        Raises:
            ConfigurationError: a name that cannot be, a name taken, or a function that cannot be a handler.
        """

        def register(handler: Handler) -> Handler:
            self._add(
                name,
                handler,
                retry=retry,
                timeout=timeout,
                executor=executor,
                rate=_rate(name, rate),
                key_rate=_rate(name, key_rate),
            )
            return handler

        return register

    def own_task(self, name: str, *, retry: RetryPolicy, timeout: timedelta) -> Callable[[Handler], Handler]:
        """As ``task``, for one of Laneway's own types."""

        def register(handler: Handler) -> Handler:
            self._add(name, handler, retry=retry, timeout=timeout, executor=None, rate=None, key_rate=None, own=True)
            return handler

        return register

    def _add(
        self,
        name: str,
        handler: Callable[..., Any],
        *,
        retry: RetryPolicy | None,
        timeout: timedelta | None,
        executor: Literal["process"] | None,
        rate: Rate | None,
        key_rate: Rate | None,
        own: bool = False,
    ) -> None:
        where = f"@task({name!r})"
        try:
            check_type_name(name.removeprefix(f"{OWN_WORD}.") if own else name)
        except ValueError as error:
            raise ConfigurationError(where, name, str(error)) from None
        if timeout is not None and timeout <= timedelta(0):
            raise ConfigurationError(where, str(timeout), "a time-out above zero, or None for none")
        present = self._types.get(name)
        if present is not None and _home(present.handler) != _home(handler):
            raise ConfigurationError(
                where, _home(handler), f"one handler a type; {_home(present.handler)} has this one"
            )
        parameters = [
            parameter
            for parameter in inspect.signature(handler).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        if not 1 <= len(parameters) <= 2:
            raise ConfigurationError(where, f"{len(parameters)} parameters", "(payload) or (payload, ctx)")
        if executor is None:
            chosen: Executor = "loop" if inspect.iscoroutinefunction(handler) else "thread"
        elif inspect.iscoroutinefunction(handler):
            raise ConfigurationError(where, "async def", 'a plain def with executor="process"')
        else:
            chosen = executor
        self._types[name] = TaskType(
            name=name,
            handler=handler,
            payload=TypeAdapter(get_type_hints(handler).get(parameters[0].name, Any)),
            takes_context=len(parameters) == 2,
            executor=chosen,
            retry=retry or RetryPolicy(),
            timeout=timeout,
            rate=rate,
            key_rate=key_rate,
            own=own,
        )


def _rate(name: str, given: Rate | str | None) -> Rate | None:
    try:
        return Rate.parse(given) if isinstance(given, str) else given
    except ValueError as error:
        raise ConfigurationError(f"@task({name!r})", str(given), str(error)) from None


def _home(handler: Callable[..., Any]) -> str:
    return f"{handler.__module__}:{handler.__qualname__}"


registry: Final = Registry()
"""Where ``@task`` registers."""

task: Final = registry.task

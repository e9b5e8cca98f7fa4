"""Settings of every process: one frozen model, read once by the command line and passed down.

Each comes from a command-line option, else from the environment (``LANEWAY_`` and ``__`` between levels, such as
``LANEWAY_KAFKA__BOOTSTRAP_SERVERS``), else from its default here. ``docs/configuration.md`` is generated from this.
"""

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.errors import ConfigurationError

PREFIX: Final = "LANEWAY_"
DELIMITER: Final = "__"

Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class KafkaSettings(Section):
    """How to reach the cluster and how topics are laid out."""

    bootstrap_servers: str | None = None
    """`host:port[,host:port…]` of an existing cluster. Unset, `laneway up` starts a broker of its own."""
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,60}$")] = "laneway."
    """Put before every topic and consumer group."""
    partitions: Annotated[int, Field(ge=1, le=1000)] = 12
    """Partitions of a lane, of `status` and of every other topic; 4 under `laneway up`."""
    replication_factor: Annotated[int, Field(ge=1, le=9)] = 1
    """Copies of each record; 3 in production."""
    client_options: dict[str, str] = {}
    """Options of librdkafka's clients as JSON, such as `{"security.protocol": "SASL_SSL"}`."""
    delivery_timeout: Annotated[float, Field(gt=0, le=600)] = 30.0
    """Seconds until a record that no broker acknowledged is given up."""


class ApiSettings(Section):
    """The ingest API."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8080
    """Port to listen on; 0 takes a free one."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """Largest body of a request that carries tasks; 413 above it."""
    max_payload_bytes: Annotated[int, Field(ge=1024, le=900_000)] = 256 * 1024
    """Largest payload of one task."""
    max_file_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024 * 1024
    """Largest file that `POST /api/files` takes."""
    accept_timeout: Annotated[float, Field(gt=0, le=120)] = 5.0
    """Seconds that a submission waits for the broker before it answers 503."""
    max_wait: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Longest `?wait=`, in seconds."""
    max_streams: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Streams of events that are open at once; 429 above it."""
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")] | None = None
    """Request header in which a proxy in front names the user, such as `X-Forwarded-User`, for the record of who asked
    for what. Set it only where the proxy overwrites it; unset, the client's address is recorded."""


class WorkerSettings(Section):
    """The worker."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,150}$")] | None = None
    """What this worker is called in statuses, logs and Kafka; each of its processes adds its number. Unset, from the
    host's name and the data directory, so that it survives a restart."""
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    """Worker processes that `laneway worker` starts and keeps running."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Slots for each type: how many of its tasks run at once in one worker."""
    processes: Annotated[int, Field(ge=1, le=64)] = 2
    """Processes for the handlers that ask for `executor="process"`; one more is started when they are all taken and a
    `high` task comes."""
    nice: Annotated[int, Field(ge=0, le=19)] = 5
    """How far the threads of handlers stand back for the rest of their worker (`nice`), which stands back by 1 unless
    this is 0: on a busy machine tasks can wait, what takes them in and tells of them should not. Workers that run only
    `high` tasks do not stand back."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 32
    """Threads for `def` handlers, and one more that only `high` tasks take."""
    drain_timeout: Annotated[float, Field(ge=0, le=3600)] = 20.0
    """Seconds that a stop waits for running handlers before it hands their tasks back."""
    running_visible_after: Annotated[float, Field(ge=0, le=10)] = 0.05
    """Seconds after which a task that still runs is told as `running`; one that is over sooner is not."""
    cancel_grace: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """Seconds that the handler of a cancelled task has to see it and end by itself, before it is stopped."""
    dead_letter_budget: Annotated[int, Field(ge=0, le=10_000_000)] = 500
    """Dead letters of one lane within a minute, in one worker process, above which the lane is held on every worker, if
    they are more than half of all that ended: a bad deploy must not pour a topic into them. 0: never."""
    session_timeout: Annotated[float, Field(ge=2, le=300)] = 6.0
    """Seconds of silence after which the group takes a worker for dead; brokers allow 6 and above by default."""
    commit_interval: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Seconds between commits of offsets."""
    stall_timeout: Annotated[float, Field(ge=6, le=3600)] = 30.0
    """Seconds that the worker's loop may stand still before the process is ended and started again; told after 5."""
    standstill_timeout: Annotated[float, Field(ge=5, le=3600)] = 60.0
    """Seconds that nothing may run or end while records wait, before the process is ended and started again."""
    max_crashes: Annotated[int, Field(ge=1, le=100)] = 3
    """Crashes of a process at which the task that caused them becomes a dead letter, with the reason `poison`."""
    metrics_host: str = "127.0.0.1"
    """Address on which the next setting's port is opened."""
    metrics_port: Port | None = None
    """Port where `laneway worker` and `laneway up` tell Prometheus how worker processes fare; unset, they do not."""


class EmailSettings(Section):
    """Where the type `email` sends to."""

    host: str = "127.0.0.1"
    """SMTP server; `laneway up` starts a local sink and sets host and port to it unless they are set."""
    port: Port = 1025
    """Port of the SMTP server."""
    sender: str = "laneway@localhost"
    """`From` where the payload names none."""
    username: str | None = None
    """Signs in with this name where it is set."""
    password: SecretStr | None = None
    """What belongs to the name."""
    security: Literal["none", "starttls", "tls"] = "none"
    """How the connection is protected: not at all, by `STARTTLS`, or by TLS from the first byte."""
    timeout: Annotated[float, Field(gt=0, le=600)] = 20.0
    """Seconds for one exchange with the server."""
    max_recipients: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most recipients of one message."""


class ChatSettings(Section):
    """Where the type `chat` finds its answers."""

    documents_dir: Path | None = None
    """Folder of text, Markdown, HTML or PDF files to answer from; unset, the sample documents under
    `laneway up --demo`, else `documents/` in the data directory."""
    openai_base_url: AnyHttpUrl | None = None
    """Base address of an OpenAI-compatible server, such as `http://127.0.0.1:11434/v1`; set, it answers instead."""
    openai_api_key: SecretStr | None = None
    """Key that goes with each request to that server."""
    openai_model: str = "gpt-4o-mini"
    """Which of its models answers."""
    timeout: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Seconds for one answer of that server."""


_SECRET_PREFIX: Final = "whsec_"  # noqa: S105  (what secrets begin with)


def _signing_keys(secrets: SecretStr) -> tuple[bytes, ...]:
    """The keys that are written as Standard Webhooks say.

    Raises:
        ValueError: one of them is not; never tells it.
    """
    keys = []
    for number, secret in enumerate(secrets.get_secret_value().split(), start=1):
        try:
            key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if not secret.startswith(_SECRET_PREFIX) or not 24 <= len(key) <= 64:
            raise ValueError(f"secret {number}: want whsec_ and 24 to 64 bytes in Base64, separated by blanks")
        keys.append(key)
    return tuple(keys)


def _checked_secrets(secrets: SecretStr | None) -> SecretStr | None:
    return secrets if secrets is not None and _signing_keys(secrets) else None


def _checked_networks(text: str | None) -> str | None:
    networks_in(text or "")
    return text


def networks_in(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks in a setting, separated by blanks or commas.

    Raises:
        ValueError: one of them is none.
    """
    return tuple(ip_network(each) for each in text.replace(",", " ").split())


class CallbackSettings(Section):
    """Posting outcomes to the `callback_url` of tasks. See [callbacks.md](callbacks.md)."""

    secrets: Annotated[SecretStr | None, AfterValidator(_checked_secrets)] = None
    """What requests are signed with: `whsec_` and Base64, as Standard Webhooks have it; several, separated by blanks,
    while one replaces another. Unset, tasks with a `callback_url` are refused, and workers post nothing."""
    timeout: Annotated[float, Field(gt=0, le=60)] = 15.0
    """Seconds for one request, from the look-up of the name to the end of the answer."""
    allowed_networks: Annotated[str | None, AfterValidator(_checked_networks)] = None
    """Networks to which callbacks may go although they are inside (loopback, private, link-local and the like), such as
    `10.1.0.0/16 fd00::/8`."""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What to sign with: with each of them."""
        return () if self.secrets is None else _signing_keys(self.secrets)

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The allowed ones."""
        return networks_in(self.allowed_networks or "")


class LogSettings(Section):
    """What processes say of themselves."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lines below this level are not written. An attempt that fails has a line at any level but `ERROR`, one that
    succeeds at `DEBUG` alone."""
    format: Literal["console", "json"] = "console"
    """For people, or one JSON object a line."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Path(".laneway")
    """Where files, the status view and the embedded broker keep their data."""
    crash_at: str | None = None
    """For tests alone: the point at which the process kills itself (`laneway/crashpoints.py`)."""
    kafka: KafkaSettings = KafkaSettings()
    api: ApiSettings = ApiSettings()
    worker: WorkerSettings = WorkerSettings()
    email: EmailSettings = EmailSettings()
    chat: ChatSettings = ChatSettings()
    callbacks: CallbackSettings = CallbackSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options before environment before defaults; no `.env` file is read behind anybody's back."""
        return init_settings, env_settings

    @property
    def bootstrap_servers(self) -> str:
        """The cluster's address.

        Raises:
            ConfigurationError: none is set.
        """
        if not self.kafka.bootstrap_servers:
            raise ConfigurationError(
                variable("kafka.bootstrap_servers"),
                None,
                "host:port of a Kafka cluster (or `laneway up`, which starts one)",
            )
        return self.kafka.bootstrap_servers

    @property
    def files_dir(self) -> Path:
        """Where uploaded and produced files lie."""
        return self.data_dir / "files"


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings.

    Args:
        overrides: what the command line says, by dotted name (``{"api.port": 8081}``); ``None`` values count as unsaid.

    Raises:
        ConfigurationError: a value that cannot be, or a ``LANEWAY_`` variable that names no setting.
    """
    unknown = sorted(set(_our_environment()) - {variable(name) for name in leaves()})
    if unknown:
        raise ConfigurationError(
            unknown[0], _our_environment()[unknown[0]], "a known setting (`laneway config` lists them all)"
        )
    nested: dict[str, Any] = {}
    for name, value in (overrides or {}).items():
        if value is not None:
            section, _, leaf = name.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[leaf] = value
    try:
        return Settings(**nested)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        seen = (overrides or {}).get(name, os.environ.get(variable(name)))
        secret = name.endswith(("password", "api_key", "secrets"))
        raise ConfigurationError(
            variable(name), "…" if secret else seen, first["msg"].removeprefix("Value error, ")
        ) from None


def variable(name: str) -> str:
    """Environment variable of a setting: ``api.port`` is ``LANEWAY_API__PORT``."""
    return PREFIX + name.replace(".", DELIMITER).upper()


def leaves(model: type[BaseModel] = Settings, path: str = "") -> dict[str, Any]:
    """Every setting by its dotted name, with its field."""
    return dict(_leaves(model, path))


def _leaves(model: type[BaseModel], path: str) -> Iterator[tuple[str, Any]]:
    for name, spec in model.model_fields.items():
        dotted = f"{path}.{name}" if path else name
        if isinstance(spec.annotation, type) and issubclass(spec.annotation, Section):
            yield from _leaves(spec.annotation, dotted)
        else:
            yield dotted, spec


def _our_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}


def environment_for(settings: Settings) -> dict[str, str]:
    """The environment in which a child process reads these same settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for name in leaves():
        value: Any = settings
        for part in name.split("."):
            value = getattr(value, part)
        if value is None:
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        environment[variable(name)] = _text(value)
    return environment


def provenance(settings: Settings, overrides: Mapping[str, Any] | None = None) -> Iterator[tuple[str, str, str]]:
    """Each setting as (dotted name, value with secrets masked, where it came from)."""
    said = {name for name, value in (overrides or {}).items() if value is not None}
    environment = _our_environment()
    for name in leaves():
        value: Any = settings
        for part in name.split("."):
            value = getattr(value, part)
        origin = "command line" if name in said else "environment" if variable(name) in environment else "default"
        yield name, "" if value is None else _text(value), origin


def _text(value: object) -> str:
    if isinstance(value, dict):
        import json

        return json.dumps(value)
    return str(value)


def user_cache_dir() -> Path:
    """Where Laneway keeps for this user what it can fetch again: in ``XDG_CACHE_HOME``, else in ``~/.cache``."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (configured if configured.is_absolute() else Path("~/.cache").expanduser()) / "laneway"

"""A task that asks for a callback which will never be sent is refused at the door, and says why."""

import msgspec
import pytest

import streams.handlers.callback  # noqa: F401  (registers its type)
from ingest.admission import Acceptance, Admission, decode_submission, moment
from laneway.ids import new_id
from laneway.registry import Registry
from laneway.registry import registry as every_type
from schemas import codec
from schemas.errors import ConfigurationError, InvalidTaskError, TypeNotFoundError
from schemas.settings import CallbackSettings, KafkaSettings, Settings
from schemas.status import Status
from schemas.task import CALLBACK_TYPE

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
URL = "https://example.com/hooks"


def _echo(payload: dict[str, int]) -> dict[str, int]:
    return payload


@pytest.fixture
def types() -> Registry:
    registry = Registry()
    registry.task("t")(_echo)
    return registry


def _accept(types: Registry, settings: CallbackSettings, **fields: object) -> Acceptance:
    admission = Admission(Settings(kafka=KafkaSettings(partitions=4), callbacks=settings), types)
    body = {"type": "t", "payload": {"n": 1}, **fields}
    return admission.accept(decode_submission(msgspec.json.encode(body)), moment(), new_id())


def test_without_a_secret_it_is_refused_and_the_setting_named(types: Registry) -> None:
    with pytest.raises(InvalidTaskError, match="LANEWAY_CALLBACKS__SECRETS is not set") as refused:
        _accept(types, CallbackSettings(), callback_url=URL)
    assert refused.value.extensions["violations"] == [
        {"at": "/callback_url", "why": "callbacks are off: LANEWAY_CALLBACKS__SECRETS is not set"}
    ]


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[fe80::1]/", "https://u:p@example.com/"])
def test_an_address_that_will_be_refused_later_is_refused_now(types: Registry, url: str) -> None:
    with pytest.raises(InvalidTaskError) as refused:
        _accept(types, CallbackSettings.model_validate({"secrets": SECRET}), callback_url=url)
    assert refused.value.http_status == 422


def test_one_that_can_be_is_in_the_task_and_its_status(types: Registry) -> None:
    settings = CallbackSettings.model_validate({"secrets": SECRET, "allowed_networks": "10.0.0.0/8"})
    for url in (URL, "http://10.1.1.1:8080/"):
        accepted = _accept(types, settings, callback_url=url)
        assert codec.decode(accepted.document, Status).callback_url == url
    assert b"callback_url" not in _accept(types, settings).document


def test_nobody_submits_or_defines_a_type_of_laneways_own(types: Registry) -> None:
    assert CALLBACK_TYPE in every_type
    assert CALLBACK_TYPE not in every_type.names
    own = every_type.only([CALLBACK_TYPE])
    with pytest.raises(TypeNotFoundError):
        _accept(own, CallbackSettings(), type=CALLBACK_TYPE)
    for name in (CALLBACK_TYPE, "laneway", "laneway.other"):
        with pytest.raises(ConfigurationError, match="reserved"):
            types.task(name)(_echo)

"""What is signed is what an independent reader of Standard Webhooks takes, with each of several secrets."""

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from schemas.errors import ConfigurationError
from schemas.settings import CallbackSettings, load_settings, provenance
from streams.handlers.callback import signature

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2, 3))
BODY = b'{"type":"task.succeeded"}'


def _headers(secrets: str, at: int) -> dict[str, str]:
    keys = CallbackSettings(secrets=secrets).keys  # type: ignore[arg-type]  # pydantic makes it secret
    return {"webhook-id": "m1", "webhook-timestamp": str(at), "webhook-signature": signature(keys, "m1", at, BODY)}


def test_either_secret_verifies_it_while_one_replaces_the_other() -> None:
    headers = _headers(f"{NEW} {OLD}", int(time.time()))
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(BODY, headers) == {"type": "task.succeeded"}
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY.replace(b"succeeded", b"cancelled"), headers)


@pytest.mark.parametrize("secrets", ["hunter2", "whsec_c2hvcnQ=", f"{NEW} whsec_%%%", "   "])
def test_a_secret_that_is_none_is_refused_without_being_told(secrets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEWAY_CALLBACKS__SECRETS", secrets)
    if not secrets.strip():
        assert load_settings().callbacks.secrets is None
        return
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert refused.value.setting == "LANEWAY_CALLBACKS__SECRETS"
    assert not any(each in str(refused.value) for each in secrets.split())


def test_the_settings_in_force_are_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEWAY_CALLBACKS__SECRETS", NEW)
    told = {name: value for name, value, _ in provenance(load_settings())}
    assert set(told["callbacks.secrets"]) == {"*"}

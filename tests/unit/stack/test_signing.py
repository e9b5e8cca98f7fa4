"""A data directory has one secret for callbacks, which only its owner can read."""

from pathlib import Path

from pydantic import SecretStr

from laneway.stack.signing import SECRET_FILE, callback_secret
from schemas.settings import CallbackSettings


def test_it_is_made_once_and_signs(tmp_path: Path) -> None:
    secret = callback_secret(tmp_path)
    assert callback_secret(tmp_path) == secret
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o777 == 0o600
    assert len(CallbackSettings(secrets=SecretStr(secret)).keys[0]) == 32

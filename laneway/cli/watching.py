"""Asking an API again and again beside whoever shows the answers."""

import threading
import time
from datetime import timedelta
from typing import NamedTuple

import httpx

from laneway.client import Client
from laneway.client.operations import Overview
from schemas.errors import LanewayError


class Trouble(NamedTuple):
    """Why there is no answer of late."""

    said: str
    seconds: float
    """Since the last one, or since the first question."""


class Watching:
    """Asks for the overview in a thread of its own, which ends with the process.

    An API that does not answer is asked again; keys are heard meanwhile.

    Args:
        address: of the API.
        every: seconds between two questions.
    """

    def __init__(self, address: str, every: float) -> None:
        self._address = address
        self._every = every
        self._lock = threading.Lock()
        self._found: Overview | None = None
        self._said: str | None = None
        self._since = time.monotonic()
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="laneway-top", daemon=True).start()

    def latest(self) -> tuple[Overview | None, Trouble | None]:
        """The latest answer, and why it is not of now, where that is so."""
        with self._lock:
            trouble = None if self._said is None else Trouble(self._said, time.monotonic() - self._since)
            return self._found, trouble

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def _run(self) -> None:
        with Client(self._address, retry_for=timedelta(0)) as client:
            while not self._stopped.is_set():
                self._ask(client)
                self._stopped.wait(self._every)

    def _ask(self, client: Client) -> None:
        try:
            found = client.overview()
        except (LanewayError, httpx.HTTPError) as error:
            with self._lock:
                self._said = str(error) or type(error).__name__
        except ValueError as error:  # something else answers at this address
            with self._lock:
                self._said = f"what answers there is no API of Laneway of this version: {error}"
        else:
            with self._lock:
                self._found, self._said, self._since = found, None, time.monotonic()

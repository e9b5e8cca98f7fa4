"""Templates into pages."""

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ingest.dashboard import words
from ingest.dashboard.assets import asset
from laneway import __version__
from schemas.status import State
from schemas.task import Priority

_TEMPLATES: Final = Path(__file__).parent / "templates"


def environment() -> Environment:
    """The templates; whatever stands in them is text unless a template of ours says otherwise."""
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {
        "clock": words.clock,
        "duration": words.duration,
        "iso": words.iso,
        "number": words.number,
        "pretty": words.pretty,
        "pretty_json": words.pretty_json,
        "short_id": words.short_id,
        "shortened": words.shortened,
        "ticked": words.ticked,
    }
    found.globals |= {
        "address": words.address,
        "asset": asset,
        "plural": words.plural,
        "priorities": list(Priority),
        "state_words": words.STATE_WORDS,
        "states": list(State),
        "version": __version__,
        "FOLD_AT": words.FOLD_AT,
    }
    return found


class Templates:
    """Renders templates by name."""

    def __init__(self) -> None:
        self._environment = environment()

    def render(self, name: str, **values: Any) -> str:
        """The template's text with these values in it."""
        return self._environment.get_template(name).render(values)

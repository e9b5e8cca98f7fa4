import importlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from laneway.registry import Registry


BUILT_IN = "streams.handlers"


def load_types(imports: tuple[str, ...]) -> "Registry":
    """Import the built-in handlers and the user's modules; answers the registry that they filled.

    The current folder is where the user's modules are found last, so that a folder of theirs called ``schemas`` or
    ``streams`` cannot stand in for a package of ours.

    Raises:
        ConfigurationError: a module cannot be imported; says why and where.
    """
    from laneway.registry import registry

    importlib.import_module(BUILT_IN)
    here = str(Path.cwd())
    if imports and here not in sys.path:
        sys.path.append(here)
    for name in imports:
        try:
            importlib.import_module(name)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(f"--import {name}", _told(error), f"a module that imports from {here}") from error
    return registry


def _told(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if len(frames) > 1 else ""
    return f"{type(error).__name__}: {error}{where}"

"""What a form says of a task beside its payload."""

from typing import Any

from ingest.violations import invalid


def options_of(form: dict[str, str]) -> dict[str, Any]:
    """The options that are filled in, as ``POST /api/tasks`` takes them; it judges them.

    Raises:
        InvalidTaskError: a number that is none, or labels that are not name=value.
    """
    said: dict[str, Any] = {
        name: form[name].strip() for name in ("priority", "ordering_key") if form.get(name, "").strip()
    }
    numbers: tuple[tuple[str, type[int] | type[float]], ...] = (
        ("delay", float),
        ("timeout", float),
        ("max_attempts", int),
    )
    for name, kind in numbers:
        text = form.get(name, "").strip()
        if text:
            try:
                said[name] = kind(text)
            except ValueError as error:
                raise invalid(f"/{name}", f"{text[:40]!r} is no number") from error
    labels = labels_of(form.get("labels", ""))
    if labels:
        said["labels"] = labels
    return said


def labels_of(text: str) -> dict[str, str]:
    """Labels, one ``name=value`` a line or between commas.

    Raises:
        InvalidTaskError: one of them has no ``=``.
    """
    found: dict[str, str] = {}
    for part in text.replace("\n", ",").split(","):
        if part.strip():
            name, equals, value = part.partition("=")
            if not equals or not name.strip():
                raise invalid("/labels", f"{part.strip()[:80]!r}: want name=value")
            found[name.strip()] = value.strip()
    return found

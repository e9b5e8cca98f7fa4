"""What an expression of Prometheus' asks for: metrics, with the labels that it reads of them."""

import re
from dataclasses import dataclass, field
from typing import Final

_WORDS: Final = frozenset({"and", "or", "unless", "bool", "offset", "by", "on", "without", "ignoring"})
_STRING: Final = re.compile(r'"[^"]*"')
_RANGE: Final = re.compile(r"\[[^\]]*\]")
_LABELS: Final = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR: Final = re.compile(r"\b([a-zA-Z_:]\w*)\s*\{([^}]*)\}")
_NAME: Final = re.compile(r"\b([a-zA-Z_:]\w*)\b(?!\s*\()")
_MATCHER: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_VARIABLE_QUERY: Final = re.compile(r"label_values\((\w+), (\w+)\)")


@dataclass
class Asked:
    """What an expression asks for."""

    selected: dict[str, set[str]] = field(default_factory=dict)
    """By metric, the labels that it is selected by."""
    grouped: set[str] = field(default_factory=set)
    """Labels that results are put together by."""


def asked_by(expression: str) -> Asked:
    """Read an expression, or the query of a board's variable. Its syntax is ``promtool``'s business."""
    found = Asked()
    variable = _VARIABLE_QUERY.fullmatch(expression)
    if variable is not None:
        found.selected[variable[1]] = {variable[2]}
        return found
    text = _RANGE.sub("", _STRING.sub('""', expression))
    for labels in _LABELS.findall(text):
        found.grouped |= {label.strip() for label in labels.split(",") if label.strip()}
    text = _LABELS.sub("", text)
    for metric, matchers in _SELECTOR.findall(text):
        found.selected.setdefault(metric, set()).update(_MATCHER.findall(matchers))
    for name in _NAME.findall(re.sub(r"\{[^}]*\}", "", text)):
        if name not in _WORDS:
            found.selected.setdefault(name, set())
    return found

"""YAML as version 1.2 of its standard reads it (core schema): ``1e-4`` is a number, ``no`` and ``on`` are words.

PyYAML reads version 1.1, where ``1e-4`` is text, ``no`` is false, ``010`` is eight and ``1:30`` is ninety; and it takes
the last of two equal keys without a word.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ecglib.errors import InputError

_PREFIX = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """The safe loader with the core schema's four rules in the place of its own."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own class attribute, emptied

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"{key!r} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        text = node.value
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def construct_number(self, node: yaml.ScalarNode) -> float:
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_implicit_resolver(f"{_PREFIX}null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_PREFIX}bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    f"{_PREFIX}int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    f"{_PREFIX}float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
_Loader.add_constructor(f"{_PREFIX}int", _Loader.construct_whole)
_Loader.add_constructor(f"{_PREFIX}float", _Loader.construct_number)


def loads(text: str, *, shown: str) -> Any:
    """The value that `text` writes. Raises InputError naming `shown` and the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: plain values only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark and "\n" in text.strip() else ""
        raise InputError(f"{shown}{line}: not readable as YAML ({getattr(error, 'problem', None) or error})") from None


def read_mapping(path: Path, *, shown: str) -> dict[str, Any]:
    """The ``key: value`` lines of a file; an empty file is an empty mapping. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{shown}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    mapping = loads(text, shown=shown)
    if mapping is None:
        return {}
    if not isinstance(mapping, dict) or not all(isinstance(key, str) for key in mapping):
        raise InputError(f"{shown}: must hold lines `name: value` and nothing else")
    return mapping


def read_as_papermill(text: str) -> dict[str, Any]:
    """What ``papermill -f`` reads in the same text: PyYAML's YAML 1.1, dates left as text."""

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
            first: [rule for rule in rules if rule[0] != f"{_PREFIX}timestamp"]
            for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    return {str(key): value for key, value in (yaml.load(text, Loader=Loader) or {}).items()}


def reasons(text: str) -> dict[str, str]:
    """Key -> the comment beside it: behind the key or its value, or alone on the lines right above."""
    root = yaml.compose(text, Loader=_Loader)
    lines = text.splitlines()
    found = {}
    for key, value in root.value if root is not None else ():
        first, last = key.start_mark.line, _last_line(value)
        behind = [_comment(lines[line], value if line == last else key, line) for line in {first, last}]
        above = first - 1
        while above >= 0 and lines[above].startswith("#"):
            behind.append(lines[above].lstrip("# "))
            above -= 1
        found[key.value] = " ".join(filter(None, behind)).strip()
    return found


def _last_line(node: yaml.Node) -> int:
    """The last line with text of a node; a block collection's own end mark lies behind its trailing comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.line


def _comment(line: str, node: yaml.Node, number: int) -> str:
    """The comment in `line` behind the end of `node` (quotes inside the value are thereby out of the way)."""
    start = node.end_mark.column if node.end_mark.line == number else 0
    match = re.search(r"(?:^|\s)#\s*(.*)$", line[start:])
    return match.group(1) if match else ""

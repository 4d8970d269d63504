"""A notebook's parameters cell is its schema: read without a kernel, checked before one starts.

The cell tagged ``parameters`` holds literal assignments and nothing else::

    learning_rate: float = 1e-3  # peak of the schedule; ten times more diverges
    variant: Literal["tempered", "released"] = "tempered"  # which MKD: the textbook's or the released code's

A preset (``params/NOTEBOOK/PRESET.yaml``) holds only what differs, each line with its reason; the command line
overrides both. Types are strict: true is no number, ``64`` is no text; a whole number may stand where a number is
wanted. YAML is read by version 1.2 of the standard, in which ``1e-4`` is a number and ``no`` is a word.
"""

from __future__ import annotations

import ast
import io
import json
import math
import tokenize
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from ecglib import errors, yaml12
from ecglib.errors import InputError

TAG = "parameters"
_SCALARS = {"int": int, "float": float, "str": str, "bool": bool}
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: `kind` is a typing object, `meaning` the comment, `line` counts from 1."""

    name: str
    kind: Any
    default: Any
    meaning: str
    line: int


@dataclass(frozen=True)
class Schema(Mapping[str, Parameter]):
    """What the parameters cell of one notebook allows, in the order of the cell."""

    notebook: str
    parameters: dict[str, Parameter]

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def check(self, name: str, value: Any, where: str) -> Any:
        """`value` as parameter `name` takes it. Raises InputError that names `where`, the parameter and the remedy."""
        if name not in self:
            raise InputError(
                f"{where}: {self.notebook} has no parameter {name!r}.{errors.nearest(name, self)}".rstrip()
            )
        try:
            return _coerce(self[name].kind, value)
        except _MismatchError as mismatch:
            raise InputError(f"{where}: parameter {name!r} is {mismatch}") from None


@dataclass(frozen=True)
class Settings:
    """Every parameter's value, and where those come from that do not stand in the notebook."""

    schema: Schema
    values: dict[str, Any]
    sources: dict[str, str]  # name -> "preset" or "command line"

    def changed(self) -> dict[str, Any]:
        """What differs from the notebook's own values."""
        return {name: value for name, value in self.values.items() if not _same(value, self.schema[name].default)}


def read_schema(notebook: str | Path, *, shown: str | None = None) -> Schema:
    """The schema of the ``.ipynb`` at `notebook`, called `shown` in messages. Raises InputError."""
    path = Path(notebook)
    shown = shown or str(path)
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if TAG in c.get("metadata", {}).get("tags", ()) and c["cell_type"] == "code"]
    except FileNotFoundError:
        raise InputError(f"{shown}: there is no such notebook") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{shown}: not readable as a notebook ({type(error).__name__}: {error})") from None
    if len(tagged) != 1:
        raise InputError(f"{shown}: needs exactly one code cell tagged {TAG!r}; it has {len(tagged)}")
    return parse_cell("".join(tagged[0]["source"]), notebook=path.stem, where=f"{shown}, parameters cell")


def parse_cell(source: str, *, notebook: str, where: str = "parameters cell") -> Schema:
    """The schema in the text of a parameters cell. Raises InputError naming `where` and the line."""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise InputError(
            f"{where}, line {error.lineno}: {error.msg}; only `name: type = value` may stand here"
        ) from None
    comments = _comments(source)
    parameters: dict[str, Parameter] = {}
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module == "typing":  # Literal has to come from somewhere
            continue
        parameter = _parameter(node, source, comments, f"{where}, line {node.lineno}")
        if parameter.name in parameters:
            raise InputError(f"{where}, line {node.lineno}: {parameter.name!r} is given twice; keep one")
        parameters[parameter.name] = parameter
    return Schema(notebook, parameters)


def _parameter(node: ast.stmt, source: str, comments: dict[int, tuple[str, bool, bool]], where: str) -> Parameter:
    text = (ast.get_source_segment(source, node) or "").splitlines()[0]
    if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
        raise InputError(f"{where}: `{text}` is not of the form `name: type = value`; write it so, or move it")
    try:
        default = ast.literal_eval(node.value)
    except (ValueError, TypeError):
        raise InputError(
            f"{where}: the value of {node.target.id!r} is not a literal; compute it in a later cell"
        ) from None
    try:
        kind = _kind(node.annotation)
    except _MismatchError:
        raise InputError(
            f"{where}: {node.target.id!r} has the type {ast.unparse(node.annotation)}; "
            "use int, float, str, bool, list[...], Literal[...] or `... | None`"
        ) from None
    try:
        default = _coerce(kind, default)
    except _MismatchError as mismatch:
        raise InputError(f"{where}: parameter {node.target.id!r} is {mismatch}") from None
    return Parameter(node.target.id, kind, default, _meaning(node, comments), node.lineno)


def _comments(source: str) -> dict[int, tuple[str, bool, bool]]:
    """Line -> (text, whether the line holds nothing else, whether it is indented) of every comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: (token.string.lstrip("# ").rstrip(), token.line.lstrip().startswith("#"), token.start[1] > 0)
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _meaning(node: ast.AnnAssign, comments: dict[int, tuple[str, bool, bool]]) -> str:
    """The comment on the statement's own lines with its continuation, else the lines right above it.

    A continuation stands alone on a line and is indented, or else it heads the next group of parameters.
    """
    first, last = node.lineno, node.end_lineno or node.lineno
    own = [comments[line][0] for line in range(first, last + 1) if line in comments]
    step, line = (1, last + 1) if own else (-1, first - 1)
    more: list[str] = []
    while comments.get(line, ("", False, False))[1:] == (True, step > 0):
        more.append(comments[line][0])
        line += step
    return " ".join([*own, *more[::step]])


class _MismatchError(Exception):
    """A value, or an annotation, that is not what is wanted; the text continues "parameter x is ..."."""


def _kind(node: ast.expr) -> Any:
    """The typing object of an annotation; only the closed list of the module's docstring is known."""
    match node:
        case ast.Name(id=name) if name in _SCALARS:
            return _SCALARS[name]
        case ast.Constant(value=None):
            return type(None)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_kind(left), _kind(right)]  # noqa: UP007 - built at run time from two objects
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[_kind(item)]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            items = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            if all(isinstance(item, ast.Constant) for item in items):
                return Literal[tuple(item.value for item in items)]
    raise _MismatchError


def describe(kind: Any) -> str:
    """What a value of `kind` is, in words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is list:
        return f"a list, each item {describe(args[0])}"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if origin in (Union, types.UnionType):
        return " or ".join(describe(arg) for arg in args)
    return _WORDS[kind]


def _coerce(kind: Any, value: Any) -> Any:
    """`value` if it is of `kind`, a whole number turned into a float where one is wanted. Raises _MismatchError."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _coerce_union(args, value)
    if origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in args):
            return value
        near = errors.nearest(value, args) if isinstance(value, str) else ""
        near = near if near.startswith(" Did") else ""  # the choices stand in the sentence already
        raise _MismatchError(f"{value!r}, but it must be {describe(kind)}.{near}")
    if origin is list and isinstance(value, list):
        return [_coerce(args[0], item) for item in value]
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if origin is None and type(value) is kind and kind is not float:
        return value
    raise _MismatchError(f"{value!r}, but it must be {describe(kind)}; change it")


def _coerce_union(kinds: Iterable[Any], value: Any) -> Any:
    wanted = [kind for kind in kinds if kind is not type(None)]
    if value is None:
        if len(wanted) < len(tuple(kinds)):
            return None
        raise _MismatchError(f"null, but it must be {' or '.join(map(describe, wanted))}; give one")
    for kind in wanted:
        try:
            return _coerce(kind, value)
        except _MismatchError as error:
            mismatch = error
    raise (
        mismatch
        if len(wanted) == 1
        else _MismatchError(f"{value!r}, but it must be {' or '.join(map(describe, wanted))}; change it")
    )


def _same(a: Any, b: Any) -> bool:
    """Equal in value and type, so that 1, 1.0 and true are three things."""
    return json.dumps(a) == json.dumps(b)


def resolve(schema: Schema, preset: Path | None, overrides: Iterable[str], *, shown: str = "") -> Settings:
    """The notebook's values, then the preset's, then ``name=value`` `overrides` (YAML). Raises InputError."""
    values = {name: parameter.default for name, parameter in schema.items()}
    sources: dict[str, str] = {}
    if preset is not None:
        for name, value in yaml12.read_mapping(preset, shown=shown or str(preset)).items():
            values[name] = schema.check(name, value, shown or str(preset))
            sources[name] = "preset"
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"-p {override}: this is not of the form name=value")
        values[name] = schema.check(name, _override(schema, name, text), f"-p {override}")
        sources[name] = "command line"
    return Settings(schema, values, sources)


def _override(schema: Schema, name: str, text: str) -> Any:
    """The value in ``-p name=text``; where text is wanted, `text` as it stands ("-p data=2011" names a folder)."""
    if name in schema and schema[name].kind is str:
        return text
    return yaml12.loads(text, shown=f"-p {name}={text}")


def find_preset(root: Path, notebook: str, preset: str) -> Path:
    """``params/NOTEBOOK/PRESET.yaml`` under `root`. Raises InputError with the nearest name there is."""
    path = root / "params" / notebook / f"{preset}.yaml"
    known = preset_names(root, notebook)
    if preset not in known:
        folder = path.parent.relative_to(root)
        raise InputError(f"--preset {preset}: there is no such preset in {folder}.{errors.nearest(preset, known)}")
    return path


def preset_names(root: Path, notebook: str) -> list[str]:
    """The presets of a notebook, by name."""
    return sorted(p.stem for p in (root / "params" / notebook).glob("*.yaml"))


def lint_schema(schema: Schema) -> list[str]:
    """What the parameters cell lacks though it runs: a comment that says a parameter's unit and consequence."""
    return [f"{schema.notebook}: parameter {p.name!r} has no comment" for p in schema.values() if not p.meaning]


def lint_preset(path: str | Path, schema: Schema) -> list[str]:
    """What is wrong with a preset, one sentence each; [] when all is well.

    Every key is a parameter of the notebook and fits it, differs from the notebook's value, carries a ``# reason``, and
    reads the same to papermill (YAML 1.1: ``1e-4`` is text there, ``1.0e-4`` is a number to both).
    """
    path = Path(path)
    try:
        mapping = yaml12.read_mapping(path, shown=path.name)
        values = {name: schema.check(name, value, path.name) for name, value in mapping.items()}
    except InputError as error:
        return [str(error)]
    text = path.read_text(encoding="utf-8")
    reasons, papermill = yaml12.reasons(text), yaml12.read_as_papermill(text)
    found = []
    for name, value in values.items():
        if not reasons.get(name):
            found.append(f"{path.name}: {name!r} has no `# reason` behind it")
        if _same(value, schema[name].default):
            found.append(f"{path.name}: {name!r} is {value!r} in the notebook already; drop the line")
        if not _same(mapping[name], papermill[name]):
            found.append(
                f"{path.name}: papermill reads {name!r} as {papermill[name]!r}; write 1.0e-4 for 1e-4, quote words"
            )
    return found

"""Assignments of Python configuration files as plain values, taken from the syntax tree; nothing in the file is ever run."""

import ast
import pprint
import warnings
from collections.abc import Mapping
from typing import Any

from searchspace.formats.plain import MAX_DEPTH, unique_keys

MAX_SOURCE = 100_000  # bytes; released configurations have at most ten thousand
LINE = 110


class Computed:
    """Stands for a value that only running the file would give: a name, a sum, a call other than dict(...)."""

    def __repr__(self) -> str:
        return "a computed value"


COMPUTED = Computed()


def parse_assignments(text: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The values of the top-level assignments to `names`, written as literals or dict(...) calls; ValueError for broken syntax."""
    if len(text.encode()) > MAX_SOURCE:
        raise ValueError(f"larger than {MAX_SOURCE:,} bytes, too large for a Python configuration")
    found = [
        (target.id, _value(statement.value, 0))
        for statement in _parse(text).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and target.id in names
    ]
    return unique_keys(found)


def assignment(name: str, value: Any) -> str:
    """`name = value` over as many lines as it needs, readable by `ast.literal_eval`."""
    return f"{name} = {pprint.pformat(value, width=LINE, compact=True, sort_dicts=False)}\n"


def _parse(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in somebody's text is no concern of ours
            return ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"not readable as Python: line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ValueError("not readable as Python: null bytes, or nested too deep") from None


def _value(node: ast.expr, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"line {node.lineno}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(inner, depth + 1) for inner in node.elts]
    if isinstance(node, ast.Dict):
        return _mapping(_items(node), depth)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        return _mapping([(keyword.arg, keyword.value) for keyword in node.keywords], depth)
    return _scalar(node)


def _items(node: ast.Dict) -> list[tuple[str | None, ast.expr]]:
    items: list[tuple[str | None, ast.expr]] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is not None and not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            raise ValueError(f"line {node.lineno}: keys must be text")
        items.append((None if key is None else str(key.value), value))
    return items


def _mapping(items: list[tuple[str | None, ast.expr]], depth: int) -> Mapping[str, Any] | Computed:
    if any(key is None for key, _ in items):
        return COMPUTED
    return unique_keys([(str(key), _value(value, depth + 1)) for key, value in items])


def _scalar(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = node.operand.value if isinstance(node.operand, ast.Constant) else None
        return -inner if isinstance(inner, int | float) and not isinstance(inner, bool) else COMPUTED
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    return COMPUTED

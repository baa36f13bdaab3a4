"""Numeric code says what goes in and comes out; ruff sees to it that it says anything at all."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import retry_engine

PACKAGE = Path(retry_engine.__path__[0])
FILES = [p for house in ("decisioning", "learning") for p in (PACKAGE / house).rglob("*.py")]
ARRAYS = {"Floats", "Matrix", "Bools", "Ints", "NDArray", "ndarray"}
# as in (n,), (moments, cycles), (1, features)
SHAPE = re.compile(r"\((?:[a-z_]+(?: \+ 1)?|1)(?:, [a-z_]+(?: \+ 1)?)*,?\)")


def _names(node: ast.AST | None) -> set[str]:
    nodes = ast.walk(node) if node is not None else ()
    return {n.id if isinstance(n, ast.Name) else n.attr for n in nodes
            if isinstance(n, (ast.Name, ast.Attribute))}  # fmt: skip


def _public(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node
            yield from _public(node.body)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def _has_arrays(node: ast.ClassDef | ast.FunctionDef) -> bool:
    told: list[ast.expr | None]
    if isinstance(node, ast.ClassDef):
        told = [n.annotation for n in node.body if isinstance(n, ast.AnnAssign)]
    else:
        told = [a.annotation for a in (*node.args.args, *node.args.kwonlyargs)]
        told.append(node.returns)
    return any(_names(annotation) & ARRAYS for annotation in told)


def _raised(node: ast.ClassDef | ast.FunctionDef) -> set[str]:
    if isinstance(node, ast.ClassDef):
        return set()
    calls = (n.exc.func for n in ast.walk(node)
             if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call))  # fmt: skip
    return {name for call in calls for name in _names(call)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrays_have_their_shapes_and_errors_their_names(path: Path) -> None:
    for node in _public(ast.parse(path.read_text()).body):
        doc = ast.get_docstring(node) or ""
        if _has_arrays(node):
            assert SHAPE.search(doc), f"{path.name}: {node.name} gives no shape as (n, features)"
        for error in _raised(node):
            assert error in doc, f"{path.name}: {node.name} does not say when it raises {error}"

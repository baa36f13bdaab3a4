"""What an import contract lets pass because it is loaded late is indeed loaded late."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_CONTRACT = "The web process loads nothing that computes"


def _edges() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (found,) = (
        contract
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["name"] == _CONTRACT
    )
    return list(found["ignore_imports"])


def _imported_at_once(module: ast.Module) -> set[str]:
    """Modules that are loaded with that one: not inside a function, nor for the types alone."""
    names: set[str] = set()
    left: list[ast.AST] = [module]
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            left += node.orelse
            continue
        if isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        left += ast.iter_child_nodes(node)
    return names


@pytest.mark.parametrize("edge", _edges())
def test_what_the_contract_lets_pass_is_imported_inside_functions_only(edge: str) -> None:
    importer, imported = (name.strip() for name in edge.split("->"))
    source = ROOT / f"{importer.replace('.', '/')}.py"
    assert imported not in _imported_at_once(ast.parse(source.read_text(encoding="utf-8")))

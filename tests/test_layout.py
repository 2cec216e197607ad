"""The import law of the design, and the rules that import-linter does not know."""

import ast
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "app").rglob("*.py"))


def test_imports_go_downwards_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(cache_dir=None) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_keeps_the_house_rules(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "says what its one job is"
    assert not _imports_in_functions(tree), "imports stand at the top"
    assert path.name != "__init__.py" or len(tree.body) == 1, "an __init__ has no logic"
    assert path.stem not in {"utils", "helpers", "common"}
    if "db" not in path.relative_to(ROOT).parts:
        assert _sqlalchemy(tree) <= {"sqlalchemy.engine", "sqlalchemy.exc"}, "statements live in db"


def _imports_in_functions(tree: ast.Module) -> list[ast.AST]:
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [n for f in functions for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)]


def _sqlalchemy(tree: ast.Module) -> set[str]:
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    named = {node.module or "" for node in imports}
    named |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    return {name for name in named if name.partition(".")[0] == "sqlalchemy"}

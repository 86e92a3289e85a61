"""Prints how large the package's files, functions and classes are. Exits with 1 if any is larger than its bound."""

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
Size = tuple[int, str]


def definitions(path: Path, kinds: type | tuple[type, ...]) -> Iterator[Size]:
    """Lines and name of each definition of some kinds, decorators not counted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, kinds):
            yield node.end_lineno - node.lineno + 1, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def main() -> int:
    """Print the four figures; 1 if one is above its bound, else 0."""
    paths = sorted((ROOT / "recbole_bd").rglob("*.py"))
    files = [(len(path.read_text(encoding="utf-8").splitlines()), str(path.relative_to(ROOT))) for path in paths]
    modules = [size for size in files if not size[1].endswith("__init__.py")]
    functions = [size for path in paths for size in definitions(path, (ast.FunctionDef, ast.AsyncFunctionDef))]
    classes = [size for path in paths for size in definitions(path, ast.ClassDef)]
    median = statistics.median(lines for lines, _ in modules)
    print(f"files: {len(modules)}, median {median:g} lines (at most 150)")
    is_too_large = median > 150
    for kind, sizes, bound in (("file", modules, 350), ("function", functions, 60), ("class", classes, 200)):
        lines, name = max(sizes)
        print(f"largest {kind}: {lines} lines (at most {bound}), {name}")
        is_too_large |= lines > bound
    return int(is_too_large)


if __name__ == "__main__":
    sys.exit(main())

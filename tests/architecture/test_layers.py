"""Imports flow one way: the contract in pyproject.toml, and what it cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cuecard"
MODULES = sorted(SOURCE.rglob("*.py"))


def test_the_contract_holds() -> None:
    # In a process of its own: import-linter sets up logging for the whole process it runs in.
    script = Path(sysconfig.get_path("scripts")) / "lint-imports"
    command = [sys.executable, script, "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 kept, 0 broken" in done.stdout


# Who builds what takes seconds to import, beside the command line: a method its torch module, a
# name its backbone, a catalogue entry its converted folder, a recipe its run.
SEAMS = {
    "backbones/quantization/weights.py",
    "catalogue/resolve.py",
    "methods/around_labels/cocoop.py",
    "methods/around_labels/coop.py",
    "methods/around_labels/maple.py",
    "methods/around_labels/promptsrc.py",
    "methods/attempt.py",
    "methods/deep_prompts.py",
    "methods/image_options.py",
    "methods/dept.py",
    "methods/mpt.py",
    "methods/p_tuning.py",
    "methods/p_tuning_v2.py",
    "methods/prefix_tuning.py",
    "methods/prompt_tuning.py",
    "methods/residual.py",
    "methods/wayward.py",
    "names.py",
    "runs/lora_recipe.py",
    "runs/recipe.py",
    "runs/recipe_method.py",
    "runs/sweeps/collect.py",
    "runs/sweeps/sweep_recipe.py",
    "runs/transfer_recipe.py",
    "runs/vtab_recipe.py",
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_lazy_imports_of_our_own(path: Path) -> None:
    """An import inside a function is where a cycle hides; only the seams may wait."""
    if path.relative_to(SOURCE).as_posix() in SEAMS:
        return
    package = path.relative_to(SOURCE).parts[0]
    lazy = [
        f"line {line}: {name}" for line, name in imports_in_functions(ast.parse(path.read_text()))
    ]
    assert package == "cli" or not lazy, f"{path.name} imports inside a function: {lazy}"


def imports_in_functions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of every cuecard import below a function."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = ["cuecard" if node.level else node.module or ""]
                else:
                    continue
                for name in names:
                    if name.split(".")[0] == "cuecard":
                        yield node.lineno, name


def test_lazy_imports_are_seen() -> None:
    tree = ast.parse(
        "import cuecard.types\n"
        "def f():\n"
        "    from cuecard.tasks import Task\n"
        "    import json\n"
        "    def g():\n"
        "        import cuecard.methods as m\n"
    )
    assert set(imports_in_functions(tree)) == {(3, "cuecard.tasks"), (6, "cuecard.methods")}

"""What may import what, how large a folder and a file may be, and what docstrings must say.

Every import counts: at the top of a file, late ones inside functions, and those for the type checker alone.
A room is one of the four packages; its parts are what lies directly in it, sub-packages and single modules.
A new part is a line of MAY_IMPORT.
"""

import ast
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from launch.cli import VERBS

ROOT = Path(__file__).parents[1]
ROOMS = {
    "models": (),
    "scaling": (),
    "experiments": ("models", "scaling"),
    "launch": ("models", "scaling", "experiments"),
}
# What a part may import of its own room and, after a bar, of other rooms. "models" in models is its __init__.
MAY_IMPORT = {
    "models": {
        "configs": "",
        "model": "configs",
        "parameters": "",
        "sharding": "",
        "partial_training": "",
        "parametrization": "parameters",
        "quantization": "configs parameters",
        "layers": "configs model parameters partial_training sharding",
        "one_row": "model",
        "families": "configs layers model parameters parametrization quantization sharding",
        "models": "configs model",
        "attention_maps": "configs families layers parameters",
        "decoding": "model one_row",
        "hf": "configs models parameters parametrization",
    },
    "scaling": {
        "notebook": "",
        "table": "notebook",
        "simulate": "",
        "emergence": "",
        "laws": "",
        "profiles": "table",
        "fitting": "laws notebook profiles table",
        "prediction": "fitting laws optimum table",
        "optimum": "fitting laws notebook profiles table",
        "hparams": "profiles table",
        "design": "fitting laws optimum table",
        "outlook": "fitting laws optimum table",
        "scaling": "fitting hparams optimum profiles table",
        "report": "emergence fitting hparams laws optimum outlook prediction profiles scaling table",
    },
    "experiments": {
        "experiments": "",
        "fields": "",
        "files": "| models",
        "objective": "",
        "objective_configs": "fields",
        "data_configs": "fields",
        "config": "data_configs fields objective_configs | models",
        "data": "config data_configs fields files objective",
        "posttraining": "config data data_configs fields files objective objective_configs | models",
        "training": "config data data_configs fields files objective objective_configs posttraining | models",
        "evaluate": "config data data_configs fields files objective_configs posttraining training"
        " | models scaling",
        "study_report": "files | scaling",
        "data_report": "data | scaling",
        "studies": "config data data_configs evaluate fields files objective_configs posttraining"
        " study_report training | models scaling",
    },
    "launch": {
        "launch": "",
        "cli": "| experiments",
        "store": "| experiments",
        "monitor": "store | experiments scaling",
        "workers": "monitor store | experiments models",
        "driver": "monitor store workers | experiments models scaling",
        "backends": "driver monitor store workers | experiments",
        "accelerators": "| experiments models",
        "arguments": "store | experiments models scaling",
        "serve": "| experiments models",
        "commands": "accelerators arguments backends cli driver monitor serve store workers"
        " | experiments models scaling",
    },
}
# Where a library may be imported: elsewhere in the rooms it may not.
HOMES = {
    "flax": "models/",
    "seqio": "experiments/data/",
    "tensorflow": "experiments/data/",
    "tensorflow_datasets": "experiments/data/",
    "tensorflow_text": "experiments/data/",
    "orbax": "experiments/training/",
    "apache_beam": "experiments/data/cleaning/",
    "aiohttp": "launch/serve/",
}
MAX_ENTRIES = 14
MAX_LINES = 400
MANY_ARGUMENTS = 4  # so many are described one by one, with shape and unit


def test_every_part_is_in_the_table():
    for room, parts in MAY_IMPORT.items():
        there = {part(module) for module in files() if part(module).split(".")[0] == room}
        assert there == {room if name == room else f"{room}.{name}" for name in parts}, room


def test_the_table_itself_has_no_circle():
    graph = {
        f"{room}.{name}": {f"{room}.{other}" for other in allowed.partition("|")[0].split()}
        for room, parts in MAY_IMPORT.items()
        for name, allowed in parts.items()
    }
    assert not list(circles(graph))
    assert not list(circles({room: set(others) for room, others in ROOMS.items()}))
    for room, parts in MAY_IMPORT.items():
        assert all(set(allowed.partition("|")[2].split()) <= set(ROOMS[room]) for allowed in parts.values())


def arrows() -> Iterator[str]:
    """Imports that the table does not allow."""
    for module, imported in graph().items():
        room, _, name = part(module).partition(".")
        inside, _, outside = MAY_IMPORT[room].get(name or room, "").partition("|")
        for other in imported:
            other_room, _, other_name = part(other).partition(".")
            allowed = inside.split() if other_room == room else outside.split()
            if (
                part(other) != part(module)
                and ((other_name or room) if other_room == room else other_room) not in allowed
            ):
                yield f"{module} imports {other}"


def circles_of_modules() -> Iterator[str]:
    return circles(graph())


def circles_of_siblings() -> Iterator[str]:
    """Circles between what lies in one folder, whatever module of each imports the other."""
    for depth in range(1, max(module.count(".") for module in files()) + 1):
        short: dict[str, set[str]] = {}
        for module, imported in graph().items():
            here = ancestor(module, depth)
            short.setdefault(here, set()).update(
                there
                for there in (ancestor(other, depth) for other in imported)
                if there != here and there.rpartition(".")[0] == here.rpartition(".")[0]
            )
        yield from circles(short)


def libraries_away_from_home() -> Iterator[str]:
    for module, path in files().items():
        for name in imports(path):
            home = HOMES.get(name.partition(".")[0], "")
            if not str(path.relative_to(ROOT)).startswith(home):
                yield f"{module} imports {name.partition('.')[0]}"


def private_parts_of_jax() -> Iterator[str]:
    for path in python_files(*ROOMS, "tests", "benchmarks"):
        if any(name.startswith("jax._src") for name in imports(path)):
            yield str(path.relative_to(ROOT))


def commands_that_import_commands() -> Iterator[str]:
    """What commands share lies beside them, in a file that is no command."""
    commands = {f"launch.commands.{group}.{verb}" for verb, group in VERBS.items()}
    for module in commands:
        yield from (f"{module} imports {other}" for other in graph()[module] & commands)


def full_folders() -> Iterator[str]:
    for room in ROOMS:
        for folder in (ROOT / room, *(path for path in (ROOT / room).rglob("*") if path.is_dir())):
            if any(folder.glob("*.py")) and len(list(entries(folder))) > MAX_ENTRIES:
                yield str(folder.relative_to(ROOT))


def long_files() -> Iterator[str]:
    for path in python_files(*ROOMS, "tests", "benchmarks"):
        if path.read_text().count("\n") > MAX_LINES:
            yield str(path.relative_to(ROOT))


def packages_without_a_docstring() -> Iterator[str]:
    for module, path in files().items():
        if (
            path.name == "__init__.py"
            and module.count(".")
            and not ast.get_docstring(ast.parse(path.read_text()))
        ):
            yield module


def names_of_packages_that_are_not_there() -> Iterator[str]:
    """What `__all__` names is a module of the package, or bound in it: the reference pages follow it."""
    for module, path in files().items():
        body = ast.parse(path.read_text()).body
        listed = [node.value for node in body if isinstance(node, ast.Assign) and "__all__" in _bound(node)]
        bound = {name for node in body for name in _bound(node)}
        for name in ast.literal_eval(listed[0]) if listed else []:
            if name not in bound and f"{module}.{name}" not in files():
                yield f"{module}.__all__ names {name}"


def _bound(node: ast.stmt) -> set[str]:
    """Names that a statement at the top of a module binds."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":  # bound when first used
        return {name for each in node.body for name in _bound(each)}
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}


def functions_that_do_not_describe_their_arguments() -> Iterator[str]:
    """Public ones of four or more; a method of a protocol may say `As …` where the protocol does."""
    for module, path in files().items():
        for name, function in public_functions(ast.parse(path.read_text())):
            taken = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            about = ast.get_docstring(function) or ""
            if len([each for each in taken if each.arg not in ("self", "cls")]) >= MANY_ARGUMENTS and not (
                "Args:" in about or about.startswith("As `")
            ):
                yield f"{module}.{name} has no Args: in its docstring"


def documents_with_unresolved_conflicts() -> Iterator[str]:
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")):
        if any(line.startswith(("<<<<<<<", ">>>>>>>")) for line in path.read_text().splitlines()):
            yield str(path.relative_to(ROOT))


RULES = (
    arrows,
    circles_of_modules,
    circles_of_siblings,
    libraries_away_from_home,
    private_parts_of_jax,
    commands_that_import_commands,
    full_folders,
    long_files,
    packages_without_a_docstring,
    names_of_packages_that_are_not_there,
    functions_that_do_not_describe_their_arguments,
    documents_with_unresolved_conflicts,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule):
    assert not sorted(set(rule()))


@functools.cache
def files() -> dict[str, Path]:
    """Every module of the rooms by its name; a package has that of its folder."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in python_files(*ROOMS)
    }


def python_files(*folders: str) -> Iterator[Path]:
    return itertools.chain.from_iterable(sorted((ROOT / folder).rglob("*.py")) for folder in folders)


def entries(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name != "__pycache__")


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """What a file imports, "package.module.name" for a name that is imported from a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@functools.cache
def graph() -> dict[str, set[str]]:
    """The modules of the rooms that each module imports."""
    found = {}
    for module, path in files().items():
        names = (name if name in files() else name.rpartition(".")[0] for name in imports(path))
        found[module] = {name for name in names if name in files()} - {module}
    return found


def public_functions(node: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions of a module, and methods of its classes as Class.method, whose names begin with no _."""
    for each in node.body:
        if isinstance(each, ast.ClassDef) and not each.name.startswith("_"):
            yield from ((f"{each.name}.{name}", function) for name, function in public_functions(each))
        elif isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            yield each.name, each


def ancestor(module: str, depth: int) -> str:
    """The module or the package that holds it `depth` levels below its room."""
    return ".".join(module.split(".")[: depth + 1])


def part(module: str) -> str:
    return ancestor(module, 1)


def circles(arrows: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The sets of nodes that reach each other."""
    reached = {}
    for start in arrows:
        seen, waiting = set(), list(arrows[start])
        while waiting:
            if (node := waiting.pop()) not in seen:
                seen.add(node)
                waiting += arrows.get(node, ())
        reached[start] = seen
    yield from sorted(
        {
            " <-> ".join(sorted(n for n in reached[node] if node in reached.get(n, ())))
            for node in arrows
            if node in reached[node]
        }
    )

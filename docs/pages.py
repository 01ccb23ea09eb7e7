"""The pages of the handbook that are made from the code and never written by hand; mkdocs calls these hooks.

A page a command, from its flags; a page a package, from its docstrings; a page a study, with its settings
and what was measured; and what stands elsewhere in the repository: results, changes, how to contribute.
"""

import ast
import os
import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

from experiments.studies import STUDIES
from launch.cli import GROUPS, command_flags, command_module

ROOT = Path(__file__).parents[1]
ROOMS = ("models", "scaling", "experiments", "launch")
ON_OTHER_PAGES = ("experiments/studies", "launch/commands")  # the gallery has studies, and commands their own
FROM_THE_REPOSITORY = {  # file: page
    "benchmarks/RESULTS.md": "results.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
PICTURES = {f"benchmarks/{path.name}": f"pictures/{path.name}" for path in ROOT.glob("benchmarks/*.png")}
CARD = re.compile(r"^\| `(\w+)` \| (.*) \|$", re.MULTILINE)  # a study in docs/gallery/index.md
TABLE = re.compile(r"^\| study \| found \|\n\|---\|---\|\n((?:\|.*\n)+)", re.MULTILINE)
LINK = re.compile(r"(\]\()([^)\s#:]+)([^)]*\))")


class JointNames(griffe.Extension):
    """Lets docstrings describe several names in one line, `lo, hi: …`; a plain space would begin a type."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            joint = re.compile(r"^( +\w+(?:, \w+)+): ", re.MULTILINE)
            obj.docstring.value = joint.sub(
                lambda m: m[0].replace(", ", ",\N{NO-BREAK SPACE}"), obj.docstring.value
            )


def on_config(config):
    """Adds the pages that are made here to the navigation, and how-to pages that it does not place."""
    how_to = next(section["How to"] for section in config.nav if "How to" in section)
    placed = {page for entry in how_to for page in entry.values()}
    there = [f"howto/{path.name}" for path in sorted((ROOT / "docs/howto").glob("*.md"))]
    how_to += [page for page in there if page not in placed]
    packages = {room: [page for page in package_pages() if page.split(".")[0] == room] for room in ROOMS}
    config.nav += [
        {"Gallery": ["gallery/index.md", *[{name: f"gallery/{name}.md"} for name in STUDIES]]},
        {
            "Commands": [
                {group.capitalize(): [{verb: f"commands/{verb}.md"} for verb in verbs]}
                for group, verbs in GROUPS.items()
            ]
        },
        {
            "Python": [
                {room: [{p.removeprefix(f"{room}."): f"python/{p}.md"} for p in pages]}
                for room, pages in packages.items()
            ]
        },
        {"Results": "results.md"},
        {"More": [{"Contributing": "contributing.md"}, {"Changes": "changelog.md"}]},
    ]
    return config


def on_files(files, config):
    """Adds the pages that are made here."""
    verbs = [verb for group in GROUPS.values() for verb in group]
    pages = {f"commands/{verb}.md": command_page(verb) for verb in verbs}
    pages |= {f"python/{name}.md": text for name, text in package_pages().items()}
    pages |= {f"gallery/{name}.md": study_page(name) for name in STUDIES}
    pages |= {
        page: as_page((ROOT / path).read_text(), path, page) for path, page in FROM_THE_REPOSITORY.items()
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    for path, page in PICTURES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links of written pages to files of the repository lead to pages here, and studies become cards."""
    if page.file.src_uri == "gallery/index.md":
        return TABLE.sub(
            lambda table: f'<div class="grid cards" markdown>\n\n{cards(table[1])}</div>\n', markdown
        )
    if (ROOT / "docs" / page.file.src_uri).exists():
        return as_page(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)
    return markdown


def command_page(verb: str) -> str:
    """The help of a command."""
    command = command_module(verb)
    about, *examples = re.split(r"^Example: ", (command.__doc__ or "").strip(), flags=re.MULTILINE)
    values = command_flags(verb)
    known = [values[name] for name in sorted(values) if name == values[name].name]
    rows = [f"| `--{flag.name}` | {cell(flag.help)} | {default(flag)} |" for flag in known]
    return "\n".join(
        [
            *(f"# isoflop {verb}", "", "```sh", command.USAGE, "```", "", plain(about), ""),
            *(
                ["## Examples", "", "```sh", *[text.strip() for text in examples], "```", ""]
                if examples
                else []
            ),
            *(["## Flags", "", "| flag | does | default |", "|---|---|---|", *rows] if rows else []),
        ]
    )


def default(flag) -> str:
    silent = flag.default is None or flag.default is False or flag.default == []
    return "" if silent else f"`{flag.default}`"


def cell(text: str) -> str:
    """Text for a cell of a table; absl's lines about repeated flags are said by the command's own words."""
    return plain(text.partition(";\n")[0]).replace("|", "\\|").replace("\n", " ")


def plain(text: str) -> str:
    """Text whose signs are no Markdown, but for code between backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    escaped = [re.sub(r"([*_\[\]{}])", r"\\\1", part).replace("<", "&lt;") for part in parts]
    return "".join(part if part.startswith("`") else better for part, better in zip(parts, escaped))


def package_pages() -> dict[str, str]:
    """A page a package: what its __all__ names, or all its modules."""
    pages = {}
    for room in ROOMS:
        for init in sorted((ROOT / room).rglob("__init__.py")):
            folder = init.parent.relative_to(ROOT).as_posix()
            if not elsewhere(folder):
                pages[folder.replace("/", ".")] = package_page(ROOT / folder)
    return pages


def elsewhere(folder: str) -> bool:
    """Whether other pages have what is in a package."""
    return folder.startswith(ON_OTHER_PAGES)


def package_page(folder: Path) -> str:
    tree = ast.parse((folder / "__init__.py").read_text())
    path = folder.relative_to(ROOT).as_posix()
    package, listed = path.replace("/", "."), names_in_all(tree)
    modules = sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")
    inner = sorted(file.parent.name for file in folder.glob("*/__init__.py"))
    names = [name for name in (modules if listed is None else listed) if name not in inner]
    links = [
        f"- [{package}.{name}]({package}.{name}.md)" for name in inner if not elsewhere(f"{path}/{name}")
    ]
    parts = [f"::: {package}.{name}" for name in names]
    return "\n\n".join([f"# {package}", plain(ast.get_docstring(tree) or ""), "\n".join(links), *parts])


def cards(rows: str) -> str:
    """Rows of the gallery's table as a list with pictures."""
    return CARD.sub(
        lambda row: f"-   {picture(row[1])}\n\n    [**{row[1]}**]({row[1]}.md)\n\n    {row[2]}\n", rows
    )


def picture(study: str) -> str:
    """The thumbnail of a study, which leads to its page."""
    found = [path.relative_to(ROOT / "docs/gallery") for path in ROOT.glob(f"docs/gallery/*/{study}.png")]
    return f"[![{study}]({found[0]})]({study}.md)" if found else "*No picture of a run was kept.*"


def study_page(name: str) -> str:
    """What a study does, its settings, and what benchmarks/RESULTS.md has measured."""
    file = (ROOT / "experiments/studies" / STUDIES[name].replace(".", "/")).with_suffix(".py")
    about = ast.get_docstring(ast.parse(file.read_text())) or ""
    found = measured(name) or "Nothing yet: no whole run of it is in the results."
    return "\n\n".join(
        [
            *(f"# {name}", plain(about), f"```sh\nisoflop study {name} --out out/{name}\n```", picture(name)),
            *("## What was measured", as_page(found, "benchmarks/RESULTS.md", f"gallery/{name}.md")),
            *("## Settings", "`--set FIELD=VALUE` changes them.", f"```python\n{settings(file)}\n```"),
        ]
    )


def measured(study: str) -> str:
    """The section of the results about a study, without its heading; "" if there is none."""
    title = "The default study" if study == "quickstart" else rf".* \(`isoflop study {study}`\)"
    results = (ROOT / "benchmarks/RESULTS.md").read_text()
    found = re.search(rf"^#+ {title}\n(.*?)(?=^##|\Z)", results, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def settings(file: Path) -> str:
    """The class of a study's settings, as written, up to its checks; in its file or one beside it."""
    for path in (file, *sorted(file.parent.glob("*.py"))):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and node.name == "Settings":
                kept = [each for each in node.body if not isinstance(each, ast.FunctionDef)]
                return "\n".join(text.splitlines()[node.lineno - 1 : kept[-1].end_lineno])
    raise ValueError(f"{file}: no class Settings in it or beside it")


def names_in_all(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return None


def as_page(text: str, path: str, page: str) -> str:
    """A file of the repository as a page: links lead to pages, and blocks that are files bear their names.

    Args:
      text: Markdown.
      path: of its file, from the root of the repository.
      page: where it is shown.
    """

    def changed(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        shown = FROM_THE_REPOSITORY.get(target) or PICTURES.get(target) or target.removeprefix("docs/")
        return match[1] + os.path.relpath(shown, posixpath.dirname(page) or ".") + match[3]

    return re.sub(r"^```(\w+) ([\w./-]+)$", r'```\1 title="\2"', LINK.sub(changed, text), flags=re.MULTILINE)

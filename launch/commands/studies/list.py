"""List what there is: studies, model families, published models, laws, or tasks of text and evaluation.

Example: isoflop list studies
"""

import ast
import json
from pathlib import Path

from absl import flags

from experiments.fields import did_you_mean

FLAGS = flags.FlagValues()
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
USAGE = "isoflop list studies|families|models|laws|tasks [flags]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints a name and a line about it for each."""
    if len(args) != 1:
        raise ValueError(f"expected one word, got {args}; usage: {USAGE}")
    if args[0] not in KINDS:
        raise ValueError(f"nothing of kind {args[0]!r}; {did_you_mean(args[0], KINDS)}")
    found = KINDS[args[0]]()
    width = max(map(len, found))
    print(
        json.dumps(found, indent=1)
        if flags.json
        else "\n".join(f"{k:<{width}}  {v}" for k, v in found.items())
    )
    return 0


def _studies() -> dict[str, str]:
    from experiments import studies

    def docstring(module: str) -> str:
        """Read from the file: loading all that studies train, fit and draw with takes seconds."""
        file = Path(studies.__file__).parent / f"{module.replace('.', '/')}.py"
        return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""

    return {name: _first_line(docstring(module)) for name, module in studies.STUDIES.items()}


def _families() -> dict[str, str]:
    from models import FAMILIES

    return {name: _first_line(module.__doc__ or "") for name, module in FAMILIES.items()}


def _models() -> dict[str, str]:
    from models import count
    from models.configs.published import PUBLISHED

    counts = {name: count(config) for name, config in PUBLISHED.items()}
    return {name: f"{c.n_total:,} parameters, {c.n_active:,} active" for name, c in counts.items()}


def _laws() -> dict[str, str]:
    from scaling.laws import LAWS

    def reads(law) -> str:
        return ", ".join(law.columns if len(law.columns) < 4 else (*law.columns[:2], "…"))

    return {name: f"{law.target} by {reads(law)}: {law.use}" for name, law in LAWS.items()}


def _tasks() -> dict[str, str]:
    from experiments.data.tasks import TASKS
    from experiments.evaluate.tasks.builtin_tasks import BUILTIN_TASKS

    text = {name: f"text: {task.summary}" for name, task in TASKS.items()}
    return text | {name: f"to evaluate: {task.summary}" for name, task in BUILTIN_TASKS.items()}


def _first_line(docstring: str) -> str:
    return docstring.strip().split("\n")[0]


# Each imports only what it lists.
KINDS = {
    "studies": _studies,
    "families": _families,
    "models": _models,
    "laws": _laws,
    "tasks": _tasks,
}

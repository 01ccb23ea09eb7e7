"""A task is a file of items: prompts, targets and, for multiple choice, choices. No code.

JSON lines, compressed or not; a first line without "prompt" is a header with settings of the whole task:

    {"metric": "multiple_choice", "delimiter": " ", "chance": 0.5}
    {"prompt": "Two and two make", "choices": ["four", "five"], "target": "four"}

Metrics, with the conventions of EleutherAI's lm-evaluation-harness:

- multiple_choice: the choice that the model finds likeliest after prompt + delimiter.
- cloze: whether the target is what greedy decoding would say, token by token, and its log-probability.
- exact_match: generates greedily up to `stop` and compares with the target, white space at the ends aside.
"""

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.data.sources import textfiles

METRICS = ("multiple_choice", "cloze", "exact_match")
HEADER = {"metric": str, "delimiter": str, "stop": str, "max_tokens": int, "chance": float, "ceiling": float}
EXAMPLE_DELIMITER = "\n\n"


@dataclass(frozen=True)
class Item:
    """One question. `document` is what it shares with other items: errors are clustered by it ("" is alone).

    `line` is its place in the file, from 1.
    """

    prompt: str
    target: str
    choices: tuple[str, ...] = ()
    document: str = ""
    line: int = 0


@dataclass(frozen=True)
class InvalidItem:
    """An item that cannot be asked, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Task:
    """Items to ask and a pool that examples are drawn from.

    `chance` is the accuracy of guessing, `ceiling` the best there can be, None where unknown. `content` is a
    hash of all that decides what is asked.
    """

    name: str
    metric: str
    items: tuple[Item, ...]
    pool: tuple[Item, ...]
    content: str
    delimiter: str = " "
    stop: str = "\n"
    max_tokens: int = 32
    chance: float | None = None
    ceiling: float | None = None
    invalid: tuple[InvalidItem, ...] = ()


def build_prompt(task: Task, i: int, shots: int = 0, seed: int = 0) -> str:
    """Item i's prompt after `shots` solved examples, drawn without replacement by (seed, i) from the pool.

    Items with the same prompt or from the same document are never among them.

    Args:
      task: with its items and its pool of examples.
      i: the item's number.
      shots: solved examples before the prompt.
      seed: of their choice.
    """
    item = task.items[i]
    if not shots:
        return item.prompt
    order = random.Random(f"{seed}/examples/{i}").sample(task.pool, len(task.pool))
    fit = [
        other
        for other in order
        if other.prompt != item.prompt and not (item.document and other.document == item.document)
    ]
    if len(fit) < shots:
        raise ValueError(
            f"{task.name}: {shots} examples asked for, but only {len(fit)} other items fit item {i}; lower "
            "--shots"
        )
    solved = [f"{one.prompt}{task.delimiter}{one.target}{EXAMPLE_DELIMITER}" for one in fit[:shots]]
    return "".join(solved) + item.prompt


def read_task(path: str) -> Task:
    """The task in a JSONL file; lines that are no item are listed as invalid.

    Raises:
      ValueError: no such file, a wrong header, or not one item.
    """
    items, invalid, header, digest = [], [], None, hashlib.sha256()
    for line, content in textfiles.lines(_file(path)):
        digest.update(content)
        if not content.strip():
            continue
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            header = {} if header is None else header
            invalid.append(InvalidItem(line, f"not JSON ({error})"))
            continue
        try:
            if header is None:
                header = values if isinstance(values, dict) and "prompt" not in values else {}
                if header:
                    _check_header(header, path, line)
                    continue
            items.append(_item(values, line, header.get("metric")))
        except _InvalidLine as error:
            invalid.append(InvalidItem(line, str(error)))
    if not items:
        first = f"; line {invalid[0].line}: {invalid[0].reason}" if invalid else ""
        raise ValueError(f"{path} has no item that can be asked{first}")
    settings: dict[str, Any] = dict(header or {})
    metric = settings.pop("metric", None) or ("multiple_choice" if items[0].choices else "exact_match")
    if metric == "multiple_choice" and "chance" not in settings:
        settings["chance"] = sum(1 / len(item.choices) for item in items) / len(items)
    settings.setdefault("ceiling", 1.0)
    name, asked = Path(path).name.split(".")[0], tuple(items)
    return Task(name, metric, asked, asked, digest.hexdigest(), invalid=tuple(invalid), **settings)


class _InvalidLine(ValueError):
    """A line that cannot be asked."""


def _file(path: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"--tasks {path}: no such file, and no task of that name")
    if ".jsonl" not in file.name.lower():
        raise ValueError(f"--tasks {path}: a task is a file of JSON lines, .jsonl, also .gz, .xz or .zst")
    return file


def _check_header(header: dict[str, Any], path: str, line: int) -> None:
    """Refuses an unknown setting or one of the wrong type."""
    for name, value in header.items():
        if name not in HEADER:
            raise ValueError(
                f"{path}:{line}: the header has {name!r}; it may have {', '.join(HEADER)}, and an item has "
                "'prompt'"
            )
        kinds = (float, int) if HEADER[name] is float else (HEADER[name],)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{path}:{line}: {name}={value!r}; it is of type {HEADER[name].__name__}")
    if header.get("metric", METRICS[0]) not in METRICS:
        raise ValueError(f"{path}:{line}: metric={header['metric']!r}; there are {', '.join(METRICS)}")
    if header.get("max_tokens", 1) < 1:
        raise ValueError(f"{path}:{line}: max_tokens={header['max_tokens']}; it must be at least 1")


def _item(values: Any, line: int, metric: str | None) -> Item:
    """The item of a line.

    Raises:
      _InvalidLine: what is missing or wrong.
    """
    if not isinstance(values, dict):
        raise _InvalidLine(f"a JSON {type(values).__name__}; every line is an object")
    prompt, target = values.get("prompt"), values.get("target")
    choices = values.get("choices") or []
    if not isinstance(prompt, str) or not prompt.strip():
        raise _InvalidLine(
            "the prompt is empty" if prompt == "" or isinstance(prompt, str) else "no 'prompt'"
        )
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise _InvalidLine("'choices' is not a list of texts")
    if metric == "multiple_choice" and len(set(choices)) < 2:
        raise _InvalidLine("multiple choice needs two different 'choices' at least")
    if len(set(choices)) < len(choices):
        raise _InvalidLine("two choices are the same")
    if choices and isinstance(target, int) and not isinstance(target, bool):
        if not 0 <= target < len(choices):
            raise _InvalidLine(f"target {target} is not the index of one of {len(choices)} choices, from 0")
        target = choices[target]
    if not isinstance(target, str) or not target.strip():
        raise _InvalidLine("no 'target'")
    if choices and target not in choices:
        raise _InvalidLine(f"the target {target!r} is none of the choices")
    return Item(prompt, target, tuple(choices), str(values.get("document", "")), line)

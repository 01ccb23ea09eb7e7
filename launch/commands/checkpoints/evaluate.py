"""What a checkpoint is worth: loss and bits per byte on a text, and accuracy on tasks, with intervals.

CKPT is a run's folder, a Hugging Face folder, or a study's, which stands for its verification run; with
--all, for all its finished runs. Several are compared with the first, item by item.

A text is a split of the run's data or a file: plain text, JSON lines with "text" or Parquet, compressed or
not. --by gives its loss by a field of the JSON lines, by document "length" or by "position" in the context.

A task is a built-in one (isoflop list tasks) or a JSONL file of yours, a line an item:
{"prompt": "Two and two make", "choices": ["four", "five"], "target": "four"}; without choices, the target is
to be generated. See docs/howto/evaluation.md. What was asked once is not computed again.

lm_eval:NAME is a task of EleutherAI's harness (pip install 'isoflop[lm-eval]'), lm_eval:FOLDER/NAME one of a
folder of your own task files for it; --chat asks those in the checkpoint's chat template.

Example: isoflop evaluate out/quickstart --all --tasks word_end,next_word,mine.jsonl --out scores.csv
"""

import functools
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from launch.workers.worker import prepare_process

HARNESS = "lm_eval:"  # in front of a task of EleutherAI's
FLAGS = flags.FlagValues()
USAGE = "isoflop evaluate CKPT… [--tasks NAME|FILE.jsonl,…] [--split validation|test | --file FILE] [flags]"
flags.DEFINE_list("tasks", [], "built-in tasks and JSONL files to ask", flag_values=FLAGS)
flags.DEFINE_bool("all", False, "all finished runs of a study", flag_values=FLAGS)
flags.DEFINE_enum(
    "split",
    None,
    ["train", "validation", "test"],
    "default validation, if no task is given",
    flag_values=FLAGS,
)
flags.DEFINE_string("file", None, "text to score instead of a split", flag_values=FLAGS)
flags.DEFINE_list("by", [], "groups of the text: JSON fields, length, position", flag_values=FLAGS)
flags.DEFINE_integer("shots", 0, "solved examples before each item", 0, flag_values=FLAGS)
flags.DEFINE_integer(
    "limit", None, "first items of each task (built-in: 200), first documents of a text", 1, flag_values=FLAGS
)
flags.DEFINE_integer("seed", 0, "of built-in items and of the examples", 0, flag_values=FLAGS)
flags.DEFINE_bool(
    "contamination", False, "how many items of the tasks the runs have read in training", flag_values=FLAGS
)
flags.DEFINE_bool("chat", False, "ask tasks of lm_eval in the chat template", flag_values=FLAGS)
flags.DEFINE_string("reliability", None, "draw the tasks' reliability into this PNG", flag_values=FLAGS)
flags.DEFINE_string("out", None, "write the numbers to this .json or .csv file", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print the numbers as JSON", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Scores texts and tasks; prints, and with --out writes, what was found."""
    _check(args, flags)
    prepare_process()  # before anything imports jax
    from experiments.evaluate import checkpoint_comparison, formatting
    from experiments.files import write_atomic

    ask_harness = _harness([name for name in flags.tasks if name.startswith(HARNESS)], flags)
    checkpoints = _checkpoints(args, flags.all)
    own = [name for name in flags.tasks if not name.startswith(HARNESS)]
    tasks = [checkpoint_comparison.find_task(name, flags.limit, flags.seed) for name in own]
    if len({task.name for task in tasks}) < len(tasks):
        raise ValueError(f"--tasks {','.join(flags.tasks)}: two tasks have the same name; rename a file")
    text = flags.file or flags.split or (None if flags.tasks else "validation")
    showing = _Showing([*([text] if text else []), *(task.name for task in tasks)], len(checkpoints))
    evaluated, texts, of_harness = [], [], {}
    for checkpoint in checkpoints:
        loader = checkpoint_comparison.load_once(checkpoint.folder)
        showing.name = checkpoint.name
        if text:
            from experiments.evaluate.language_modelling.text_score import score_text

            shown = functools.partial(showing, text)
            how = {"by": flags.by, "limit": flags.limit, "progress": shown}
            texts.append(score_text(checkpoint, loader, text, bool(flags.file), **how))
        asked = {"shots": flags.shots, "seed": flags.seed, "limit": flags.limit, "loader": loader}
        evaluated.append(checkpoint_comparison.evaluate_tasks(checkpoint, tasks, **asked, progress=showing))
        if ask_harness:
            of_harness[checkpoint.name] = ask_harness(loader())
        showing.done += 1
    showing.clear()
    for line in formatting.invalid_items(evaluated, texts):
        print(line, file=sys.stderr)
    found = formatting.as_json(evaluated, texts)
    read = {
        checkpoint.name: _contamination(checkpoint, tasks)
        for checkpoint in checkpoints
        if flags.contamination
    }
    found |= {"contamination": read} if read else {}
    found |= {"lm_eval": formatting.harness_json(of_harness)} if of_harness else {}
    if flags.out:
        table = (
            checkpoint_comparison.as_csv(
                formatting.rows(evaluated, texts) + formatting.harness_rows(of_harness)
            )
            if flags.out.endswith(".csv")
            else None
        )
        write_atomic(flags.out, table or json.dumps(found, indent=1) + "\n")
    if flags.reliability:
        _draw(evaluated[0], flags.reliability)
    shown = [formatting.as_text(evaluated, texts)] if texts or tasks else []
    shown += [formatting.harness_text(of_harness)] if of_harness else []
    print(json.dumps(found, indent=1) if flags.json else "\n\n".join(shown))
    for name, by_task in read.items():
        for task, counts in by_task.items():
            line = "{n_contaminated} of {n_told} items were read in training, {n_items} in all"
            if not flags.json:
                print(f"{name}, {task}: {line.format(**counts)}")
    return 0


def _harness(names: list[str], flags) -> Callable[[Any], dict] | None:
    """A function that asks a loaded checkpoint the harness's tasks; None where none are asked.

    Raises:
      ValueError: --chat without such tasks, or the harness is not installed.
    """
    if not names:
        if flags.chat:
            raise ValueError("--chat is for tasks of the harness: give --tasks lm_eval:NAME")
        return None
    if importlib.util.find_spec("lm_eval") is None:
        from experiments.files.extras import install_command

        raise ValueError(f"--tasks {names[0]}: the harness is not installed: {install_command('lm-eval')}")
    from experiments.evaluate import harness

    found = [name.removeprefix(HARNESS) for name in names]
    harness.check(found)
    how = {"num_fewshot": flags.shots or None, "limit": flags.limit}
    return lambda loaded: harness.run(loaded, found, flags.seed, flags.chat, **how)


def _check(args: list[str], flags) -> None:
    """Refuses flags that do not go together before anything is computed."""
    if not args:
        raise ValueError(f"expected one run or study folder, or several, got none; usage: {USAGE}")
    if flags.split and flags.file:
        raise ValueError("both --split and --file are given; evaluate on one of them at a time")
    if flags.all and len(args) != 1:
        raise ValueError(f"--all takes one study folder, got {args}")
    if flags.contamination and not flags.tasks:
        raise ValueError("--contamination asks what of tasks was read: give --tasks")
    if flags.by and flags.tasks and not (flags.file or flags.split):
        raise ValueError("--by groups a text: give --split or --file")
    for name in ("out", "reliability"):
        path = getattr(flags, name)
        if path and not Path(path).absolute().parent.is_dir():
            raise ValueError(f"--{name} {path}: there is no folder {Path(path).parent}; make it first")
    if flags.out and not flags.out.endswith((".json", ".csv")):
        raise ValueError(f"--out {flags.out}: it is written as .json or as .csv")
    if flags.reliability and not (flags.tasks and flags.reliability.endswith(".png")):
        raise ValueError(f"--reliability {flags.reliability}: it needs --tasks, and is a .png file")


def _contamination(checkpoint, tasks: list) -> dict:
    """What of the tasks a run has read.

    Raises:
      ValueError: a checkpoint whose training is not known here.
    """
    from experiments.config import RunConfig
    from experiments.evaluate.checkpoint_paths import is_hugging_face
    from experiments.evaluate.tasks.contamination import contamination
    from experiments.fields import from_json
    from experiments.files import read_json

    foreign = is_hugging_face(checkpoint.folder)
    config = None if foreign else from_json(RunConfig, read_json(checkpoint.folder / "config.json"))
    if config is None or config.data.task == "imported":
        raise ValueError(
            f"--contamination: {checkpoint.folder} is of Hugging Face; what it has read is not known"
        )
    return contamination(config, tasks)


def _checkpoints(args: list[str], everything: bool) -> list:
    """What the paths name, in their order; runs of --all begin with the lowest loss."""
    from experiments.evaluate.checkpoint_paths import describe, find_all, find_run, tell_apart

    if everything:
        return find_all(Path(args[0]))
    folders = [find_run(Path(path)) for path in args]
    for path, folder in zip(args, folders):
        if folder != Path(path):
            print(f"evaluating the study's verification run, {folder}", file=sys.stderr)
    return tell_apart([describe(folder) for folder in folders])


def _draw(evaluated, path: str) -> None:
    """The reliability of the first checkpoint on its multiple-choice tasks."""
    from experiments.evaluate.tasks import calibration
    from experiments.files import write_atomic

    made = {
        name: calibration.calibrate(responses)
        for name, responses in evaluated.responses.items()
        if responses.task.metric == "multiple_choice"
    }
    if not made:
        raise ValueError("--reliability: none of the tasks is multiple choice")
    write_atomic(path, calibration.reliability_diagram(made))


class _Showing:
    """How far all is, and how long it may take, on standard error."""

    def __init__(self, parts: list[str], n_checkpoints: int):
        from launch.monitor.display import Display

        self.display, self.parts, self.n, self.done = Display(sys.stderr), parts, n_checkpoints, 0
        self.name, self.began = "", time.monotonic()

    def __call__(self, part: str, done: int, total: int) -> None:
        from launch.monitor.text import duration

        share = (self.done + (self.parts.index(part) + done / total) / len(self.parts)) / self.n
        left = (time.monotonic() - self.began) * (1 - share) / share
        where = f"{self.done + 1} of {self.n} · {self.name} · {part} · {done:,} of {total:,}"
        self.display.show([f"{where} · about {duration(left)} to go"])

    def clear(self) -> None:
        self.display.clear()

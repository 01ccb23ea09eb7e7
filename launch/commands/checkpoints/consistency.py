"""Whether a checkpoint answers a question the same each time, and in whatever words it is asked.

QUESTIONS is a file of JSON lines; all but the prompt may be left out:

  {"prompt": "Where does Ada live?", "paraphrases": ["Where is the home of Ada?"], "answer": "Oslo"}
  {"prompt": "What did Ada study?", "choices": ["Law", "Music", "Logic"], "answer": "Logic"}

At each temperature each wording is asked --k times, and the prompt also with one character changed. The table
has means over questions with their intervals: how likely two answers are the same (agreement), their entropy,
the share that is not the greedy answer (flips), how likely answers to a paraphrase or to a slip of the keys
equal one to the prompt, and accuracy. Answers are compared as exact strings, without white space and a full
stop at their ends. Choices are listed in every rotation of their order.

Answers are kept: asked again, a question costs nothing and gets the same ones. The last line says what batch
and padding change at temperature 0; --matrix shows that for meshes, precisions, compilers and processes, too.

Example: isoflop consistency out/quickstart questions.jsonl --k 10 --temperatures 0,0.5,1 --out R.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from absl import flags

from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop consistency CKPT QUESTIONS.jsonl [--k 10] [--temperatures 0,0.5,1] [--out R.json]"
flags.DEFINE_integer("k", 10, "answers to each wording at each temperature", 2, 10_000, flag_values=FLAGS)
flags.DEFINE_list("temperatures", ["0", "0.5", "1"], "to sample at; 0 is greedy", flag_values=FLAGS)
flags.DEFINE_integer(
    "slips", 2, "prompts with one character changed, of each question", 0, 1_000, flag_values=FLAGS
)
flags.DEFINE_integer("seed", 0, "of the answers", flag_values=FLAGS)
flags.DEFINE_integer("max_tokens", 32, "longest answer, in tokens", 1, flag_values=FLAGS)
flags.DEFINE_multi_string("stop", ["\n"], "an answer ends before this text", flag_values=FLAGS)
flags.DEFINE_float("level", 0.9, "of the intervals", 0.01, 0.99, flag_values=FLAGS)
flags.DEFINE_bool("matrix", False, "run the whole determinism matrix, partly in processes", flag_values=FLAGS)
flags.DEFINE_string("out", None, "write all numbers to this .json file", flag_values=FLAGS)
MOST_FLIPPED, MOST_RUN = 5, 8  # wordings shown, prompts run for the line on determinism


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Asks, prints the table, and with --out writes it."""
    if len(args) != 2:
        raise ValueError(f"expected a checkpoint and a file of questions, got {args}; usage: {USAGE}")
    if flags.out and not (flags.out.endswith(".json") and Path(flags.out).absolute().parent.is_dir()):
        raise ValueError(f"--out {flags.out}: it is a .json file in a folder that exists")
    temperatures = _temperatures(flags.temperatures)
    prepare_process()  # before anything imports jax
    from experiments.evaluate.checkpoint_comparison import load_once
    from experiments.evaluate.checkpoint_paths import find_run
    from experiments.evaluate.trust import determinism, questions
    from experiments.evaluate.trust.answers import Asking
    from experiments.files import fingerprint, write_json

    asked = questions.read_questions(Path(args[1]))
    folder = find_run(Path(args[0]))
    loader = load_once(folder)
    ways = [
        Asking(t, seed=flags.seed, max_tokens=flags.max_tokens, stop=tuple(flags.stop)) for t in temperatures
    ]
    rows = questions.examine(fingerprint(folder), loader, asked, ways, flags.k, flags.slips)
    summary = questions.summary(rows, flags.level)
    orders = questions.in_orders(loader(), asked)
    cells = determinism.CELLS if flags.matrix else determinism.QUICK
    table = determinism.matrix(folder, [q.prompt for q in asked][:MOST_RUN], flags.max_tokens, cells)
    print(_as_text(summary, flags.level, len(asked), flags.k))
    print("\n".join(_flipped(rows)))
    if orders:
        print(_orders(orders))
    print(table.to_string(index=False) if flags.matrix else determinism.in_words(table))
    if flags.out:
        found: dict[str, Any] = {"checkpoint": str(folder), "level": flags.level, "k": flags.k}
        found["temperatures"] = {
            str(t): {name: vars(one) for name, one in each.items()} for t, each in summary.items()
        }
        found |= {"questions": rows.to_dict("records"), "orders": orders}
        found["determinism"] = table.to_dict("records")
        write_json(Path(flags.out), json.loads(json.dumps(found), parse_constant=lambda _: None))
        print(f"all numbers are in {flags.out}", file=sys.stderr)
    return 0


def _temperatures(texts: list[str]) -> list[float]:
    try:
        found = [float(text) for text in texts]
    except ValueError:
        found = []
    if not found or not all(0 <= t < 100 for t in found) or len(set(found)) < len(found):
        raise ValueError(f"--temperatures {','.join(texts)}: give different numbers from 0 on, as 0,0.5,1")
    return found


def _as_text(summary: dict[float, dict[str, Any]], level: float, n: int, k: int) -> str:
    """The table: a row a temperature, a column a measure.

    Args:
      summary: of `questions.summary`.
      level: of its intervals; n, k: questions, and answers to each.
    """
    names = [name for name in next(iter(summary.values()))]
    lines = [f"{n} questions, {k} answers to each wording; {level:.0%} intervals over questions"]
    lines.append("temperature" + "".join(f"{name:>20}" for name in names))
    for temperature, each in summary.items():
        cells = (f"{each[name].value:.2f} [{each[name].lo:.2f}, {each[name].hi:.2f}]" for name in names)
        lines.append(f"{temperature:<11g}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def _flipped(rows) -> list[str]:
    """Which wordings change the commonest answer, at the lowest temperature."""
    from experiments.evaluate.terminal import printable

    lowest = rows[rows["temperature"] == rows["temperature"].min()]
    found = [
        f"  {printable(repr(row['prompt']))} {printable(repr(row['modal']))}\n"
        f"  {printable(repr(wording))} {printable(repr(answer))}"
        for row in lowest.to_dict("records")
        for wording, answer in row["flipped"].items()
    ]
    n = sum(bool(each) for each in lowest["flipped"])
    lines = [f"{n} of {len(lowest)} questions get another answer in another wording ({len(found)} wordings)"]
    more = [f"  … and {len(found) - MOST_FLIPPED} more (--out)"] if len(found) > MOST_FLIPPED else []
    return [*lines, *found[:MOST_FLIPPED], *more]


def _orders(orders: list[dict[str, float]]) -> str:
    n = len(orders)
    means = {name: sum(each[name] for each in orders) / n for name in orders[0]}
    return (
        f"orders of choices, {n} questions: two orders get the same choice with {means['agreement']:.2f}; "
        f"the first one listed is chosen with {means['first']:.2f}, bias of position {means['bias']:.2f}"
    )

"""The command line: `isoflop VERB …`. One file a verb in launch/commands, imported when
it is asked for."""

import copy
import importlib
import importlib.metadata
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from absl import flags

from experiments.fields import did_you_mean, number_of
from experiments.files import user_code

GROUPS = {  # a folder of launch/commands each
    "studies": {
        "study": "plan, train, fit and report in one; run it again to continue",
        "plan": "show the runs of a study and what they cost, and write them to its folder; nothing runs",
        "submit": "hand a planned study to this machine, Slurm or Kubernetes",
        "status": "what of a study is done, running, left or failed, and why",
        "logs": "print the log of a run",
        "cancel": "cancel runs, or a study and its jobs",
        "retry": "give failed and cancelled runs their attempts back",
        "gc": "drop checkpoints that nothing needs",
        "tensorboard": "training curves of a study for TensorBoard or Weights & Biases",
        "train": "train one run",
        "list": "list studies, model families, laws or data tasks",
    },
    "configurations": {
        "init": "write a commented grid, or study, to start from; the schema of grids for editors",
        "config": "show a run's configuration with all its fields, or what differs between two",
    },
    "runs": {
        "runs": "the runs of a study, or rows of any table: those of which a condition holds, in any order",
        "diff": "what differs between two runs: settings, and what came out",
        "plot": "a figure of any columns of a study or table",
    },
    "data": {
        "data": "what is in a corpus: languages, domains, lengths, copies, tokens, quality",
        "prepare": "read, clean, split and tokenize a corpus, and say what is kept",
    },
    "laws": {
        "fit": "fit a scaling law to a table of runs",
        "predict": "loss, or the best model for a budget, from a fitted law",
        "curves": "where runs end, half done or of schedules never trained, by laws of whole loss curves",
        "mixture": "the best mixture of training data for a weighted target, from fitted laws",
        "compare": "what a recipe is worth in compute; or which law predicts larger runs best",
        "next": "the runs that would sharpen a prediction most, and what they cost",
        "hparams": "laws of the best learning rate and batch, and the setting for a new size",
        "forecast": "when text, power and money run short, by scenario and with intervals",
        "report": "write the page of a study or a table of runs",
    },
    "posttraining": {
        "sft": "teach a checkpoint to answer, from conversations",
        "reward": "teach a checkpoint which of two responses is preferred",
        "dpo": "teach a checkpoint to answer as is preferred, straight from pairs of responses",
        "rl": "improve a checkpoint by a reward, from responses that it samples",
        "label": "turn responses that were sampled into pairs, by a reward model",
    },
    "checkpoints": {
        "evaluate": "loss, bits per byte and tasks of checkpoints, with intervals",
        "sample": "generate text from a checkpoint",
        "attention": "a picture of what a checkpoint attends to in a prompt",
        "diversity": "how diverse samples are, and what of them a corpus has",
        "consistency": "whether a checkpoint answers a question the same each time and in other words",
        "serve": "answer requests by the OpenAI protocol from a checkpoint",
        "import": "turn a Hugging Face checkpoint into a run's folder",
        "export": "write a checkpoint in Hugging Face's format",
    },
    "setup": {
        "doctor": "what of this machine a study can use, and what stands in its way",
        "completion": "a script that completes commands, flags and names in bash or zsh",
    },
}
VERBS = {verb: group for group, verbs in GROUPS.items() for verb in verbs}
TAKES_CODE = (  # verbs that may meet families, optimizers, tasks and studies of the user's own
    *("study", "plan", "submit", "train", "prepare", "data", "sft", "reward", "dpo", "rl", "label"),
    *("evaluate", "sample", "diversity", "consistency", "serve", "export", "config", "attention"),
)
SHOWN_VERSIONS = ("isoflop", "jax", "jaxlib")
PACKAGES = ("models", "experiments", "scaling", "launch")
ROOT = Path(__file__).parents[1]


class UsageError(ValueError):
    """The command line itself is wrong."""


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 fine, 1 a run failed or a check did not hold,
    2 wrong input, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("isoflop: interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        if os.environ.get("ISOFLOP_DEBUG") or not _is_for_the_user(error):
            raise
        print(f"isoflop: {_one_line(error)}", file=sys.stderr)
        return 2


def command_module(verb: str) -> ModuleType:
    """The module of one of VERBS."""
    return importlib.import_module(f"launch.commands.{VERBS[verb]}.{verb}")


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(_overview())
        return 0
    if arguments == ["--version"]:
        print(" · ".join(f"{name} {importlib.metadata.version(name)}" for name in SHOWN_VERSIONS))
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        raise UsageError(f"unknown command {verb!r}; {did_you_mean(verb, VERBS)}")
    command = command_module(verb)
    if "--help" in rest or "-h" in rest:
        print(_help(command, command_flags(verb)))
        return 0
    values = command_flags(verb)
    values.set_gnu_getopt(True)  # flags may follow positional arguments
    _read_numbers_as_people_write_them(values)
    try:
        positional = values([f"isoflop {verb}", *[_with_underscores(word, values) for word in rest]])[1:]
    except flags.Error as error:
        raise UsageError(f"{_one_line(error)}; see `isoflop {verb} --help`") from None
    with user_code.of_one_command():
        if verb in TAKES_CODE:
            _run_user_code(values)
        return command.run(positional, values)


def command_flags(verb: str) -> flags.FlagValues:
    """The flags of one of VERBS at their defaults."""
    values = copy.deepcopy(command_module(verb).FLAGS)  # so that each command starts from the defaults
    if verb in TAKES_CODE:
        about = "FILE.py of yours that may run: it has a family, optimizer, task or study that data name"
        flags.DEFINE_multi_string("code", [], about, flag_values=values)
    return values


def _run_user_code(values: flags.FlagValues) -> None:
    """Runs the user's own files that flags name; those of studies run where a command makes the study."""
    for given in values.code:
        user_code.run(given)
    for name in ("set", "vary", "zip", "tasks"):
        if name in values:
            values[name].value = [user_code.run_named(text) for text in values[name].value or []]
    if "base" in values and values.base:
        values.base = user_code.run_named(values.base)


class _Number(flags.FloatParser):
    def convert(self, argument: float | str) -> float:
        return number_of(str(argument))


class _Integer(flags.IntegerParser):
    def convert(self, argument: int | str) -> int:
        number = number_of(str(argument))
        if not number.is_integer():
            raise ValueError(f"{argument} is not a whole number")
        return int(number)


def _read_numbers_as_people_write_them(values: flags.FlagValues) -> None:
    """7B, 7.1M, 3T and 3,000 for every flag that is a number."""
    for flag in map(values.__getitem__, values):
        parser = flag.parser
        if type(parser) is flags.FloatParser:
            flag.parser = _Number(parser.lower_bound, parser.upper_bound)
        elif type(parser) is flags.IntegerParser:
            flag.parser = _Integer(parser.lower_bound, parser.upper_bound)  # type: ignore[arg-type]


def _with_underscores(word: str, known: flags.FlagValues) -> str:
    """--top-p as absl spells it, --top_p; anything else as it is."""
    name, equals, value = word.partition("=")
    flag = name[2:].replace("-", "_")
    return f"--{flag}{equals}{value}" if name.startswith("--") and flag in known else word


def _overview() -> str:
    width = max(map(len, VERBS))
    groups = [
        "\n".join([f"{group}:", *[f"  {verb:<{width}}  {summary}" for verb, summary in verbs.items()]])
        for group, verbs in GROUPS.items()
    ]
    listed = "\n\n".join(groups)
    return (
        "isoflop: scaling studies, from a grid of small runs to a prediction with an interval.\n\n"
        f"usage: isoflop COMMAND …\n\n{listed}\n\n"
        "Example: isoflop study quickstart --out out/quickstart\n"
        "`isoflop COMMAND --help` says more, `isoflop --version` what is installed.\n"
        "ISOFLOP_DEBUG=1 shows where an error comes from."
    )


def _help(command: ModuleType, values: flags.FlagValues) -> str:
    known = [values[name] for name in sorted(values) if name == values[name].name]
    width = max((len(flag.name) for flag in known), default=0)
    lines = []
    for flag in known:
        silent = flag.default is None or flag.default is False or flag.default == []
        default = "" if silent else f" (default {flag.default})"
        lines.append(f"  --{flag.name:<{width}}  {flag.help}{default}")
    about = (command.__doc__ or "").strip()
    return "\n".join([f"usage: {command.USAGE}", "", about, *(["", "flags:", *lines] if lines else [])])


def _is_for_the_user(error: Exception) -> bool:
    """Our own ValueErrors and all errors of the system say what to do; a ValueError from deep inside a
    library is a bug, and its traceback is the message."""
    if isinstance(error, OSError):
        return True
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return any(last.is_relative_to(ROOT / package) for package in PACKAGES)


def _one_line(error: Exception) -> str:
    from experiments.evaluate.terminal import printable

    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return printable(" ".join(text.split()))


if __name__ == "__main__":
    sys.exit(main())

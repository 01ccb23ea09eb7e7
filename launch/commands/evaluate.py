"""Loss and bits per byte of a checkpoint, with intervals: on a split of its own data or on a file of yours.

CKPT is a run's folder, or a study's, which stands for its verification run. A file is plain text, JSON lines
with "text" or Parquet, compressed or not. Intervals come from resampling documents.

Example: isoflop evaluate out/quickstart --split test --out test.json
"""

import json
import math
import sys
from pathlib import Path

from absl import flags

from launch.worker import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop evaluate CKPT [--split validation|test | --file FILE] [flags]"
flags.DEFINE_enum("split", None, ["train", "validation", "test"], "default validation", flag_values=FLAGS)
flags.DEFINE_string("file", None, "text to score instead of a split", flag_values=FLAGS)
flags.DEFINE_string("out", None, "write the numbers to this JSON file", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print the numbers as JSON", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Scores the text and prints, and with --out writes, what was found."""
    if len(args) != 1:
        raise ValueError(f"expected one run or study folder, got {args}; usage: {USAGE}")
    if flags.split and flags.file:
        raise ValueError("both --split and --file are given; evaluate on one of them at a time")
    if flags.out and not Path(flags.out).absolute().parent.is_dir():
        raise ValueError(f"--out {flags.out}: there is no folder {Path(flags.out).parent}; make it first")
    prepare_process()  # before anything imports jax
    from experiments.evaluate.perplexity import perplexity
    from experiments.evaluate.subject import open_subject
    from experiments.evaluate.text import read_files, read_split
    from experiments.files import write_atomic

    subject = open_subject(Path(args[0]))
    if subject.folder != Path(args[0]):
        print(f"evaluating the study's verification run, {subject.folder}", file=sys.stderr)
    name = flags.file or flags.split or "validation"
    config, vocab = subject.config, subject.vocab
    text = read_files(flags.file, vocab) if flags.file else read_split(config.data, name)
    found = perplexity(subject.model, subject.params, text, vocab, config.seq_len)
    result = json.dumps(as_json(subject.folder, name, found), indent=1)
    if flags.out:
        write_atomic(flags.out, result + "\n")
    print(result if flags.json else as_text(subject.folder, name, found))
    return 0


def as_json(run: Path, text: str, found) -> dict:
    """The numbers as plain values; null where there is too little text for an interval."""

    def known(number: float) -> float | None:
        return None if math.isnan(number) else number

    numbers = {}
    for name, estimate in (("loss", found.loss), ("bits_per_byte", found.bits_per_byte)):
        numbers[name] = estimate.value
        numbers[f"{name}_se"] = known(estimate.se)
        numbers[f"{name}_ci"] = [known(estimate.lo), known(estimate.hi)]
    return {
        "run": str(run),
        "text": text,
        **numbers,
        "level": found.level,
        "resampled": found.resampled,
        "n_documents": found.n_documents,
        "n_tokens": found.n_tokens,
        "n_bytes": found.n_bytes,
        "context": found.context,
    }


def as_text(run: Path, text: str, found) -> str:
    """A small table."""
    size = f"{found.n_documents:,} documents, {found.n_tokens:,} tokens, {found.n_bytes:,} bytes"
    lines = [f"{run} on {text}: {size}"]
    rows = (("loss", found.loss, "nats/token"), ("bits per byte", found.bits_per_byte, ""))
    for name, estimate, unit in rows:
        interval = f"{found.level:.0%} interval {estimate.lo:.4f} to {estimate.hi:.4f}"
        if math.isnan(estimate.se):
            interval = "no interval: the text is a single window"
        spread = "" if math.isnan(estimate.se) else f" ± {estimate.se:.4f}"
        lines.append(f"  {name:<14} {estimate.value:.4f}{spread} {unit:<10}  {interval}")
    lines.append(f"  {'perplexity':<14} {math.exp(found.loss.value):.3f}")
    lines.append(f"windows of {found.context} tokens; intervals resample {found.resampled}")
    return "\n".join(lines)

"""Generate text from a checkpoint: the newest of a run, or of a study's verification run.

The prompt begins a document: the token that ends one is put in front of it, as in the training text, so an
empty prompt works too. The model never sees more tokens than it was trained on at a time: when that many are
there, it goes on from the last half of them. Sample j depends on the seed and j, not on --n.

Example: isoflop sample out/quickstart --prompt "Returns the " --temperature 0.8 --top_p 0.9 --n 4
"""

import dataclasses
import json
import os
import sys
import unicodedata
from pathlib import Path

from absl import flags

from launch.worker import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop sample CKPT --prompt TEXT [flags]"
flags.DEFINE_string("prompt", None, "text to continue", flag_values=FLAGS)
flags.DEFINE_integer("n", 1, "samples to draw", flag_values=FLAGS)
flags.DEFINE_integer("max_tokens", 200, "longest continuation, in tokens", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "seed of the random draws", flag_values=FLAGS)
flags.DEFINE_float(
    "temperature", 1.0, "divides the logits; 0 is greedy: always the likeliest token", flag_values=FLAGS
)
flags.DEFINE_integer("top_k", 0, "keep the k likeliest tokens; 0 keeps all", flag_values=FLAGS)
flags.DEFINE_float("top_p", 1.0, "keep the likeliest tokens that reach this mass", flag_values=FLAGS)
flags.DEFINE_float("min_p", 0.0, "keep tokens this likely relative to the likeliest", flag_values=FLAGS)
flags.DEFINE_float("repetition_penalty", 1.0, "above 1 makes seen tokens less likely", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print tokens, log-probabilities and finish reasons", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Prints `n` continuations of the prompt."""
    if len(args) != 1:
        raise ValueError(f"expected one run or study folder, got {args}; usage: {USAGE}")
    if flags.prompt is None:
        raise ValueError('--prompt is missing; give the text to continue, or --prompt "" to start a document')
    prepare_process()  # before anything imports jax
    from experiments.evaluate.subject import open_subject
    from models.decoding.sample import Settings, sample

    settings = Settings(
        temperature=flags.temperature,
        top_k=flags.top_k,
        top_p=flags.top_p,
        min_p=flags.min_p,
        repetition_penalty=flags.repetition_penalty,
    )
    subject = open_subject(Path(args[0]))
    if subject.folder != Path(args[0]):
        print(f"sampling from the study's verification run, {subject.folder}", file=sys.stderr)
    prompt = [subject.vocab.eos_id, *subject.vocab.encode(flags.prompt)]
    [samples] = sample(
        subject.model,
        subject.params,
        [prompt],
        [flags.seed],
        settings,
        n=flags.n,
        max_tokens=flags.max_tokens,
        eos_id=subject.vocab.eos_id,
        context=subject.config.seq_len,
    )
    texts = [subject.vocab.decode(one.tokens) for one in samples]
    if flags.json:
        request = {
            "run": str(subject.folder),
            "prompt": flags.prompt,
            "prompt_tokens": prompt,
            "seed": flags.seed,
        }
        found = [{"text": text, **dataclasses.asdict(one)} for text, one in zip(texts, samples)]
        print(json.dumps({**request, "settings": dataclasses.asdict(settings), "samples": found}, indent=1))
    else:
        dim = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(as_text(flags.prompt, samples, texts, dim))
    return 0


def as_text(prompt: str, samples: list, texts: list[str], dim: bool) -> str:
    """Every sample after its prompt, which is dimmed on request; a line before each tells several apart."""
    shown = []
    for i, (one, text) in enumerate(zip(samples, texts), 1):
        mean = sum(one.logprobs) / len(one.logprobs)
        size = f"{len(one.tokens)} tokens, ended by {one.finish}, {mean:.3f} nats/token"
        head, tail = printable(prompt), printable(text)
        body = f"\x1b[2m{head}\x1b[0m{tail}" if dim else head + tail
        shown.append(f"--- {i} of {len(samples)}: {size}\n{body}" if len(samples) > 1 else body)
    return "\n\n".join(shown)


def printable(text: str) -> str:
    """`text` without characters that would steer the terminal."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)

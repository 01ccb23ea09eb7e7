"""Prompts in, samples out: as text for a terminal, as JSON, and for the user to pick from."""

import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.evaluate.terminal import printable


def read_requests(prompt: str | None, prompts: str | None, seed: int) -> list[dict[str, Any]]:
    """Prompts with their seeds: the one given, or those of a file of JSON objects, "-" for stdin.

    Raises:
      ValueError: no prompt or both kinds, or a line that is no object with a prompt.
    """
    if (prompt is None) == (prompts is None):
        what = "--prompt is missing" if prompt is None else "--prompt and --prompts are both there"
        raise ValueError(f'{what}; give the text to continue, or --prompt "" to start a document')
    if prompts is None:
        return [{"prompt": prompt, "seed": seed}]
    try:
        text = sys.stdin.read() if prompts == "-" else Path(prompts).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--prompts {prompts}: {error}") from None
    requests = []
    for number, line in enumerate(text.split("\n"), 1):
        where = f"--prompts {prompts}, line {number}"
        if not line.strip():
            continue
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict) or not isinstance(request.get("prompt"), str):
            raise ValueError(f'{where}: {line[:60]!r} is not an object like {{"prompt": "A"}}')
        request = {"seed": seed} | request
        if type(request["seed"]) is not int:
            raise ValueError(f"{where}: seed={request['seed']!r}; it must be a whole number")
        requests.append(request)
    if not requests:
        raise ValueError(f"--prompts {prompts}: no line has a prompt")
    return requests


def read_bias(
    pairs: Sequence[str], said: Sequence[bytes], encode: Callable[[str], list[int]]
) -> dict[str, tuple[tuple[Any, float], ...]]:
    """`logit_bias` and `sequence_bias` of `SamplingSettings` from TOKENS=NUMBER. TOKENS are an id, several
    with commas between, or a text, which may stand in double quotes, and must if it is a number. A text that
    no token says is cut into several as the vocabulary does.

    Args:
      pairs: as the flag gives them.
      said: the bytes of each token.
      encode: the vocabulary's.

    Raises:
      ValueError: not of this form.
    """
    biases, sequences = [], []
    for pair in pairs:
        token, _, number = pair.rpartition("=")
        try:
            bias = float(number)
        except ValueError:
            token = ""
        if not token:
            raise ValueError(f"logit_bias={pair!r}; give TOKENS=NUMBER, such as 13=-2.5 or ' the'=-inf")
        if re.fullmatch(r"-?\d+(,-?\d+)*", token):
            ids = tuple(map(int, token.split(",")))
            alike = ids if len(ids) == 1 else ()
        else:
            text = token[1:-1] if len(token) > 2 and token[0] == token[-1] == '"' else token
            alike = [i for i, each in enumerate(said) if each == text.encode()]
            ids = () if alike else tuple(encode(text))
        biases += [(i, bias) for i in alike]
        sequences += [] if alike else [(ids, bias)]
    return {"logit_bias": tuple(biases), "sequence_bias": tuple(sequences)}


def as_json(one, said: Sequence[bytes]) -> dict[str, Any]:
    """A sample as JSON has it; `json` tells whether its text is JSON, or the beginning of some ("cut")."""
    from models.decoding.stop import json_state

    fields = dataclasses.asdict(one) | {"json": json_state(one.text)}
    top = fields.pop("top", ())
    if top:
        names = ("token", "logprob", "sampling_logprob")
        fields["top"] = [
            [
                {**dict(zip(names, each)), "text": said[each[0]].decode("utf-8", "replace")}
                for each in likeliest
            ]
            for likeliest in top
        ]
    return finite({"text": fields.pop("text"), **fields})


def finite(value: Any) -> Any:
    """The same with numbers that JSON does not have as text."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def as_text(prompt: str, samples: list, dim: bool) -> str:
    """Every sample after its prompt, which is dimmed on request; a line before each tells several apart."""
    shown = []
    for i, one in enumerate(samples, 1):
        mean = sum(one.logprobs) / max(1, len(one.logprobs))
        size = f"{len(one.tokens)} tokens, ended by {one.finish}, {mean:.3f} nats/token"
        body = shown_prompt(prompt, dim) + printable(one.text)
        shown.append(f"--- {i} of {len(samples)}: {size}\n{body}" if len(samples) > 1 else body)
    return "\n\n".join(shown)


def shown_prompt(prompt: str, dim: bool) -> str:
    return f"\x1b[2m{printable(prompt)}\x1b[0m" if dim else printable(prompt)


def show_new_text(prompt: int, j: int, new_text: str) -> None:
    """Prints text as it is made."""
    print(printable(new_text), end="", flush=True)


def warn_of_cut_json(samples: list) -> None:
    """Tells on stderr of objects and arrays that are not whole."""
    from models.decoding.stop import json_state

    for i, one in enumerate(samples, 1):
        if one.text.lstrip()[:1] in ("{", "[") and json_state(one.text) == "cut":
            print(f"sample {i} is JSON cut short: it was ended by {one.finish}", file=sys.stderr)


def warn_of_time(groups: Sequence[Sequence[Any]], seconds: float) -> None:
    """Tells on stderr of samples that the budget of time has ended."""
    cut = [one for some in groups for one in some if one.finish == "time"]
    if cut:
        total, most = sum(map(len, groups)), max(len(one.tokens) for one in cut)
        print(
            f"{len(cut)} of {total} samples ended by --max_seconds {seconds:g}; tokens of the longest: "
            f"{most}; compiling takes of that time, loading does not",
            file=sys.stderr,
        )


def warn_of_unfulfilled(groups: list[list]) -> int:
    """Tells on stderr of samples that lack the form asked for; 1 if there are any, else 0."""
    cut = sum(not one.complete for some in groups for one in some)
    if cut:
        total = sum(map(len, groups))
        print(f"{cut} of {total} samples lack the form: --max_tokens came first; raise it", file=sys.stderr)
    return int(cut > 0)


def check_pick(n: int, prompts: str | None) -> None:
    """Raises ValueError unless there are several samples of one prompt, and a terminal to ask at."""
    if prompts is not None:
        raise ValueError("--pick with --prompts; it works on one --prompt")
    if n < 2:
        raise ValueError(f"--pick with --n {n}; there must be at least 2 samples to pick from")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ValueError("--pick needs a terminal to show the samples and to ask; leave it out to print all")


def pick(prompt: str, samples: list):
    """The sample whose number is typed; all are shown on stderr, so that stdout has the chosen one alone."""
    print(as_text(prompt, samples, "NO_COLOR" not in os.environ), file=sys.stderr)
    while True:
        print(f"\nwhich one (1 to {len(samples)})? ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise ValueError("no sample was picked")
        if answer.strip().isdecimal() and 1 <= int(answer) <= len(samples):
            return samples[int(answer) - 1]

"""What `isoflop sample` is asked for besides plain sampling: a form that the text must have, or beams."""

import json
import math
from pathlib import Path
from typing import Any

MAX_BEAMS = 10_000  # which are all held, at every step, with their likeliest continuations
FORMS = ("schema", "regex", "grammar", "choices")


def read_form(flags) -> tuple[str, Any] | None:
    """Name and content of the form that the flags ask for, files read.

    Raises:
      ValueError: several, a file that cannot be read, or something else that does not go with it.
    """
    asked = [name for name in FORMS if getattr(flags, name)]
    if not asked:
        return None
    if len(asked) > 1:
        raise ValueError(f"--{asked[0]} and --{asked[1]}; a text can have one form at a time")
    _refuse_beside(flags, f"--{asked[0]}")
    [name] = asked
    content = getattr(flags, name)
    if name in ("schema", "grammar"):
        try:
            content = Path(content).read_text(encoding="utf-8")
            return name, json.loads(content) if name == "schema" else content
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"--{name} {getattr(flags, name)}: {error}") from None
    return name, content


def check_beam(flags) -> None:
    """Refuses what has no meaning in a beam search.

    Raises:
      ValueError: see there.
    """
    if not 1 <= flags.beam <= MAX_BEAMS:
        raise ValueError(f"--beam {flags.beam}; it must be from 1 to {MAX_BEAMS:,}")
    if flags.n > flags.beam:
        raise ValueError(f"--n {flags.n} with --beam {flags.beam}; there are no more texts than beams")
    _refuse_beside(flags, "--beam")
    for name in FORMS:
        if getattr(flags, name):
            raise ValueError(f"--{name} with --beam; leave one out")


def _refuse_beside(flags, asked: str) -> None:
    if flags.stop:
        raise ValueError(f"--stop with {asked}; leave one out")
    if flags.max_seconds < math.inf:
        raise ValueError(f"--max_seconds with {asked}; leave one out")
    if flags.top_logprobs:
        raise ValueError(f"--top_logprobs with {asked}; leave one out")


def constrain(form: tuple[str, Any], said: list[bytes], eos_id: int):
    """The constraint of a form, for tokens that say `said`.

    Raises:
      ValueError: it cannot be fulfilled, or not be enforced.
    """
    from models.decoding.constraints import masks

    name, content = form
    vocabulary = masks.Vocabulary(said, eos_id)
    if name == "schema":
        return masks.json_schema(content, vocabulary)
    if name == "choices":
        return masks.choice(content, vocabulary)
    return {"regex": masks.regex, "grammar": masks.grammar}[name](content, vocabulary)


def room(prompts: list[list[int]], max_tokens: int, context: int) -> int:
    """How many tokens beams may have: `max_tokens`, or what the context leaves after the longest prompt.

    Raises:
      ValueError: it leaves nothing.
    """
    longest = max(map(len, prompts))
    if longest >= context:
        raise ValueError(
            f"a prompt of {longest} tokens with --beam; {context - 1} at most leave room in the context"
        )
    return min(max_tokens, context - longest)

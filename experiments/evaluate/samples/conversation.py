"""A conversation with a checkpoint: lines of a user, each answered in view of all that was said before."""

import sys
from collections.abc import Iterable
from typing import Any

from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.samples.sample_output import show_new_text
from experiments.evaluate.terminal import printable
from experiments.posttraining.data.chat_template import ChatTemplate
from experiments.posttraining.data.conversations import Turn
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings


def lines_of_user(terminal: bool) -> Iterable[str]:
    """Lines from stdin up to its end (Ctrl-D), asked for on a terminal; empty ones are passed over."""
    while True:
        if terminal:
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")


def converse(
    loaded: LoadedModel,
    template: ChatTemplate,
    lines: Iterable[str],
    settings: SamplingSettings,
    seed: int,
    max_tokens: int,
    stream: bool,
    **limits: Any,
) -> list[Turn]:
    """Prints an answer to each line; the template renders the whole conversation before each.

    It ends with the lines, or where the conversation has as many tokens as the rows that the model was
    trained on; stderr says so.

    Args:
      loaded: the checkpoint.
      template: the form in which it was taught conversations.
      lines: what the user says, a turn each.
      settings: of sampling. seed: of the first turn; the next one has the next seed.
      max_tokens: of an answer.
      stream: whether text is shown as it is made.
      limits: further arguments of `sample`, such as stop.

    Returns:
      the turns, the user's and the model's.

    Raises:
      ValueError: a turn whose text the template cannot hold.
    """
    turns, context = [], loaded.config.seq_len
    full = f"the conversation fills the {context:,} tokens that the model was trained on; it ends here"
    for number, line in enumerate(lines):
        turns.append(Turn("user", line))
        prompt = template.prompt(tuple(turns)).tolist()
        if len(prompt) >= context:
            print(full, file=sys.stderr)
            return turns[:-1]
        [[answer]] = sample(
            *(loaded.model, loaded.params, [prompt], [seed + number], settings),
            max_tokens=min(max_tokens, context - len(prompt)),
            eos_id=template.end_id,
            token_bytes=loaded.token_bytes(),
            every=8 if stream else None,
            watch=show_new_text if stream else None,
            **limits,
        )
        text = answer.text or ""
        print("" if stream else printable(text), flush=True)
        if answer.finish == "time":
            print("the answer was ended by --max_seconds", file=sys.stderr)
        turns.append(Turn("assistant", text))
        if len(prompt) + len(answer.tokens) >= context:
            print(full, file=sys.stderr)
            return turns
    return turns

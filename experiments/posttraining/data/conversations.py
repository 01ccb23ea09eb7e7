"""Conversations: turns of a system, a user and an assistant, read from the forms that they are published in.

    messages    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
    ShareGPT    {"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}
    Alpaca      {"instruction": "…", "input": "…", "output": "…"}, the input empty or left out

Prompts, for algorithms that sample the responses themselves, are {"prompt": "…"} or a conversation in one of
these forms, whose last response is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.posttraining.data.records import Record, records

ROLES = {  # as others call them
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}


@dataclass(frozen=True)
class Turn:
    """What "system", "user" or "assistant" says."""

    role: str
    content: str


Conversation = tuple[Turn, ...]


def read_conversations(path: str) -> Iterator[tuple[str, Conversation]]:
    """(place, conversation) of each record at `path`, for which see `records.records`.

    Raises:
      ValueError: nothing to read; a record that is no conversation, has no turn of the assistant, an empty
        response or an unknown role; records of two forms; each with file and line.
    """
    seen = ""
    for place, record in records(path):
        form = _form(place, record)
        if form != (seen or form):
            raise ValueError(f"{place}: in {form} form, those before it in {seen} form; a set has one form")
        seen, conversation = form, FORMS[form](place, record)
        check(place, conversation)
        yield place, conversation


def read_prompts(path: str) -> Iterator[tuple[str, Conversation]]:
    """(place, conversation that ends where the assistant is to speak) of each record at `path`.

    Raises:
      ValueError: as `read_conversations`, or a prompt that is empty.
    """
    for place, record in records(path):
        if isinstance(record.get("prompt"), str):
            turns: Conversation = (Turn("user", record["prompt"]),)
        else:
            turns = FORMS[_form(place, record)](place, record)
            if turns and turns[-1].role == "assistant":
                turns = turns[:-1]
        if not turns or not turns[-1].content.strip():
            raise ValueError(f"{place}: the prompt is empty; leave the record out")
        yield place, turns


def check(place: str, conversation: Conversation) -> None:
    """Refuses what nothing can be learned from.

    Raises:
      ValueError: no turn of the assistant, or an empty one; the text begins with `place`.
    """
    responses = [turn.content for turn in conversation if turn.role == "assistant"]
    if not responses:
        roles = ", ".join(turn.role for turn in conversation) or "no turns"
        raise ValueError(f"{place}: no turn of the assistant ({roles}); there is nothing to learn from it")
    for number, response in enumerate(responses, 1):
        if not response.strip():
            raise ValueError(f"{place}: response {number} is empty; leave the conversation out")


def turns_of(place: str, messages: Any, role: str = "role", content: str = "content") -> Conversation:
    """Turns from a list of objects, which have them under these names.

    Args:
      place: file and line, for what an error says.
      messages: what was read.
      role, content: names of the two in each object.

    Raises:
      ValueError: no such list, an unknown role, or content that is no text.
    """
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError(f"{place}: expected a list of objects with {role!r} and {content!r}")
    turns = []
    for number, message in enumerate(messages, 1):
        who, said = message.get(role), message.get(content)
        if not isinstance(who, str) or who not in ROLES:
            raise ValueError(f"{place}: turn {number} has {role} {who!r}; known are {', '.join(ROLES)}")
        if not isinstance(said, str):
            raise ValueError(f"{place}: turn {number} has {content} {said!r}; only text is understood")
        turns.append(Turn(ROLES[who], said))
    return tuple(turns)


def _alpaca(place: str, record: Record) -> Conversation:
    texts = {name: record.get(name) or "" for name in ("instruction", "input", "output")}
    if bad := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise ValueError(f"{place}: {bad[0]!r} is {texts[bad[0]]!r}; only text is understood")
    prompt = "\n\n".join(text for text in (texts["instruction"], texts["input"]) if text)
    return Turn("user", prompt), Turn("assistant", texts["output"])


FORMS = {
    "messages": lambda place, record: turns_of(place, record["messages"]),
    "ShareGPT": lambda place, record: turns_of(place, record["conversations"], "from", "value"),
    "Alpaca": _alpaca,
}


def _form(place: str, record: Record) -> str:
    if "messages" in record:
        return "messages"
    if "conversations" in record:
        return "ShareGPT"
    if "instruction" in record:
        return "Alpaca"
    raise ValueError(
        f"{place}: no conversation (it has {', '.join(map(str, record)) or 'no fields'}); known are "
        "'messages', 'conversations' (ShareGPT) and 'instruction', 'input', 'output' (Alpaca)"
    )

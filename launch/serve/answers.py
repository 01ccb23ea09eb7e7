"""What was sampled, as the JSON of a response or of the chunks of a stream, in OpenAI's form. Pure functions.

A response is made of the pieces that a stream would have sent, so the two say the same. Log-probabilities are
the model's own, before any setting. A token is written as its text; one that is no whole text as
"bytes:\\xe2\\x82", and one that says nothing, such as the end of a text, as "token_id:1".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FINISH = {"eos": "stop", "stop": "stop", "length": "length"}
LEAST = -9999.0  # JSON has no -inf


@dataclass(frozen=True)
class Piece:
    """What a choice has grown by.

    logprobs: nats, None for a text's first token. top: at each token the likeliest, as (token, nats).
    offsets: characters of the choice's text before each token. finish: of the last piece. echo: whether it is
    the prompt.
    """

    index: int
    text: str = ""
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float | None, ...] = ()
    top: tuple[tuple[tuple[int, float], ...], ...] = ()
    offsets: tuple[int, ...] = ()
    finish: str | None = None
    echo: bool = False


@dataclass(frozen=True)
class Head:
    """What all parts of a response have in common. top: as in `protocol.Request`."""

    id: str
    created: int
    model: str
    chat: bool
    top: int | None
    token_bytes: Sequence[bytes]


def joined(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one choice as one."""
    parts: dict[str, Any] = {
        name: tuple(value for piece in pieces for value in getattr(piece, name))
        for name in ("tokens", "logprobs", "top", "offsets")
    }
    text = "".join(piece.text for piece in pieces)
    return Piece(pieces[0].index, text, finish=pieces[-1].finish, **parts)


def usage(n_prompt: int, pieces: Sequence[Piece]) -> dict[str, int]:
    """Tokens of the prompts, and those that were sampled."""
    sampled = sum(len(piece.tokens) for piece in pieces if not piece.echo)
    return {"prompt_tokens": n_prompt, "completion_tokens": sampled, "total_tokens": n_prompt + sampled}


def response(head: Head, pieces: Sequence[Piece], counts: dict[str, int]) -> dict[str, Any]:
    """The whole answer; `pieces` are of all choices, in the order in which they came."""
    by_index: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_index.setdefault(piece.index, []).append(piece)
    choices = [_choice(head, joined(by_index[index]), "message") for index in sorted(by_index)]
    return _outer(head, choices, "chat.completion" if head.chat else "text_completion") | {"usage": counts}


def chunk(head: Head, piece: Piece) -> dict[str, Any]:
    """One event of a stream."""
    return _outer(head, [_choice(head, piece, "delta")], _chunk_kind(head))


def role_chunk(head: Head, index: int) -> dict[str, Any]:
    """The event with which a choice of a chat begins."""
    delta = {"role": "assistant", "content": ""}
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
    return _outer(head, [choice], _chunk_kind(head))


def usage_chunk(head: Head, counts: dict[str, int]) -> dict[str, Any]:
    """The last event of a stream whose usage was asked for."""
    return _outer(head, [], _chunk_kind(head)) | {"usage": counts}


def error(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error object.

    Args:
      message: what is wrong, in a sentence.
      kind: of error, such as invalid_request_error.
      param: the field that is wrong, if one is.
      code: what programs tell errors by.
    """
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _outer(head: Head, choices: list, kind: str) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": kind,
        "created": head.created,
        "model": head.model,
        "choices": choices,
    }


def _chunk_kind(head: Head) -> str:
    return "chat.completion.chunk" if head.chat else "text_completion"


def _choice(head: Head, piece: Piece, chat_field: str) -> dict[str, Any]:
    logprobs = None if head.top is None else (_of_chat if head.chat else _of_completion)(head, piece)
    choice: dict[str, Any] = {"index": piece.index, "logprobs": logprobs}
    choice["finish_reason"] = None if piece.finish is None else FINISH[piece.finish]
    if not head.chat:
        return choice | {"text": piece.text}
    whole = {"role": "assistant", "refusal": None} if chat_field == "message" else {}
    return choice | {chat_field: {"content": piece.text} | whole}


def _of_completion(head: Head, piece: Piece) -> dict[str, list]:
    def top(token: int, logprob: float | None, likeliest) -> dict[str, float] | None:
        """The likeliest and, as the API has it, the token itself, which may be none of them."""
        if logprob is None:
            return None
        shown = [*likeliest[: head.top], (token, logprob)]
        return {_spelled(head, one): max(nats, LEAST) for one, nats in shown}

    each = zip(piece.tokens, piece.logprobs, piece.top, strict=True)
    return {
        "tokens": [_spelled(head, token) for token in piece.tokens],
        "token_logprobs": [nats if nats is None else max(nats, LEAST) for nats in piece.logprobs],
        "top_logprobs": [top(*one) for one in each],
        "text_offset": list(piece.offsets),
    }


def _of_chat(head: Head, piece: Piece) -> dict[str, list]:
    def entry(token: int, nats: float | None) -> dict[str, Any]:
        said = list(head.token_bytes[token]) or None
        return {"token": _spelled(head, token), "logprob": max(nats or 0.0, LEAST), "bytes": said}

    content = [
        entry(token, nats) | {"top_logprobs": [entry(*one) for one in likeliest[: head.top]]}
        for token, nats, likeliest in zip(piece.tokens, piece.logprobs, piece.top, strict=True)
    ]
    return {"content": content, "refusal": []}


def _spelled(head: Head, token: int) -> str:
    said = head.token_bytes[token]
    if not said:
        return f"token_id:{token}"
    try:
        return said.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in said)

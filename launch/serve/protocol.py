"""What the JSON of a request asks for, as the OpenAI API has it (its reference, /v1/completions and
/v1/chat/completions). Pure functions: a body in, a `Request` out, or a `RequestError`.

A field that is null is one that is absent. What would change the answer and is not supported is refused by
name; what cannot change it is passed over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from experiments.posttraining.data.conversations import Conversation, turns_of
from models.decoding.settings import SamplingSettings

SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias")
COMMON = (
    *("model", "n", "seed", "stop", "max_tokens", "stream", "stream_options", "response_format", "logprobs"),
    *SAMPLING,
)
COMPLETION = ("prompt", "echo", *COMMON)
CHAT = ("messages", "max_completion_tokens", "top_logprobs", *COMMON)
# About a request, not what is answered.
PASSED_OVER = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
NEUTRAL = {"best_of": 1, "suffix": "", "tools": [], "tool_choice": "none", "modalities": ["text"]}
RANGES = {"temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
MAX_CHOICES, MAX_STOPS = 1024, 64
TOP_COMPLETION, TOP_CHAT = 5, 20
DEFAULT_TOKENS = 16  # of a completion


class RequestError(ValueError):
    """A request that is not answered: the HTTP status and what the error object says."""

    def __init__(self, message: str, param: str | None = None, status: int = 400, code: str | None = None):
        super().__init__(message)
        self.param, self.status, self.code = param, status, code


@dataclass(frozen=True)
class Request:
    """What is asked for, in either form.

    prompts: texts or token ids, of a completion; conversation: of a chat. max_tokens: None for all that the
    context leaves. seed: None for any. top: how many of the likeliest tokens to report beside the
    log-probability of each; None: no log-probabilities. schema: JSON schema of the text, or None.
    """

    prompts: tuple[str | tuple[int, ...], ...]
    conversation: Conversation
    model: str
    n: int
    max_tokens: int | None
    seed: int | None
    stop: tuple[str, ...]
    settings: SamplingSettings
    top: int | None
    schema: Any
    echo: bool
    stream: bool
    include_usage: bool


def read_completion(body: Any) -> Request:
    """The request in a body of /v1/completions.

    Raises:
      RequestError: what is wrong with which field.
    """
    fields = _known(body, COMPLETION)
    top = _integer(fields, "logprobs", 0, TOP_COMPLETION)
    max_tokens = _integer(fields, "max_tokens", 0)
    echo = _flag(fields, "echo")
    max_tokens = DEFAULT_TOKENS if max_tokens is None else max_tokens
    if max_tokens == 0 and not echo:
        raise RequestError("max_tokens=0 without echo; there would be nothing to answer", "max_tokens")
    prompts = _prompts(fields.get("prompt", ""))
    return _request(fields, prompts=prompts, conversation=(), max_tokens=max_tokens, top=top, echo=echo)


def read_chat(body: Any) -> Request:
    """The request in a body of /v1/chat/completions.

    Raises:
      RequestError: what is wrong with which field.
    """
    fields = _known(body, CHAT)
    top = _integer(fields, "top_logprobs", 0, TOP_CHAT)
    if not _flag(fields, "logprobs"):
        if top:
            raise RequestError(f"top_logprobs={top} without logprobs; set that to true", "top_logprobs")
        top = None
    elif top is None:
        top = 0
    limits = [_integer(fields, name, 1) for name in ("max_completion_tokens", "max_tokens")]
    if None not in limits and limits[0] != limits[1]:
        raise RequestError(
            f"max_completion_tokens={limits[0]} and max_tokens={limits[1]}; give one of the two", "max_tokens"
        )
    max_tokens = limits[0] if limits[1] is None else limits[1]
    conversation = _conversation(fields.get("messages"))
    return _request(fields, prompts=(), conversation=conversation, max_tokens=max_tokens, top=top, echo=False)


def _request(fields: Mapping[str, Any], prompts: tuple, **own: Any) -> Request:
    """What the two forms have in common."""
    n = _integer(fields, "n", 1) or 1
    if n * max(1, len(prompts)) > MAX_CHOICES:
        raise RequestError(f"n={n} of {len(prompts)} prompts; at most {MAX_CHOICES} choices a request", "n")
    options = fields.get("stream_options")
    stream = _flag(fields, "stream")
    if options is not None and not (isinstance(options, dict) and options.keys() <= {"include_usage"}):
        raise RequestError(f"stream_options={options!r}; known is include_usage", "stream_options")
    if options and not stream:
        raise RequestError("stream_options without stream; leave one out or set stream", "stream_options")
    return Request(
        prompts=prompts,
        model=_text(fields, "model"),
        n=n,
        seed=_integer(fields, "seed", 0, 2**32 - 1),
        stop=_stops(fields.get("stop")),
        settings=_settings(fields),
        schema=_schema(fields.get("response_format")),
        stream=stream,
        include_usage=_flag(options or {}, "include_usage"),
        **own,
    )


def _known(body: Any, allowed: Sequence[str]) -> dict[str, Any]:
    """The fields that are there, if each is known."""
    if not isinstance(body, dict):
        raise RequestError("the body is no JSON object")
    fields = {name: value for name, value in body.items() if value is not None and name not in PASSED_OVER}
    for name in fields.keys() - set(allowed):
        if name not in NEUTRAL or fields[name] != NEUTRAL[name]:
            raise RequestError(
                f"{name} is not supported here, and leaving it out could change the answer; "
                f"known are {', '.join(allowed)}",
                name,
                code="unsupported_parameter",
            )
    return fields


def _prompts(prompt: Any) -> tuple[str | tuple[int, ...], ...]:
    """One text, several, one list of token ids, or several."""
    several = prompt if isinstance(prompt, list) and not all(map(_is_integer, prompt)) else [prompt]
    found = []
    for one in several:
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, list) and one and all(map(_is_integer, one)):
            found.append(tuple(one))
        else:
            raise RequestError(
                f"prompt={str(one)[:60]!r}; give a text, token ids, at least one, or a list of such",
                "prompt",
            )
    return tuple(found)


def _conversation(messages: Any) -> Conversation:
    """Turns; content in parts is joined where all of them are text."""
    if not isinstance(messages, list) or not messages:
        raise RequestError("messages is missing or empty; give a list of objects", "messages")
    plain = []
    for message in messages:
        unknown = message.keys() - {"role", "content", "name", "refusal"} if isinstance(message, dict) else ()
        if used := [name for name in sorted(unknown) if message[name]]:
            raise RequestError(f"{used[0]} of a message is not supported here", "messages")
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and all(
            isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
            for part in content
        ):
            message = message | {"content": "".join(part["text"] for part in content)}
        plain.append(message)
    try:
        turns = turns_of("messages", plain)
    except ValueError as error:
        raise RequestError(str(error), "messages") from None
    if turns[-1].role == "assistant":
        raise RequestError("the last message is the assistant's; let it be one to answer", "messages")
    return turns


def _settings(fields: Mapping[str, Any]) -> SamplingSettings:
    numbers = {name: _number(fields, name, *limits) for name, limits in RANGES.items()}
    biases = fields.get("logit_bias", {})
    if not isinstance(biases, dict) or not all(
        key.isdecimal() and _is_number(value) and abs(value) <= 100 for key, value in biases.items()
    ):
        raise RequestError("logit_bias: give token ids with numbers from -100 to 100", "logit_bias")
    # A bias of -100 bans a token, as the API has it.
    bias = tuple((int(key), -inf if value == -100 else float(value)) for key, value in biases.items())
    given: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    try:
        return SamplingSettings(**given, logit_bias=bias)
    except ValueError as error:
        raise RequestError(str(error), str(error).partition("=")[0]) from None


def _schema(form: Any) -> Any:
    """The JSON schema of a response_format; None where any text will do."""
    kind = form.get("type") if isinstance(form, dict) else None
    if form is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    inner = form.get("json_schema") if kind == "json_schema" else None
    if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        raise RequestError(
            f"response_format={str(form)[:60]!r}; give type 'text', 'json_object', or 'json_schema' with "
            "json_schema.schema",
            "response_format",
        )
    return inner["schema"]


def _stops(stop: Any) -> tuple[str, ...]:
    several = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(several, list) or not all(isinstance(one, str) and one for one in several):
        raise RequestError(f"stop={str(stop)[:60]!r}; give a text or a list of texts, none empty", "stop")
    if len(several) > MAX_STOPS:
        raise RequestError(f"{len(several)} texts in stop; at most {MAX_STOPS}", "stop")
    return tuple(several)


def _integer(fields: Mapping[str, Any], name: str, low: int, high: float = inf) -> int | None:
    value = fields.get(name)
    if value is not None and not (_is_integer(value) and low <= value <= high):
        most = f" to {high}" if high < inf else " up"
        raise RequestError(f"{name}={value!r}; it must be a whole number from {low}{most}", name)
    return value


def _number(fields: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    value = fields.get(name)
    if value is not None and not (_is_number(value) and low <= value <= high):
        raise RequestError(f"{name}={value!r}; it must be a number from {low} to {high}", name)
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise RequestError(f"{name}={value!r}; it must be true or false", name)
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{name}={value!r}; it must be a text", name)
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

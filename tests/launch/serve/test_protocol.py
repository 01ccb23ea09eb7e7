"""Bodies of requests: what they ask for, and what is refused by name."""

import math

import pytest

from experiments.posttraining.data.conversations import Turn
from launch.serve.protocol import RequestError, read_chat, read_completion
from models.decoding.settings import SamplingSettings

ASK = {"model": "m", "prompt": "A"}
SAY = {"model": "m", "messages": [{"role": "user", "content": "A"}]}


def test_what_is_absent_or_null_has_its_default():
    asked = read_completion(ASK | dict.fromkeys(("n", "stop", "temperature", "logprobs", "best_of"), None))
    assert (asked.prompts, asked.n, asked.max_tokens, asked.seed, asked.stop) == (("A",), 1, 16, None, ())
    assert asked.settings == SamplingSettings() and asked.top is None and not asked.stream
    chat = read_chat(SAY)
    assert chat.conversation == (Turn("user", "A"),) and chat.max_tokens is None


def test_fields_are_read():
    more = {"temperature": 0.5, "top_p": 0.9, "frequency_penalty": 1, "logit_bias": {"3": -100, "4": 1.5}}
    asked = read_completion(ASK | more | {"stop": "x", "seed": 5, "n": 3, "user": "me", "best_of": 1})
    bias = ((3, -math.inf), (4, 1.5))
    assert asked.settings == SamplingSettings(0.5, top_p=0.9, frequency_penalty=1, logit_bias=bias)
    assert (asked.stop, asked.seed, asked.n) == (("x",), 5, 3)
    chat = read_chat(SAY | {"logprobs": True, "top_logprobs": 4, "max_completion_tokens": 7, "tools": []})
    assert (chat.top, chat.max_tokens) == (4, 7)
    streamed = read_chat(SAY | {"stream": True, "stream_options": {"include_usage": True}, "logprobs": True})
    assert streamed.stream and streamed.include_usage and streamed.top == 0


@pytest.mark.parametrize(
    "prompt, prompts",
    [
        ("A", ("A",)),
        (["A", ""], ("A", "")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
        (["A", [5]], ("A", (5,))),
    ],
)
def test_prompts(prompt, prompts):
    assert read_completion({"model": "m", "prompt": prompt}).prompts == prompts


def test_forms():
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert read_chat(SAY | {"response_format": form}).schema == schema
    assert read_chat(SAY | {"response_format": {"type": "json_object"}}).schema == schema
    assert read_chat(SAY | {"response_format": {"type": "text"}}).schema is None


WRONG = [
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"temperature": math.nan}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": True}, "n"),
    ({"n": 1025}, "n"),
    ({"seed": -1}, "seed"),
    ({"stop": ["a", ""]}, "stop"),
    ({"stop": 3}, "stop"),
    ({"stream": 1}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"1": 101}}, "logit_bias"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"response_format": "json"}, "response_format"),
    ({"model": None}, "model"),
    ({"best_of": 2}, "best_of"),
    ({"guided_regex": "a"}, "guided_regex"),
]
OF_COMPLETION = [
    ({"prompt": []}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": [1.5]}, "prompt"),
    ({"logprobs": 6}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"suffix": "x"}, "suffix"),
    ({"messages": []}, "messages"),
]
OF_CHAT = [
    ({"messages": []}, "messages"),
    ({"messages": ["A"]}, "messages"),
    ({"messages": [{"role": "tool", "content": "A"}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": "A", "tool_calls": [1]}]}, "messages"),
    ({"messages": [{"role": "assistant", "content": "A"}]}, "messages"),
    ({"logprobs": 3}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"echo": True}, "echo"),
]


FORMS = {"completion": (read_completion, ASK), "chat": (read_chat, SAY)}


@pytest.mark.parametrize(
    "form, change, param",
    [("completion", change, name) for change, name in WRONG + OF_COMPLETION]
    + [("chat", change, name) for change, name in WRONG + OF_CHAT],
    ids=str,
)
def test_what_is_wrong_is_named(form, change, param):
    read, body = FORMS[form]
    with pytest.raises(RequestError) as error:
        read(body | change)
    assert (error.value.param, error.value.status) == (param, 400)


@pytest.mark.parametrize("body", [None, [], "A", 3])
def test_a_body_is_an_object(body):
    with pytest.raises(RequestError, match="no JSON object"):
        read_chat(body)

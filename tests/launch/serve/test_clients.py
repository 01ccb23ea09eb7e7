"""A server as users start it, asked by other people's clients: openai, instructor, lm-eval's API model."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.evaluate.loaded_model import load_model
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from tests.extras import extra
from tests.tiny_run import isoflop

pytestmark = pytest.mark.slow
os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
TOKEN = "let me in"
TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


@pytest.fixture(scope="module")
def checkpoint(run, tmp_path_factory) -> Path:
    """The tiny run with a longer context and a chat template."""
    folder = tmp_path_factory.mktemp("served") / "checkpoint"
    shutil.copytree(run, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"seq_len": 256, "batch_tokens": 256}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def loaded(checkpoint):
    return load_model(checkpoint)


@pytest.fixture(scope="module")
def url(checkpoint):
    """Of a server in a process of its own, which SIGTERM ends with exit code 0."""
    command = [sys.executable, "-m", "launch.cli", "serve", str(checkpoint), "--port", "0"]
    environment = os.environ | {"ISOFLOP_TOKEN": TOKEN}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("checkpoint: http://127.0.0.1:"), line
        yield line.split()[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()


@pytest.fixture
def client(url):
    return extra("openai", "clients").OpenAI(base_url=url, api_key=TOKEN, max_retries=0)


def test_the_openai_client_samples_what_the_library_does(client, loaded):
    [model] = client.models.list().data
    assert client.models.retrieve(model.id).id == "checkpoint"
    asked = {"model": model.id, "max_tokens": 40, "seed": 6, "temperature": 0.9, "stop": ["~"]}
    completion = client.completions.create(prompt="Returns", logprobs=2, n=2, **asked)
    loaded_prompt = [1, *loaded.vocab.encode("Returns")]
    [expected] = sample(
        loaded.model, loaded.params, [loaded_prompt], [6], SamplingSettings(0.9), n=2, max_tokens=40, eos_id=1
    )
    for choice, one in zip(completion.choices, expected, strict=True):
        text = loaded.vocab.decode(one.tokens).partition("~")[0]
        assert choice.text == text
        n = len(choice.logprobs.tokens)
        assert choice.logprobs.token_logprobs == pytest.approx(one.logprobs[:n], abs=1e-4)
    stream = client.completions.create(prompt="Returns", stream=True, **asked)
    assert "".join(event.choices[0].text for event in stream) == completion.choices[0].text


def test_the_openai_client_chats(client):
    openai = extra("openai", "clients")
    messages = [{"role": "user", "content": "Hello"}]
    asked = {"model": "checkpoint", "messages": messages, "max_completion_tokens": 30, "seed": 1}
    answer = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    assert len(answer.choices[0].logprobs.content) == answer.usage.completion_tokens
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *events, last = client.chat.completions.create(**asked, **options)
    text = "".join(event.choices[0].delta.content or "" for event in events)
    assert text == answer.choices[0].message.content and last.usage == answer.usage
    with pytest.raises(openai.BadRequestError, match="tools is not supported here"):
        client.chat.completions.create(**asked, tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="none").models.list()


def test_instructor_gets_objects(client):
    instructor, pydantic = extra("instructor", "clients"), extra("pydantic", "clients")
    mode = instructor.Mode.JSON_SCHEMA
    asking = instructor.from_openai(client, mode=mode)
    fields = {"age": (int, pydantic.Field(ge=0, le=99)), "likes": (list[bool], pydantic.Field(max_length=2))}
    person = pydantic.create_model("Person", __config__={"extra": "forbid"}, **fields)
    asked = {"model": "checkpoint", "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 80}
    found = [asking.create(response_model=person, seed=seed, max_retries=0, **asked) for seed in range(4)]
    assert all(0 <= one.age <= 99 and len(one.likes) <= 2 for one in found)
    assert len({str(one) for one in found}) > 1


def test_lm_eval_gets_the_numbers_of_our_own_harness(url, checkpoint, loaded, tmp_path, monkeypatch):
    """Log-likelihoods by echo, rolling ones, and greedy texts."""
    harness = extra("experiments.evaluate.harness", "lm-eval")
    api = extra("lm_eval.models.openai_completions", "lm-eval")
    extra("tenacity", "clients")
    monkeypatch.setenv("OPENAI_API_KEY", TOKEN)
    assert isoflop("export", str(checkpoint), "--out", str(tmp_path / "hf")) == 0
    asking = {"base_url": f"{url}/completions", "model": "checkpoint", "max_retries": 1, "max_length": 257}
    asking |= {"tokenizer_backend": "huggingface", "tokenizer": str(tmp_path / "hf"), "batch_size": 4}
    theirs = api.LocalCompletionsAPI(**asking, add_bos_token=True)
    ours = harness.HarnessModel(loaded)
    pairs = [("The number 3 is", " odd"), ("Grüße ", "an É"), ("A", "b" * 30)]
    requests = [SimpleNamespace(args=pair) for pair in pairs]
    for one, other in zip(theirs.loglikelihood(requests), ours.loglikelihood(requests), strict=True):
        assert one == (pytest.approx(other[0], abs=1e-3), other[1])
    rolling = [SimpleNamespace(args=("Returns the part.",))]
    # It puts the token that begins a text before a window itself.
    assert api.LocalCompletionsAPI(**asking).loglikelihood_rolling(rolling) == pytest.approx(
        ours.loglikelihood_rolling(rolling), abs=1e-3
    )
    until = {"until": ["\n\n"], "max_gen_toks": 12}
    asked = [SimpleNamespace(args=(text, until)) for text, _ in pairs]
    assert theirs.generate_until(asked) == ours.generate_until(asked)

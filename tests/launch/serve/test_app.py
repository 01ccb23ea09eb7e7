"""The server over HTTP, in this process, on an untrained checkpoint that a chat template was put beside."""

import asyncio
import dataclasses
import json

import jsonschema
import pytest

from experiments.evaluate.loaded_model import chat_template, load_model
from experiments.evaluate.tasks.loglikelihood import encode_pair, score_all
from experiments.objective_configs import ExamplesConfig, SFTConfig
from experiments.posttraining.data.conversations import Turn
from models.decoding.constraints import masks
from models.decoding.constraints.constrained_sampling import sample_constrained
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from tests.extras import extra
from tests.tiny_run import isoflop

test_utils = extra("aiohttp.test_utils", "serve")

PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 9}, "ok": {"type": "boolean"}},
    "required": ["age", "ok"],
    "additionalProperties": False,
}
TOKEN = "let me in"


class Client:
    """What a client sends and gets, in a loop of its own."""

    def __init__(self, loaded):
        from launch.serve.app import Server
        from launch.serve.engine import Engine

        self.loop, self.loaded = asyncio.new_event_loop(), loaded
        self.engine = Engine(loaded, 4)
        self.model = loaded.folder.name
        server = test_utils.TestServer(Server(loaded, self.engine, TOKEN).app())
        self.client = test_utils.TestClient(server, loop=self.loop)  # its server cancels handlers, as ours
        self.loop.run_until_complete(self.client.start_server())

    async def send(self, path: str, token: str = TOKEN, **body):
        how = {"headers": {"Authorization": f"Bearer {token}"}}
        async with self.client.post(path, json={"model": self.model, **body}, **how) as response:
            return response.status, await response.read()

    def ask(self, path: str, **body):
        """The answer to a request that is answered."""
        status, content = self.loop.run_until_complete(self.send(path, **body))
        assert status == 200, content
        return json.loads(content)

    def error(self, path: str, status: int = 400, **body):
        """The error object of one that is not."""
        found, content = self.loop.run_until_complete(self.send(path, **body))
        assert found == status, content
        return json.loads(content)["error"]

    def events(self, path: str, **body):
        """The events of a stream."""
        status, content = self.loop.run_until_complete(self.send(path, stream=True, **body))
        lines = content.decode().split("\n\n")
        assert status == 200 and lines[-2:] == ["data: [DONE]", ""]
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]

    def close(self):
        self.engine.close()
        self.loop.run_until_complete(self.client.close())
        self.loop.close()


COMPLETE, CHAT = "/v1/completions", "/v1/chat/completions"


@pytest.fixture(scope="module")
def client(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", str(run.parents[2] / "cache"))
        loaded = load_model(run)
    examples = ExamplesConfig("conversations", "a.jsonl")
    config = dataclasses.replace(loaded.config, examples=examples, objective=SFTConfig())
    client = Client(dataclasses.replace(loaded, config=config))
    yield client
    client.close()


def sampled(loaded, text: str, seed: int, settings=SamplingSettings(), **more):  # noqa: B008
    prompt = [1, *loaded.vocab.encode(text)]
    how = {"max_tokens": 9, "eos_id": 1, "token_bytes": loaded.token_bytes()} | more
    return sample(loaded.model, loaded.params, [prompt], [seed], settings, **how)[0]


def test_a_completion_is_what_the_library_samples(client):
    shape = {"temperature": 0.8, "top_p": 0.9, "presence_penalty": 0.4, "logit_bias": {"100": 2, "7": -100}}
    body = {"prompt": "Ab", "n": 2, "max_tokens": 9, "seed": 7, "logprobs": 2}
    answer = client.ask(COMPLETE, **body, **shape)
    bias = ((100, 2.0), (7, float("-inf")))
    settings = SamplingSettings(0.8, top_p=0.9, presence_penalty=0.4, logit_bias=bias)
    expected = sampled(client.loaded, "Ab", 7, settings, n=2, top_logprobs=2)
    said = client.loaded.token_bytes()
    assert (answer["object"], answer["model"]) == ("text_completion", client.model)
    n_said = sum(len(one.tokens) for one in expected)
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": n_said, "total_tokens": 3 + n_said}
    for j, (choice, one) in enumerate(zip(answer["choices"], expected, strict=True)):
        assert (choice["index"], choice["text"]) == (j, one.text)
        assert choice["finish_reason"] == {"eos": "stop", "length": "length"}[one.finish]
        logprobs = choice["logprobs"]
        assert logprobs["token_logprobs"] == pytest.approx(one.logprobs, abs=1e-4)
        for token, spelled, top, likeliest in zip(
            one.tokens, logprobs["tokens"], logprobs["top_logprobs"], one.top, strict=True
        ):
            assert spelled == (said[token].decode() if said[token].isascii() else f"bytes:\\x{token - 3:02x}")
            assert top[spelled] <= max(top.values()) == pytest.approx(likeliest[0][1], abs=1e-4)
            assert len(top) in (2, 3)


def test_prompts_are_texts_or_tokens_one_or_several(client):
    body = {"max_tokens": 5, "seed": 3}
    [one] = client.ask(COMPLETE, prompt="Ab", **body)["choices"]
    several = client.ask(COMPLETE, prompt=["x", "Ab"], n=2, **body)["choices"]
    [ids] = client.ask(COMPLETE, prompt=[1, 68, 101], **body)["choices"]
    pair = client.ask(COMPLETE, prompt=[[1], [1, 68, 101]], **body)["choices"]
    assert one["text"] == several[2]["text"] == ids["text"] == pair[1]["text"]
    assert [choice["index"] for choice in several] == [0, 1, 2, 3]
    assert several[2]["text"] != several[3]["text"]
    assert client.ask(COMPLETE, prompt="", **body)["usage"]["prompt_tokens"] == 1


def test_a_request_in_company_says_what_it_says_alone(client):
    """Bit for bit, log-probabilities included, with others of other lengths, settings and forms beside it."""
    asked = {"prompt": "Returns", "seed": 5, "max_tokens": 20, "logprobs": 5, "temperature": 0.9}
    alone = client.ask(COMPLETE, **asked)

    async def together():
        others = [
            client.send(COMPLETE, prompt="x" * i, seed=i, max_tokens=3 * i, temperature=0.1 * i)
            for i in range(1, 7)
        ]
        others.append(client.send(COMPLETE, prompt="J", max_tokens=25, seed=1, response_format=OF_PERSON))
        waiting = [asyncio.ensure_future(other) for other in others]
        await asyncio.sleep(0.02)
        status, content = await client.send(COMPLETE, **asked)
        assert [(await one)[0] for one in waiting] == [200] * 7 and status == 200
        return json.loads(content)

    for _ in range(2):
        assert client.loop.run_until_complete(together())["choices"] == alone["choices"]
    assert client.engine.n_open == 0


@pytest.mark.parametrize("path", [COMPLETE, CHAT])
def test_a_stream_is_the_answer_in_pieces(client, path):
    asked = {"prompt": "Ab", "logprobs": 2, "echo": True} if path == COMPLETE else {"logprobs": True}
    asked |= {} if path == COMPLETE else {"messages": [{"role": "user", "content": "2?"}], "top_logprobs": 2}
    asked |= {"n": 2, "max_tokens": 20, "seed": 11, "stop": ["~", "zz"]}
    whole = client.ask(path, **asked)
    *events, last = client.events(path, **asked, stream_options={"include_usage": True})
    assert last["choices"] == [] and last["usage"] == whole["usage"]
    assert len(events) > 2 and len({event["id"] for event in events}) == 1
    for choice in whole["choices"]:
        own = [c for event in events for c in event["choices"] if c["index"] == choice["index"]]
        assert [one["finish_reason"] for one in own] == [None] * (len(own) - 1) + [choice["finish_reason"]]
        if path == CHAT:
            assert own[0]["delta"] == {"role": "assistant", "content": ""}
            assert "".join(one["delta"]["content"] for one in own) == choice["message"]["content"]
            logprobs = [entry for one in own if one["logprobs"] for entry in one["logprobs"]["content"]]
            assert logprobs == choice["logprobs"]["content"]
        else:
            assert "".join(one["text"] for one in own) == choice["text"]
            for name, values in choice["logprobs"].items():
                assert [value for one in own for value in one["logprobs"][name]] == values


def test_a_chat_is_rendered_by_the_checkpoints_template(client):
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}
    parts = user | {"content": [{"type": "text", "text": "2 + "}, {"type": "text", "text": "2?"}]}
    asked = {"seed": 2, "logprobs": True, "max_completion_tokens": 6}
    answer = client.ask(CHAT, messages=[system, user], **asked)
    template = chat_template(client.loaded)
    prompt = template.prompt((Turn("system", "Be brief."), Turn("user", "2 + 2?"))).tolist()
    [expected] = client.ask(COMPLETE, prompt=prompt, seed=2, max_tokens=6, logprobs=0)["choices"]
    [choice] = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": expected["text"], "refusal": None}
    logprobs = [one["logprob"] for one in choice["logprobs"]["content"]]
    assert logprobs == expected["logprobs"]["token_logprobs"]
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    assert client.ask(CHAT, messages=[system, parts], **asked)["choices"] == answer["choices"]
    # Without max_tokens an answer may fill the context.
    whole = client.ask(CHAT, messages=[user], seed=2, logit_bias={"1": -100})
    assert whole["usage"]["total_tokens"] == client.loaded.config.seq_len


def test_the_scores_of_an_echo_are_our_own(client):
    """As lm-eval asks for log-likelihoods: the prompt back, one token more, greedy or not by its top."""
    context, continuation = "Returns", " the part"
    body = {"echo": True, "max_tokens": 1, "temperature": 0, "seed": 0}
    [choice] = client.ask(COMPLETE, prompt=context + continuation, logprobs=1, **body)["choices"]
    assert choice["text"].startswith(context + continuation)
    logprobs, row = choice["logprobs"], encode_pair(client.loaded.vocab, context, continuation)
    begin = len(row.context) - 1  # without the token that begins a document
    [ours] = score_all(client.loaded.model, client.loaded.params, [row])
    assert sum(logprobs["token_logprobs"][begin:-1]) == pytest.approx(ours.logprob, abs=1e-4)
    tops = list(zip(logprobs["token_logprobs"], logprobs["top_logprobs"]))[begin:-1]
    assert all(nats == max(top.values()) for nats, top in tops) == ours.greedy
    assert logprobs["text_offset"] == list(range(len(context + continuation) + 1))
    ids = {"prompt": [1, 68, 101], "logprobs": 1, "echo": True, "max_tokens": 0}
    [scored] = client.ask(COMPLETE, **ids)["choices"]
    assert (scored["text"], scored["finish_reason"]) == ("Ab", "length")
    assert scored["logprobs"]["token_logprobs"][0] is scored["logprobs"]["top_logprobs"][0] is None
    assert len(scored["logprobs"]["tokens"]) == 3
    assert client.ask(COMPLETE, **ids)["usage"]["completion_tokens"] == 0


OF_PERSON = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}


def test_a_response_format_holds(client):
    asked = {"prompt": "", "response_format": OF_PERSON, "max_tokens": 30, "seed": 4, "n": 3}
    for choice in client.ask(COMPLETE, **asked)["choices"]:
        jsonschema.validate(json.loads(choice["text"]), PERSON)
        assert choice["finish_reason"] == "stop"
    chat = {"messages": [{"role": "user", "content": "?"}], "response_format": {"type": "json_object"}}
    [free] = client.ask(CHAT, **chat, seed=1, max_tokens=20)["choices"]
    assert free["message"]["content"].startswith("{")
    refused = OF_PERSON | {"json_schema": {"schema": {"type": "object", "if": {}}}}
    error = client.error(COMPLETE, prompt="", response_format=refused)
    assert error["param"] == "response_format" and "if" in error["message"]


@pytest.mark.slow
def test_a_response_format_is_what_constrained_sampling_draws(client):
    asked = {"prompt": "", "response_format": OF_PERSON, "max_tokens": 30, "seed": 4, "n": 3}
    loaded, vocabulary = client.loaded, masks.Vocabulary(client.loaded.token_bytes(), 1)
    [expected] = sample_constrained(
        *(loaded.model, loaded.params, [[1]], [4], SamplingSettings()),
        [masks.json_schema(PERSON, vocabulary)],
        n=3,
        max_tokens=30,
    )
    texts = [choice["text"] for choice in client.ask(COMPLETE, **asked)["choices"]]
    assert texts == [one.text for one in expected]


def test_who_has_no_token_and_what_is_not_there_get_error_objects(client):
    error = client.error(COMPLETE, 401, prompt="A", token="let me out")
    assert error == {
        "message": "no such token; send it as your API key",
        "type": "authentication_error",
        "param": None,
        "code": "invalid_api_key",
    }
    assert client.error("/v1/embeddings", 404)["type"] == "not_found_error"
    assert client.error(COMPLETE, 404, prompt="A", model="gpt")["code"] == "model_not_found"
    assert client.error(COMPLETE, prompt="A" * 40)["code"] == "context_length_exceeded"
    assert client.error(COMPLETE, prompt=[259])["message"] == "prompt: the vocabulary is 0 to 258"
    assert client.error(CHAT, messages=[{"role": "user", "content": "\x06"}])["param"] == "messages"
    assert client.error(COMPLETE, tools=[{}])["param"] == "tools"

    async def raw(data: bytes, kind: str):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        async with client.client.post(COMPLETE, data=data, headers=headers) as response:
            return response.status, (await response.json())["error"]["message"]

    status, message = client.loop.run_until_complete(raw(b"{", "application/json"))
    assert status == 400 and message.startswith("the body is no JSON")
    status, message = client.loop.run_until_complete(raw(b"{}", "application/json; charset=nope"))
    assert status == 400 and message.startswith("the body is no JSON")
    status, message = client.loop.run_until_complete(raw(b"{}", "text/plain"))
    assert status == 400 and "send application/json" in message

    async def models():
        async with client.client.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            return await response.json()

    [model] = client.loop.run_until_complete(models())["data"]
    assert (model["id"], model["object"]) == (client.model, "model")


def test_a_request_that_bans_every_token_is_refused_and_others_are_answered(client):
    async def both():
        bans = {str(token): -100 for token in range(259)}
        asked = [{"prompt": "A", "max_tokens": 20, "seed": 1}, {"prompt": "A", "logit_bias": bans}]
        return await asyncio.gather(*(client.send(COMPLETE, **body) for body in asked))

    (status, _), (refused, answer) = client.loop.run_until_complete(both())
    assert (status, refused) == (200, 400) and json.loads(answer)["error"]["param"] == "logit_bias"


def test_what_goes_wrong_inside_is_logged_and_not_shown(client, capsys, monkeypatch):
    def broken(*_):
        raise KeyError("a secret")

    monkeypatch.setattr(client.engine, "_echo", broken)
    error = client.error(COMPLETE, 500, prompt="A", echo=True)
    assert error["type"] == "server_error" and "secret" not in error["message"]
    assert "a secret" in capsys.readouterr().err


def test_a_client_that_leaves_frees_its_rows(client):
    async def leave(stream: bool):
        body = {"prompt": "A", "n": 4, "max_tokens": 25, "logit_bias": {"1": -100}, "stream": stream}
        waiting = [asyncio.ensure_future(client.send(COMPLETE, **body)) for _ in range(30)]
        while client.engine.n_open < 100:
            await asyncio.sleep(0.001)
        for one in waiting:
            one.cancel()
        for _ in range(2000):
            if not client.engine.n_open:
                return
            await asyncio.sleep(0.001)

    for stream in (False, True):
        client.loop.run_until_complete(leave(stream))
        assert client.engine.n_open == 0
    assert len(client.ask(COMPLETE, prompt="A", max_tokens=2)["choices"]) == 1


def test_a_client_that_is_gone_before_its_answer_begins_is_no_error(client, monkeypatch):
    from launch.serve import app  # here: aiohttp is an extra

    async def gone(*_):
        raise ConnectionResetError

    async def nothing():
        for piece in ():
            yield piece

    monkeypatch.setattr(app.web.StreamResponse, "prepare", gone)
    client.loop.run_until_complete(app._stream(None, None, None, nothing(), 0))  # type: ignore[arg-type]


def test_other_hosts_need_a_token(run, capsys, monkeypatch):
    monkeypatch.delenv("ISOFLOP_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "10.0.0.7", "example.org"):
        assert isoflop("serve", str(run), "--host", host) == 2
        assert "without a token" in capsys.readouterr().err
    assert isoflop("serve", str(run), "--port", "70000") == 2
    assert isoflop("serve", str(run), "--max_batch", "0") == 2
    assert isoflop("serve", str(run), "--max_batch", "1e8") == 2  # which no memory holds

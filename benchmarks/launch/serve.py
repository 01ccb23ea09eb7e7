"""What a server costs: tokens per CPU second and per second, by HTTP and by `models.decoding` itself.

    python -m benchmarks.launch.serve

One process has it all: engine, HTTP server and clients, so CPU seconds count the clients, too. Rounds of the
two ways alternate, and medians are printed, as the machine may have other work.
"""

import asyncio
import dataclasses
import json
import statistics
import time
from pathlib import Path

import jax
from aiohttp import test_utils

import models
from experiments.config import DataConfig
from experiments.data.vocab import ByteVocab
from experiments.evaluate.loaded_model import LoadedModel, placeholder_run
from launch.serve.app import Server
from launch.serve.engine import Engine
from models import ladder
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings

N_TOKENS, ROUNDS = 128, 5
SETTINGS = SamplingSettings(0.8, top_p=0.9, logit_bias=((1, float("-inf")),))


def main(d_model: int = 128) -> None:
    config = ladder(d_model, 259)
    model = models.build(config)
    params = jax.jit(model.init)(jax.random.key(0))
    run = dataclasses.replace(placeholder_run(config, DataConfig(), 256), seed=0)
    loaded = LoadedModel(Path("untrained"), run, model, params, ByteVocab())
    engine, loop = Engine(loaded, 8), asyncio.new_event_loop()
    server = test_utils.TestServer(Server(loaded, engine, None).app())
    client = test_utils.TestClient(server, loop=loop)
    loop.run_until_complete(client.start_server())

    def by_library(n: int, max_tokens: int) -> None:
        prompts = [[1, *ByteVocab().encode(f"Returns the {i}")] for i in range(n)]
        how = {"max_tokens": max_tokens, "eos_id": 1, "context": 256, "token_bytes": loaded.token_bytes()}
        sample(model, params, prompts, range(n), SETTINGS, **how)

    async def request(i: int, max_tokens: int, stream: bool) -> None:
        body = {"model": "untrained", "prompt": f"Returns the {i}", "seed": i, "max_tokens": max_tokens}
        body |= {"temperature": 0.8, "top_p": 0.9, "logit_bias": {"1": -100}, "stream": stream}
        async with client.post("/v1/completions", json=body) as response:
            content = await response.read()
            assert response.status == 200
            if not stream:
                assert json.loads(content)["usage"]["completion_tokens"] == max_tokens

    def by_http(n: int, max_tokens: int, stream: bool = False) -> None:
        async def together():
            await asyncio.gather(*(request(i, max_tokens, stream) for i in range(n)))

        loop.run_until_complete(together())

    def streamed(n: int, max_tokens: int) -> None:
        by_http(n, max_tokens, True)

    ways = {"library": by_library, "http": by_http, "http, stream": streamed}
    for n, max_tokens in ((1, N_TOKENS), (8, N_TOKENS), (1, 1)):
        taken = {name: [] for name in ways}
        for turn in range(ROUNDS + 1):
            for name, way in ways.items():
                began = time.perf_counter(), time.process_time()
                way(n, max_tokens)
                if turn:  # the first one compiles
                    taken[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        print(f"{n} clients, {max_tokens} tokens each, {size:,} parameters")
        for name, pairs in taken.items():
            wall, cpu = (statistics.median(values) for values in zip(*pairs))
            rates = f"{n * max_tokens / wall:8.0f} tokens/s {n * max_tokens / cpu:8.0f} a CPU second"
            print(f"  {name:13} {rates} {1e3 * wall:8.1f} ms {1e3 * cpu:8.1f} ms CPU")
    engine.close()
    loop.run_until_complete(client.close())


if __name__ == "__main__":
    main()

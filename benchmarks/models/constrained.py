"""Constrained sampling: are all texts valid, and what do the masks cost?

    python -m benchmarks.models.constrained [--schemas 200]

1. Documents of schemas made by hypothesis, from an untrained model at temperature 1, checked by jsonschema.
2. A model of about 30M parameters (8 layers, width 512, float32) with a vocabulary of 32,768 tokens writes
   JSON of a schema. `share` is the host's time for the masks, which it makes while the device works, as a
   part of a step: what they would cost at most. `overhead` is how much longer a step takes than without
   making them, both in turns in one run (fastest of the rounds).
"""

import argparse
import functools
import json
import time

import hypothesis
import jax
import jsonschema
import numpy as np

import models
from models import ladder
from models.configs.published import llama
from models.decoding.constraints.constrained_sampling import sample_constrained
from models.decoding.constraints.masks import Constraint, Progress, Vocabulary, json_schema
from models.decoding.settings import SamplingSettings
from tests.models.decoding.made_schemas import SCHEMAS

EOS, BYTES = 1, [b"", b"", b""] + [bytes([i]) for i in range(256)]
VOCABULARY, NEW = 32_768, 128
RECORDS = {
    "type": "array",
    "minItems": 40,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Z][a-z]{2,12}( [A-Z][a-z]{2,12})?$"},
            "kind": {"enum": ["alpha", "beta", "gamma"]},
            "size": {"type": "integer", "minimum": 0, "maximum": 100_000},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 4},
        },
        "required": ["name", "kind", "size"],
        "additionalProperties": False,
    },
}


def made_schemas(n: int) -> list:
    """The first n different schemas that hypothesis makes, always the same."""
    found: dict[str, object] = {}

    generate, unchecked = [hypothesis.Phase.generate], list(hypothesis.HealthCheck)
    rules = {"phases": generate, "suppress_health_check": unchecked, "deadline": None, "database": None}

    @hypothesis.settings(max_examples=4 * n, derandomize=True, **rules)
    @hypothesis.given(SCHEMAS)
    def collect(schema):
        found.setdefault(json.dumps(schema), schema)

    collect()
    return list(found.values())[:n]


def validity(n: int) -> dict:
    """How many of two documents of each schema are valid."""
    vocabulary, schemas = Vocabulary(BYTES, EOS), made_schemas(n)
    constraints = [json_schema(schema, vocabulary) for schema in schemas]
    model = models.build(ladder(16, len(BYTES), "rwkv7"))  # whose steps cost the same however long the text
    params, valid = jax.jit(model.init)(jax.random.key(0)), 0
    began = time.perf_counter()
    samples = sample_constrained(
        model,
        params,
        [[EOS]] * n,
        range(n),
        SamplingSettings(),
        constraints,
        n=2,
        max_tokens=10_000,
        width=512,
    )
    seconds = time.perf_counter() - began
    for schema, two in zip(schemas, samples):
        for one in two:
            check = jsonschema.Draft202012Validator(schema)
            valid += one.finish == "eos" and check.is_valid(json.loads(one.text))
    tokens = [len(one.tokens) for two in samples for one in two]
    return {
        "schemas": n,
        "documents": len(tokens),
        "valid": valid,
        "tokens": {"median": float(np.median(tokens)), "most": max(tokens)},
        "seconds": seconds,
    }


def vocabulary_of(n: int) -> Vocabulary:
    """All bytes and n other tokens of two to twelve letters, with and without a space, and JSON's own."""
    rng = np.random.default_rng(0)
    words = {b'{"', b'":', b'", "', b'"}', b"}, ", b"null", b"true", b"false"}
    while len(words) < n - len(BYTES):
        letters = bytes(rng.choice(list(b"etaoinshrdlucmfwypvbgkjqxz"), rng.integers(2, 12)))
        words.add(letters if rng.random() < 0.5 else b" " + letters.title())
    return Vocabulary([*BYTES, *sorted(words)], EOS)


def overhead(batch: int, rounds: int = 7) -> dict:
    """Seconds a token with masks and without making them, and the host's time for them."""
    vocabulary = vocabulary_of(VOCABULARY)
    began = time.perf_counter()
    constraint = json_schema(RECORDS, vocabulary)
    compiling = time.perf_counter() - began
    model = models.build(llama(512, 8, 8, 1376, VOCABULARY))
    params = jax.jit(model.init)(jax.random.key(0))
    run = functools.partial(
        sample_constrained, model, params, [[EOS] * 32] * batch, range(batch), SamplingSettings()
    )
    spent = {"masks": 0.0}

    class Timed(Progress):
        """Measures itself."""

        def allowed(self, masks, row):
            since = time.perf_counter()
            super().allowed(masks, row)
            spent["masks"] += time.perf_counter() - since

        def take(self, token):
            since = time.perf_counter()
            super().take(token)
            spent["masks"] += time.perf_counter() - since

    class Free(Progress):
        """Allows everything at once."""

        def allowed(self, masks, row): ...
        def take(self, token): ...

    class Measured(Constraint):
        """Begins texts of that kind."""

        kind = Progress

        def start(self):
            return self.kind(self.start_matcher.deep_copy())

    measured = Measured(vocabulary, constraint.start_matcher)
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    masks: list[float] = []
    for i in range(rounds + 1):  # the first compiles
        for name, kind in (("with", Timed), ("without", Free)):
            Measured.kind = kind
            spent["masks"] = 0.0
            since = time.perf_counter()
            samples = run([measured] * batch, max_tokens=NEW)
            if i:
                steps = max(len(one.tokens) for [one] in samples)
                seconds[name].append((time.perf_counter() - since) / steps)
                if name == "with":
                    masks.append(spent["masks"] / steps)
    a, b = (min(seconds[name]) for name in ("with", "without"))
    return {
        "vocabulary": VOCABULARY,
        "batch": batch,
        "ms_a_step": 1e3 * a,
        "ms_a_step_without_masks": 1e3 * b,
        "ms_of_masks_while_the_device_works": 1e3 * min(masks),
        "share": min(masks) / a,
        "overhead": a / b - 1,
        "compiling_ms": 1e3 * compiling,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--schemas", type=int, default=200)
    arguments = parser.parse_args()
    for batch in (1, 8):
        print(json.dumps(overhead(batch)), flush=True)
    print(json.dumps(validity(arguments.schemas)), flush=True)


if __name__ == "__main__":
    main()

"""Supervised fine-tuning: the loss of responses alone, the same packed or not and in however many parts."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from experiments.config import Recipe
from experiments.data.vocab import ByteVocab
from experiments.objective_configs import ExamplesConfig, GoldConfig, InitConfig, SFTConfig
from experiments.posttraining import sft
from experiments.posttraining.data.chat_template import default_template
from experiments.posttraining.data.conversations import Turn
from experiments.posttraining.data.demonstrations import open_demonstrations
from experiments.posttraining.data.examples import Examples, RaggedColumn
from experiments.posttraining.data.packing import last_responses, pack
from experiments.training.gradients import gradients
from models import ladder
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings
from tests.tiny_run import make_training_cache, training_config

SFT = Recipe(SFTConfig())
T = 24


def examples_of(lengths, seed=0):
    """Random conversations: a prompt of a third, the rest responses."""
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *lengths])
    tokens = rng.integers(3, 50, offsets[-1]).astype(np.int32)
    mask = np.concatenate([np.arange(n) >= max(1, n // 3) for n in lengths]).astype(np.uint8)
    return Examples({"tokens": RaggedColumn(tokens, offsets), "mask": RaggedColumn(mask, offsets)}, {})


def network(family="transformer"):
    """A small network with its parameters."""
    model = models.build(ladder(16, 50, family))
    return model, model.init(jax.random.key(1))


def alone(examples, i, weight_by="token"):
    """A batch of one example in its own row, padded."""
    one = Examples(
        {
            name: RaggedColumn(column[i], np.array([0, len(column[i])]))
            for name, column in examples.columns.items()
        },
        {},
    )
    return pack(one, T, weight_by).batch(np.array([0]))


def pad_rows(batch, n):
    """The batch with rows of padding, so that one program serves."""
    return jax.tree.map(lambda x: np.pad(x, ((0, n - len(x)), (0, 0))), batch)


def jitted(objective):
    return jax.jit(lambda params, batch: objective.loss(params, batch, {}))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "family", ["transformer", *(pytest.param(name, marks=SLOW) for name in ("moe", "rwkv4", "rwkv7"))]
)
def test_packed_rows_have_the_loss_of_their_conversations_alone(family):
    model, params = network(family)
    objective = sft.objective(model, SFT)
    measure = jax.jit(lambda batch: objective.measure(params, batch, {}, {}))
    examples = examples_of([9, 14, 5, 20, 7, 11])
    rows = pack(examples, T)
    assert len(rows) < len(examples)
    packed = measure(rows.batch(np.arange(len(rows))))
    separate = [measure(pad_rows(alone(examples, i), len(rows))) for i in range(len(examples))]
    weights = np.concatenate([each["weight"] for each in separate])
    assert packed["weight"].sum() == weights.sum() == rows.n_weighted
    for name in ("loss", "accuracy"):
        values = np.concatenate([each[name] for each in separate])
        together = (packed["weight"] * packed[name]).sum() / packed["weight"].sum()
        np.testing.assert_allclose(together, (weights * values).sum() / weights.sum(), atol=1e-5)


def test_loss_by_hand():
    """A network that knows nothing: log V a response token; prompts and padding weigh nothing."""
    model, params = network()
    params = jax.tree.map(jnp.zeros_like, params)
    batch = pack(examples_of([9, 6]), T).batch(np.array([0, -1]))
    loss, (weight, measured) = jitted(sft.objective(model, SFT))(params, batch)
    assert weight == 6 + 4
    np.testing.assert_allclose([loss, measured["loss"]], math.log(50), rtol=1e-6)


def test_only_responses_are_learned():
    """The gradient of the logits is zero wherever the next token is not a response's."""
    model, params = network()
    batch = pack(examples_of([9, 6, 20]), T).batch(np.array([0, 1]))
    shape = (2, T, 50)

    def loss(added_BTV):
        bent = dataclasses.replace(model, logits=lambda params, x: model.logits(params, x) + added_BTV)
        return sft.objective(bent, SFT).loss(params, batch, {})[0]

    gradient_BTV = np.asarray(jax.jit(jax.grad(loss))(jnp.zeros(shape)))
    touched = np.abs(gradient_BTV).sum(axis=-1) > 0
    np.testing.assert_array_equal(touched, np.asarray(batch["weights"][:, 1:]) > 0)


def test_parts_of_unequal_weight_give_the_gradient_of_the_whole_batch():
    model, params = network()
    objective = sft.objective(model, SFT)
    rows = pack(examples_of([24, 3, 20, 4, 22, 2, 17, 9]), T)
    batch = rows.batch(np.array([0, 1, 2, -1]))  # the last part is padding alone
    weights = np.asarray(batch["weights"]).sum(axis=1)
    assert len(set(weights.tolist())) == 4

    def in_parts(n):
        return jax.jit(lambda: gradients(lambda p, b: objective.loss(p, b, {}), params, batch, n))()

    whole, measured = in_parts(1)
    parts, also = in_parts(4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), parts, whole)
    np.testing.assert_allclose(also["loss"], measured["loss"], rtol=1e-6)
    assert np.isfinite(also["accuracy"])


def test_by_example_each_conversation_counts_alike():
    model, params = network()
    loss = jitted(sft.objective(model, SFT))
    examples = examples_of([20, 4, 11])
    rows = pack(examples, T, "example")
    together = rows.batch(np.arange(len(rows)))
    assert len(together["tokens"]) == 2
    each = [loss(params, pad_rows(alone(examples, i), 2))[0] for i in range(3)]
    np.testing.assert_allclose(loss(params, together)[0], np.mean(each), atol=1e-5)


def conversations(*turns):
    """Examples from (prompt, response, prompt, response, …), lists of tokens."""
    tokens = [np.concatenate(each) for each in turns]
    mask = [np.concatenate([np.full(len(x), k % 2) for k, x in enumerate(each)]) for each in turns]
    offsets = np.cumsum([0, *map(len, tokens)])
    columns = {
        "tokens": np.concatenate(tokens).astype(np.int32),
        "mask": np.concatenate(mask).astype(np.uint8),
    }
    return Examples({name: RaggedColumn(values, offsets) for name, values in columns.items()}, {})


WITH_SOURCE = conversations(
    ([7, 8, 9], [11, 12, 1]),
    ([7, 9], [13, 1], [20], [14, 15, 16, 1]),  # of two responses the last
    ([8], [17, 1]),
    ([9, 9, 8, 7, 7], [18, 12, 12, 1]),
)


@pytest.mark.parametrize("family", ["encdec", pytest.param("rnn", marks=SLOW)])
def test_an_encoder_reads_what_comes_before_the_last_response_and_the_decoder_says_it(family):
    """By hand, row by row and without padding; the decoder begins with the prompt's last token."""
    model, params = network(family)
    rows = pack(last_responses(WITH_SOURCE), T, alone=True)
    assert len(rows) == 4 and rows.n_weighted == 3 + 4 + 2 + 4
    batch = pad_rows(rows.batch(np.arange(4)), 5)
    expected, right = [], []
    for i, n_said in enumerate((3, 4, 2, 4)):
        tokens = WITH_SOURCE.columns["tokens"][i]
        start = len(tokens) - n_said - 1
        logits_TV = model.apply(params, tokens[None, start:-1], source_BS=tokens[None, : max(start, 1)])[0]
        logps_TV = np.asarray(jax.nn.log_softmax(logits_TV))
        expected += [-logps_TV[np.arange(n_said), tokens[start + 1 :]]]
        right += [logps_TV.argmax(axis=1) == tokens[start + 1 :]]
    objective = sft.objective(model, SFT)
    loss, (weight, measured) = jitted(objective)(params, batch)
    assert weight == 13 and float(loss) == pytest.approx(np.concatenate(expected).mean(), rel=1e-5)
    assert float(measured["accuracy"]) == pytest.approx(np.concatenate(right).mean())
    shown = jax.jit(objective.measure)(params, batch, {}, {})
    np.testing.assert_allclose(shown["loss"][:4], [each.mean() for each in expected], rtol=1e-5)
    np.testing.assert_array_equal(shown["weight"], [3, 4, 2, 4, 0])


def test_a_network_with_an_encoder_learns_to_answer_as_it_is_asked_later():
    model, params = network("encdec")
    batch = pack(last_responses(WITH_SOURCE), T, alone=True).batch(np.arange(4))
    objective, optimizer = sft.objective(model, SFT), optax.adam(0.02)

    def step(state, _):
        params, opt_state = state
        gradient = jax.grad(lambda params: objective.loss(params, batch, {})[0])(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    run = jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), length=150)[0][0])
    prompts, said = zip(
        *(
            (list(c[:-n]), tuple(c[-n:]))
            for c, n in zip(map(WITH_SOURCE.columns["tokens"].__getitem__, range(4)), (3, 4, 2, 4))
        )
    )
    found = sample(model, run(params), prompts, [0] * 4, SamplingSettings(0), max_tokens=6, eos_id=1)
    assert [one.tokens for [one] in found] == list(said)


def test_validation_reads_every_row_once():
    rows = pack(examples_of([20] * 7), T)
    batches = sft.validation_batches(rows, 3, 10**9)
    assert [len(batch["tokens"]) for batch in batches] == [3, 3, 3]
    assert sum(batch["weights"].sum() for batch in batches) == rows.n_weighted
    assert sft.validation_batches(rows, 3, 4 * T)[1]["segments"].any(axis=1).tolist() == [True, False, False]
    assert len(sft.validation_batches(rows, 1, 1)) == 2


@pytest.fixture
def conversations(tmp_path, monkeypatch):
    """A file of 200 conversations, and a cache for them."""
    monkeypatch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path / "cache"))
    lines = [
        {"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"{i}!"}]}
        for i in range(200)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ExamplesConfig("conversations", str(tmp_path / "a.jsonl"))


def config_of(examples, **changes):
    return training_config(examples=examples, objective=SFTConfig(), init=InitConfig("start"), **changes)


def test_data_are_the_conversations_with_their_masks(conversations):
    data = sft.data(config_of(conversations))
    template = default_template(ByteVocab())
    expected = template.render((Turn("user", "say 7"), Turn("assistant", "7!")))
    found = open_demonstrations(config_of(conversations))
    both = [
        (each["tokens"].tolist(), each["mask"].tolist())
        for split in found.values()
        for each in map(split.__getitem__, range(len(split)))
    ]
    assert len(both) == 200 and (expected[0].tolist(), expected[1].astype(int).tolist()) in both
    splits = data.manifest["splits"]
    assert splits["train"]["n_examples"] + splits["validation"]["n_examples"] == 200
    batch = data.training(0, 3, slice(1, 3))
    whole = data.training(0, 3, slice(None))
    assert batch["tokens"].shape == (2, 17)
    np.testing.assert_array_equal(batch["weights"], whole["weights"][1:3])
    assert data.tokens_an_epoch % 16 == 0 and len(data.manifest["fingerprint"]) == 64


def test_an_error_names_the_line(conversations, tmp_path):
    (tmp_path / "a.jsonl").write_text((tmp_path / "a.jsonl").read_text().replace('say 3"', 'say \\u0005"'))
    with pytest.raises(ValueError, match=r"a\.jsonl:4: a turn has '\\x05' in its text"):
        sft.data(config_of(conversations))


def test_pairs_are_refused(conversations):
    wrong = dataclasses.replace(conversations, task="preferences")
    with pytest.raises(ValueError, match="'preferences'; supervised fine-tuning takes conversations, gold,"):
        sft.data(config_of(wrong))


def test_the_gold_world_gives_demonstrations(conversations):
    world = ExamplesConfig("gold", gold=GoldConfig(n_examples=20))
    one = open_demonstrations(config_of(world))["train"][0]
    assert one["tokens"][-1] == 1 and one["mask"][-1] and not one["mask"][0]
    assert ByteVocab().decode(one["tokens"][~one["mask"]])[-1] in ":?"

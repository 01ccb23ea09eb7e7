"""Two weaknesses of recurrent sequence-to-sequence networks that led to attention, measured.

A decoder that knows the source by the encoder's last hidden state alone gets everything through a vector of
fixed size: the longer the source, the more it forgets (Cho et al. 2014, Bahdanau et al. 2015). And a
recurrence computes one token after another: at equal FLOPs, the chain of products that wait for one another
grows with the length, where a transformer's does not (Vaswani et al. 2017). How much time that costs depends
on how much a machine does at once; two cores are soon busy, an accelerator is not.

Example: python -m experiments.studies.seq2seq_length.study --out out/seq2seq_length --set n_seeds=3

A program of its own and not a list of stages: its strings are drawn as it goes, so there is no corpus, no
vocabulary and no number of tokens for a `RunConfig` to describe; and all seeds train in one compiled program.
Writes accuracy.csv, speed.csv, results.json (settings, conventions, summary, versions) and four figures.
"""

import dataclasses
import functools
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from absl import flags
from scipy import stats

import models
from experiments.data.sources.strings import START, Pairs, Task, draw_pairs
from experiments.fields import apply_overrides, to_json
from experiments.files import write_atomic
from experiments.studies.seq2seq_length import figures
from experiments.studies.seq2seq_length.speed import RNN, TRANSFORMER, measure_speed
from experiments.training.result import PACKAGES, describe_device
from models import RNNConfig, TransformerConfig
from models.attention_maps import attention_maps
from models.families.rnn import alignments

WITH, WITHOUT = "with attention", "without attention"
LEVEL = 0.9

CONVENTIONS = {
    "length": "symbols of the source; the target has as many",
    "token_accuracy": "fraction of the target's symbols that greedy decoding gets right, each in its place",
    "sequence_accuracy": "fraction of targets that it gets right from end to end",
    "lo, hi of accuracies": f"{LEVEL:.0%} interval of the mean over seeds (Student's t), cut at 0 and 1",
    "seconds": "one training step: loss, gradient and Adam's update; median of the repeats",
    "lo, hi of seconds": "fastest and slowest repeat",
    "products_in_line": "longest chain of matrix products in a gradient, each of which needs the one before",
    "flops": "matrix products of one training step, forward and backward, by models.count",
}


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change; the numbers suit two CPU cores and six minutes.

    Training strings have 1 to `train_length` symbols, equally often. The maps are those of strings of
    `map_length`. Steps are timed as `seq2seq_speed` says, for an RNN of `speed_layers` layers a side.
    """

    task: Task = "reverse"
    n_symbols: int = 26
    cell: Literal["gru", "lstm"] = "lstm"
    d_model: int = 64
    train_length: int = 20
    test_lengths: tuple[int, ...] = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
    batch_size: int = 32
    n_steps: int = 3000
    lr: float = 5e-3
    n_seeds: int = 5
    n_test: int = 200
    map_length: int = 12
    map_steps: int = 1000
    speed_d_model: int = 64
    speed_layers: int = 2
    speed_lengths: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    step_tokens: int = 1024
    repeats: int = 15
    seed: int = 0


# --- training and decoding --------------------------------------------------------------------------------


def pairs_loss(model: models.Model, params: Any, pairs: Pairs) -> jax.Array:
    """Mean cross-entropy of the targets' symbols, nats."""
    logits_BTV = model.apply(params, pairs.inputs_BS, source_BS=pairs.source_BS, source_mask_BS=pairs.mask_BS)
    losses_BT = optax.softmax_cross_entropy_with_integer_labels(logits_BTV, pairs.target_BS)
    return jnp.sum(losses_BT, where=pairs.mask_BS) / pairs.mask_BS.sum()


def rows_loss(model: models.Model, params: Any, pairs: Pairs) -> jax.Array:
    """The same of a decoder-only network that reads the source, START and the target as one row.

    All rows must be of one length.
    """
    n = pairs.source_BS.shape[1]
    logits_BTV = model.apply(params, jnp.concatenate([pairs.source_BS, pairs.inputs_BS], axis=1))
    return optax.softmax_cross_entropy_with_integer_labels(logits_BTV[:, n:], pairs.target_BS).mean()


def fit(key: jax.Array, model: models.Model, loss: Callable, draw: Callable, n_steps: int, lr: float):
    """Trained parameters, and the loss [n_steps]; `draw(key)` makes the pairs of a step."""
    schedule = optax.warmup_cosine_decay_schedule(0, lr, n_steps // 20, n_steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.98))
    key_init, key_data = jax.random.split(key)
    params = model.init(key_init)

    def step(carry, key):
        params, state = carry
        value, grads = jax.value_and_grad(functools.partial(loss, model))(params, draw(key))
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(key_data, n_steps)
    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), keys)
    return params, losses


def decode_greedily(model: models.Model, params: Any, pairs: Pairs) -> jax.Array:
    """The symbols [B,S] that the network writes for these sources, each the likeliest after those before."""
    n_rows, width = pairs.source_BS.shape
    source = {"source_BS": pairs.source_BS, "source_mask_BS": pairs.mask_BS}
    start_B1, ones_B = jnp.full((n_rows, 1), START), jnp.ones(n_rows, jnp.int32)
    logits_BV, cache = model.prefill(params, start_B1, ones_B, width, **source)

    def step(carry, _):
        logits_BV, cache = carry
        token_B = logits_BV.argmax(axis=-1)
        return model.decode(params, token_B, cache), token_B

    _, tokens_SB = jax.lax.scan(step, (logits_BV, cache), length=width)
    return tokens_SB.T


# --- accuracy against length ------------------------------------------------------------------------------


def rnn_config(settings: Settings, attention: bool) -> RNNConfig:
    """One layer a side: the network of the textbooks."""
    return RNNConfig(settings.n_symbols + 1, settings.d_model, 1, cell=settings.cell, attention=attention)


def train_seeds(settings: Settings, config: RNNConfig) -> Any:
    """Parameters of all seeds, stacked; one compiled program trains them side by side."""
    model = models.build(config)

    def draw(key: jax.Array) -> Pairs:
        key_lengths, key_symbols = jax.random.split(key)
        shape, longest = (settings.batch_size,), settings.train_length
        lengths_B = jax.random.randint(key_lengths, shape, 1, longest + 1)
        return draw_pairs(key_symbols, settings.task, lengths_B, longest, settings.n_symbols)

    def one(key: jax.Array):
        return fit(key, model, pairs_loss, draw, settings.n_steps, settings.lr)[0]

    keys = jax.random.split(jax.random.key(settings.seed), settings.n_seeds)
    return jax.jit(jax.vmap(one))(keys)


def measure_accuracy(settings: Settings, config: RNNConfig, params: Any) -> pd.DataFrame:
    """Accuracies of every seed at every length, on strings that all seeds and networks share."""
    model, longest = models.build(config), max(settings.test_lengths)
    lengths_B = jnp.repeat(jnp.array(settings.test_lengths), settings.n_test)
    key = jax.random.key(settings.seed + 1)
    pairs = draw_pairs(key, settings.task, lengths_B, longest, settings.n_symbols)

    @jax.jit
    @jax.vmap
    def accuracies(params):
        wrong_BS = (decode_greedily(model, params, pairs) != pairs.target_BS) & pairs.mask_BS
        by_length = (len(settings.test_lengths), settings.n_test)
        return (
            (1 - wrong_BS.sum(axis=1) / lengths_B).reshape(by_length).mean(axis=1),
            (~wrong_BS.any(axis=1)).reshape(by_length).mean(axis=1),
        )

    token_NL, sequence_NL = jax.device_get(accuracies(params))
    rows = [
        {
            "network": WITH if config.attention else WITHOUT,
            "n_params": models.count(config).n_params,
            "seed": seed,
            "length": length,
            "trained_on": length <= settings.train_length,
            "token_accuracy": float(token_NL[seed, i]),
            "sequence_accuracy": float(sequence_NL[seed, i]),
            "n_rows": settings.n_test,
        }
        for seed in range(settings.n_seeds)
        for i, length in enumerate(settings.test_lengths)
    ]
    return pd.DataFrame(rows)


def summarize(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds with its interval, a row for each network, length and measure."""
    rows = []
    for measure in ("token_accuracy", "sequence_accuracy"):
        for _, group in accuracy.groupby(["network", "length"], sort=False):
            values, first = group[measure].to_numpy(), group.iloc[0]
            n, mean = len(values), float(values.mean())
            reach = stats.t.ppf(0.5 + LEVEL / 2, n - 1) * values.std(ddof=1) / n**0.5 if n > 1 else 0.0
            lo, hi = max(mean - reach, 0.0), min(mean + reach, 1.0)
            row = {"measure": measure, "network": first["network"], "length": int(first["length"])}
            rows.append(row | {"mean": mean, "lo": lo, "hi": hi, "n_seeds": n})
    return pd.DataFrame(rows)


# --- what is attended to ----------------------------------------------------------------------------------


def example(settings: Settings) -> Pairs:
    """The one string of the pictures."""
    lengths_B = jnp.array([settings.map_length])
    key = jax.random.key(settings.seed + 2)
    return draw_pairs(key, settings.task, lengths_B, settings.map_length, settings.n_symbols)


def letters(tokens: jax.Array) -> list[str]:
    """Symbols as letters (as numbers, if they are too many); START as a middle dot."""
    names = "·abcdefghijklmnopqrstuvwxyz"
    return [names[i] if i < len(names) else str(i) for i in tokens.tolist()]


def align_example(settings: Settings, config: RNNConfig, params: Any) -> pd.DataFrame:
    """Weights of the first seed's attention while it writes the example: written, read, weight."""
    pairs, first = example(settings), jax.tree.map(lambda leaf: leaf[0], params)
    written_BS = jax.jit(functools.partial(decode_greedily, models.build(config)))(first, pairs)
    inputs_BS = dataclasses.replace(pairs, target_BS=written_BS).inputs_BS
    weights_BTS = alignments(config, first, inputs_BS, source_BS=pairs.source_BS)
    return long_table(weights_BTS[0], letters(written_BS[0]), letters(pairs.source_BS[0]))


def long_table(weights_TS: jax.Array, written: list[str], read: list[str], **columns: Any) -> pd.DataFrame:
    """A matrix as rows (t, written, s, read, weight); symbols repeat, so places are told apart by number."""
    rows = [
        {"t": t, "written": written[t], "s": s, "read": read[s], "weight": float(weight), **columns}
        for (t, s), weight in np.ndenumerate(np.asarray(weights_TS))
    ]
    return pd.DataFrame(rows)


def map_example(settings: Settings) -> tuple[pd.DataFrame, float]:
    """Self-attention of a small decoder-only transformer trained on "source · target", and its accuracy.

    Queries are the places at which it predicts the target's symbols.
    """
    v, n = settings.n_symbols + 1, settings.map_length
    config = TransformerConfig(v, 64, 2, 4, 4, 16, 128, tied_embeddings=True, embedding_scale=8.0)
    model = models.build(config)

    def draw(key: jax.Array) -> Pairs:
        return draw_pairs(key, settings.task, jnp.full(settings.batch_size, n), n, settings.n_symbols)

    @jax.jit
    def trained(key: jax.Array):
        return fit(key, model, rows_loss, draw, settings.map_steps, 3e-3)[0]

    params, pairs = trained(jax.random.key(settings.seed)), draw(jax.random.key(settings.seed + 1))
    row_BT = jnp.concatenate([pairs.source_BS, pairs.inputs_BS], axis=1)
    right = jax.jit(model.apply)(params, row_BT)[:, n:].argmax(axis=-1) == pairs.target_BS
    shown = example(settings)
    row_1T = jnp.concatenate([shown.source_BS, shown.inputs_BS], axis=1)
    maps_LHTS = jax.jit(functools.partial(attention_maps, config))(params, row_1T)[:, 0, :, n:]
    names = letters(row_1T[0])
    tables = [
        long_table(maps_LHTS[layer, head], letters(shown.target_BS[0]), names, layer=layer + 1, head=head + 1)
        for layer, head in np.ndindex(maps_LHTS.shape[:2])
    ]
    return pd.concat(tables, ignore_index=True), float(right.mean())


# --- the study --------------------------------------------------------------------------------------------


def run(settings: Settings, out: Path) -> dict[str, Any]:
    """Measures, writes tables and figures into the folder `out`, and returns what results.json holds."""
    out.mkdir(parents=True, exist_ok=True)
    since, seconds, tables = time.perf_counter(), {}, []

    def lap(name: str) -> None:
        seconds[name] = round(time.perf_counter() - since - sum(seconds.values()), 1)
        print(f"{name}: {seconds[name]} s", flush=True)

    alignment = pd.DataFrame()
    for attention in (True, False):
        config = rnn_config(settings, attention)
        params = train_seeds(settings, config)
        tables.append(measure_accuracy(settings, config, params))
        if attention:
            alignment = align_example(settings, config, params)
        lap(f"RNN {WITH if attention else WITHOUT}")
    accuracy = pd.concat(tables, ignore_index=True)
    summary = summarize(accuracy)
    maps, map_accuracy = map_example(settings)
    lap("transformer for the maps")
    timed = RNNConfig(
        settings.n_symbols + 1, settings.speed_d_model, settings.speed_layers, cell=settings.cell
    )
    speed = measure_speed(timed, settings.speed_lengths, settings.step_tokens, settings.repeats)
    lap("time of steps")

    results = {
        "settings": to_json(settings),
        "conventions": CONVENTIONS,
        "accuracy": summary.to_dict("records"),
        "speed": speed.to_dict("records"),
        "map_token_accuracy": map_accuracy,
        "seconds": seconds,
        "device": describe_device(jax.devices()[0]),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    write_atomic(out / "accuracy.csv", accuracy.to_csv(index=False))
    write_atomic(out / "speed.csv", speed.to_csv(index=False))
    write_atomic(out / "results.json", json.dumps(results, indent=1) + "\n")
    tokens, chance = summary.loc[summary["measure"] == "token_accuracy"], 1 / settings.n_symbols
    drawn = figures.draw(tokens, settings.train_length, chance, speed, alignment, maps)
    for name, image in drawn.items():
        write_atomic(out / f"{name}.png", image)
    return results


def last_words(results: dict[str, Any]) -> str:
    """The two weaknesses in numbers."""
    settings, lines = results["settings"], []
    trained, beyond = settings["train_length"], max(settings["test_lengths"])
    for row in results["accuracy"]:
        if row["measure"] == "token_accuracy" and row["length"] in (trained, beyond):
            lines.append(
                f"{row['network']}: {row['mean']:.1%} of symbols right at length {row['length']} "
                f"({row['lo']:.1%} to {row['hi']:.1%})"
            )
    speed = pd.DataFrame(results["speed"]).set_index(["network", "length"])
    short, long = min(settings["speed_lengths"]), max(settings["speed_lengths"])
    for name in (RNN, TRANSFORMER):
        first, last = speed.loc[(name, short)], speed.loc[(name, long)]
        lines.append(
            f"{name}: at length {long}, {last['products_in_line']} matrix products in line, and a training "
            f"step takes {last['seconds'] / first['seconds']:.1f} times as long as at {short}"
        )
    return "\n".join(lines)


FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder of the results", flag_values=FLAGS)
flags.DEFINE_multi_string("set", [], "change a setting: FIELD=VALUE; may be repeated", flag_values=FLAGS)


def main(arguments: list[str]) -> int:
    """Runs the study; 2 if the arguments are wrong."""
    try:
        rest = FLAGS(arguments)[1:]
        if rest or not FLAGS.out:
            raise ValueError(f"expected --out DIR [--set FIELD=VALUE …], got {arguments[1:]}")
        settings = apply_overrides(Settings(), FLAGS.set)
    except (ValueError, flags.Error) as error:
        print(f"seq2seq_length: {error}", file=sys.stderr)
        return 2
    print(last_words(run(settings, Path(FLAGS.out))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

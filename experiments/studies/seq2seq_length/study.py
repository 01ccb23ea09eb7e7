"""Two weaknesses of recurrent sequence-to-sequence networks that led to attention: memory and speed.

A decoder that knows the source by the encoder's last hidden state alone gets everything through a vector of
fixed size: the longer the source, the more it forgets (Cho et al. 2014, Bahdanau et al. 2015). And a
recurrence computes one token after another: at equal FLOPs, the chain of products that wait for one another
grows with the length, where a transformer's does not (Vaswani et al. 2017). How much time that costs depends
on how much a machine does at once; two cores are soon busy, an accelerator is not.

One stage trains, on random strings to be reversed or copied, RNNs with and without attention (several seeds)
and a small decoder-only transformer for pictures of its attention. Then greedy decoding is scored by the
length of the source, also beyond the lengths trained on, and training steps are timed against length.
Writes accuracy.csv, speed.csv, results.json (settings, conventions, summary, versions) and four figures.
"""

import functools
import importlib.metadata
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import stats

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.sources import strings
from experiments.data.vocab import ByteVocab
from experiments.data_configs import DataConfig, StringsConfig
from experiments.fields import apply_overrides, to_json
from experiments.files import write_atomic, write_json
from experiments.studies.seq2seq_length import figures
from experiments.studies.seq2seq_length.speed import RNN, TRANSFORMER, measure_speed
from experiments.studies.study import Stage, Study, with_prepared_data
from experiments.study_report import write_findings
from experiments.training.checkpoints.load import load
from experiments.training.result import PACKAGES, describe_device
from models import ModelConfig, RNNConfig, TransformerConfig
from models.attention_maps import attention_maps
from models.families.rnn import alignments
from models.model import Model
from scaling.report import Picture
from scaling.table.runs import Runs

VOCAB = ByteVocab()
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
    """Everything `--set` can change; the numbers suit two CPU cores and about ten minutes.

    Training strings have 1 to `train_length` symbols, equally often. The maps are those of strings of
    `map_length`. Steps are timed as `measure_speed` says, for an RNN of `speed_layers` layers a side.
    """

    task: Literal["reverse", "copy"] = "reverse"
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
    map_lr: float = 3e-3
    speed_d_model: int = 64
    speed_layers: int = 2
    speed_lengths: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    step_tokens: int = 1024
    repeats: int = 15
    n_val_tokens: int = 8192
    seed: int = 0

    def __post_init__(self):
        if not 1 <= self.map_length <= self.train_length:
            raise ValueError(
                f"Settings.map_length={self.map_length}; allowed are 1 to train_length={self.train_length}"
            )
        if not self.test_lengths or min(self.test_lengths) < 1:
            raise ValueError(f"Settings.test_lengths={list(self.test_lengths)}; give lengths of 1 or more")

    @property
    def strings(self) -> StringsConfig:
        """The strings of the corpus."""
        return StringsConfig(self.task, self.n_symbols, self.train_length)


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    data = DataConfig(task="strings", strings=settings.strings)
    plan(settings, data)
    return with_prepared_data(data, functools.partial(build, settings))


def build(settings: Settings, data: DataConfig) -> Study:
    """The study on these strings."""
    stages = (Stage("train", lambda runs: plan(settings, data)),)
    summary = "accuracy and speed against length: RNNs with and without attention, and a transformer"
    return Study("seq2seq_length", summary, settings, stages, functools.partial(finish, settings))


def plan(settings: Settings, data: DataConfig) -> list[RunConfig]:
    """Every seed of the RNN with and without attention, and the transformer of the pictures."""
    row_tokens = 2 * strings.width(settings.strings)

    def run(model: ModelConfig, n_steps: int, lr: float, seed: int) -> RunConfig:
        batch_tokens = settings.batch_size * row_tokens
        return RunConfig(
            model=model,
            data=data,
            optimizer=OptimizerConfig(lr=lr, weight_decay=0.0),
            schedule=ScheduleConfig("cosine"),
            batch_tokens=batch_tokens,
            seq_len=row_tokens,
            n_tokens=n_steps * batch_tokens,
            seed=seed,
            n_val_tokens=settings.n_val_tokens,
        )

    seeds = range(settings.seed, settings.seed + settings.n_seeds)
    return [
        *(run(rnn(settings, attention), settings.n_steps, settings.lr, seed) for attention in (True, False)
          for seed in seeds),
        run(decoder(), settings.map_steps, settings.map_lr, settings.seed),
    ]  # fmt: skip


def rnn(settings: Settings, attention: bool) -> RNNConfig:
    """One layer a side: the network of the textbooks."""
    [blank] = VOCAB.encode(strings.BLANK)
    return RNNConfig(VOCAB.size, settings.d_model, 1, cell=settings.cell, attention=attention, pad_id=blank)


def decoder() -> TransformerConfig:
    """A decoder-only transformer of two layers, which reads source and target as one row."""
    return TransformerConfig(VOCAB.size, 64, 2, 4, 4, 16, 128, tied_embeddings=True, embedding_scale=8.0)


# --- accuracy against length ------------------------------------------------------------------------------


def encode(texts: list[str]) -> np.ndarray:
    """Texts of one length as tokens int32[B,T]."""
    return np.array([VOCAB.encode(text) for text in texts], np.int32)


def encode_sources(sources: list[str]) -> np.ndarray:
    """Sources on the right of tokens int32[B,S], as in the corpus; blanks in front are not read."""
    longest = max(map(len, sources))
    return encode([f"{source:>{longest}}" for source in sources])


def decode_greedily(model: Model, params: Any, source_BS: np.ndarray, n_new: int) -> jax.Array:
    """The tokens [B,n_new] that the network writes, each the likeliest after what is there.

    Args:
      model, params: an RNN of two sides.
      source_BS: int32.
      n_new: tokens to write.
    """
    [start] = VOCAB.encode(strings.START)
    start_B1, ones_B = jnp.full((len(source_BS), 1), start), jnp.ones(len(source_BS), jnp.int32)
    logits_BV, cache = model.prefill(params, start_B1, ones_B, n_new, source_BS=source_BS)

    def step(carry, _):
        logits_BV, cache = carry
        token_B = logits_BV.argmax(axis=-1)
        return model.decode(params, token_B, cache), token_B

    _, tokens_TB = jax.lax.scan(step, (logits_BV, cache), length=n_new)
    return tokens_TB.T


def draw(settings: Settings, length: int, n: int, purpose: str) -> list[str]:
    """Random strings of one length, which all networks share.

    Args:
      settings: of the study.
      length: symbols a string.
      n: how many.
      purpose: what they are drawn for; other purposes get others.
    """
    rng = random.Random(f"{settings.seed}/{purpose}/{length}")
    return [strings.draw(rng, length, settings.n_symbols) for _ in range(n)]


def measure_accuracy(settings: Settings, config: RNNConfig, params: dict[int, Any]) -> pd.DataFrame:
    """Accuracies of every seed at every length, from parameters by seed, on the same strings for all."""
    lengths, longest = settings.test_lengths, max(settings.test_lengths)
    sources = [source for length in lengths for source in draw(settings, length, settings.n_test, "test")]
    source_BS = encode_sources(sources)
    targets = [strings.target_of(source, settings.strings) for source in sources]
    target_BT = encode([f"{target:<{longest}}" for target in targets])
    real_BT = np.arange(longest) < np.array([len(target) for target in targets])[:, None]
    decode = jax.jit(functools.partial(decode_greedily, models.build(config)), static_argnums=2)
    rows = []
    for seed, of_seed in sorted(params.items()):
        wrong_BT = (np.asarray(decode(of_seed, source_BS, longest)) != target_BT) & real_BT
        token_L = (1 - wrong_BT.sum(axis=1) / real_BT.sum(axis=1)).reshape(len(lengths), -1).mean(axis=1)
        sequence_L = (~wrong_BT.any(axis=1)).reshape(len(lengths), -1).mean(axis=1)
        rows += [
            {
                "network": WITH if config.attention else WITHOUT,
                "n_params": models.count(config).n_params,
                "seed": seed,
                "length": length,
                "trained_on": length <= settings.train_length,
                "token_accuracy": float(token_L[i]),
                "sequence_accuracy": float(sequence_L[i]),
                "n_rows": settings.n_test,
            }
            for i, length in enumerate(lengths)
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


def align_example(settings: Settings, config: RNNConfig, params: Any) -> pd.DataFrame:
    """Weights of an RNN's attention to the symbols while it writes the example: written, read, weight."""
    n, [source] = settings.map_length, draw(settings, settings.map_length, 1, "example")
    source_1S = encode_sources([source])
    decode = jax.jit(functools.partial(decode_greedily, models.build(config)), static_argnums=2)
    written_1T = np.asarray(decode(params, source_1S, n))
    inputs_1T = np.concatenate([encode([strings.START]), written_1T[:, :-1]], axis=1)
    weights_1TS = alignments(config, params, jnp.asarray(inputs_1T), jnp.asarray(source_1S))
    return long_table(weights_1TS[0, :, -n:], letters(written_1T[0]), source)


def letters(tokens: np.ndarray) -> str:
    """A character a token: symbols as they are, a middle dot for what is none, as a network may write."""
    decoded = (VOCAB.decode([token]) for token in tokens)
    return "".join(text if text.isalpha() and text.isascii() else "·" for text in decoded)


def long_table(weights_TS: jax.Array, written: str, read: str, **columns: Any) -> pd.DataFrame:
    """A matrix as rows (t, written, s, read, weight); symbols repeat, so places are numbered."""
    rows = [
        {"t": t, "written": written[t], "s": s, "read": read[s], "weight": float(weight), **columns}
        for (t, s), weight in np.ndenumerate(np.asarray(weights_TS))
    ]
    return pd.DataFrame(rows)


def map_example(settings: Settings, config: TransformerConfig, params: Any) -> tuple[pd.DataFrame, float]:
    """Self-attention of the decoder-only transformer in the example's row, and its accuracy on such rows.

    Queries are the places at which it predicts the target's symbols; keys those from the first symbol on.
    """
    n, first = settings.map_length, strings.width(settings.strings)
    drawn = draw(settings, n, settings.batch_size, "maps")
    row_BT = encode([strings.row(source, settings.strings) for source in drawn])
    predicted_BT = jax.jit(models.build(config).apply)(params, row_BT).argmax(axis=-1)
    right = predicted_BT[:, first : first + n] == row_BT[:, first + 1 : first + n + 1]
    [source] = draw(settings, n, 1, "example")
    shown = strings.row(source, settings.strings)
    found = jax.jit(functools.partial(attention_maps, config))(params, encode([shown]))
    maps_LHTS = found.attention_LBHTT[:, 0]
    maps_LHTS = maps_LHTS[:, :, first : first + n, first - n : first + n]
    target, read = strings.target_of(source, settings.strings), shown[first - n : first + n]
    tables = [
        long_table(maps_LHTS[layer, head], target, read, layer=layer + 1, head=head + 1)
        for layer, head in np.ndindex(maps_LHTS.shape[:2])
    ]
    return pd.concat(tables, ignore_index=True), float(right.mean())


# --- the results ------------------------------------------------------------------------------------------


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Measures, writes tables and figures, and says both weaknesses in numbers."""
    done = runs.table.loc[runs.table.status == "done", "run_id"]
    by_model: dict[ModelConfig, dict[int, Any]] = {}
    for config, params in (load(folder / "runs" / run_id) for run_id in done):
        by_model.setdefault(config.model, {})[config.seed] = params
    trained = {attention: by_model.get(rnn(settings, attention), {}) for attention in (True, False)}
    if not all(trained.values()) or settings.seed not in by_model.get(decoder(), {}):
        raise ValueError(f"{folder}: a network of the study has no finished run; there is nothing to compare")
    tables = [measure_accuracy(settings, rnn(settings, a), of_seeds) for a, of_seeds in trained.items()]
    accuracy = pd.concat(tables, ignore_index=True)
    summary = summarize(accuracy)
    alignment = align_example(settings, rnn(settings, True), trained[True][min(trained[True])])
    maps, map_accuracy = map_example(settings, decoder(), by_model[decoder()][settings.seed])
    timed = RNNConfig(
        settings.n_symbols + 1, settings.speed_d_model, settings.speed_layers, cell=settings.cell
    )
    speed = measure_speed(timed, settings.speed_lengths, settings.step_tokens, settings.repeats)

    results = {
        "settings": to_json(settings),
        "conventions": CONVENTIONS,
        "accuracy": summary.to_dict("records"),
        "speed": speed.to_dict("records"),
        "map_token_accuracy": map_accuracy,
        "device": describe_device(jax.devices()[0]),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    write_atomic(folder / "accuracy.csv", accuracy.to_csv(index=False))
    write_atomic(folder / "speed.csv", speed.to_csv(index=False))
    write_json(folder / "results.json", results)
    tokens, chance = summary.loc[summary["measure"] == "token_accuracy"], 1 / settings.n_symbols
    drawn = figures.draw(tokens, settings.train_length, chance, speed, alignment, maps)
    write_findings(folder, [Picture(name, *figures.WORDS[name], image) for name, image in drawn.items()])
    return conclusion(results)


def conclusion(results: dict[str, Any]) -> str:
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

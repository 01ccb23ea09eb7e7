"""Batches of pairs of responses: from a file of preferences, or labelled in the gold world."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from experiments.config import RunConfig
from experiments.objective import RunData
from experiments.objective_configs import GoldConfig
from experiments.posttraining import gold
from experiments.posttraining.data.examples import SPLITS, Examples, RaggedColumn
from experiments.posttraining.data.pairs import SIDES, examples_of, read_pairs
from experiments.posttraining.data.prepared import in_batches, manifest, open_rendered

_gold_reward = jax.jit(gold.gold_reward, static_argnums=0)


@dataclass(frozen=True)
class PairRows:
    """The pairs of a split both of whose sides fit into seq_len tokens, numbered; the others are left out."""

    examples: Examples
    seq_len: int
    kept: np.ndarray

    def __len__(self) -> int:
        return len(self.kept)

    def batch(self, numbers_B: np.ndarray) -> dict[str, np.ndarray]:
        """The pairs with these numbers.

        Returns:
          chosen, rejected int32[B,seq_len], prompt and response, 0 behind them; chosen_lengths,
          rejected_lengths, prompt_lengths int32[B]; margin float32[B]; where there are ties tie float32[B],
          1 for those; and of the gold world gold_margin float32[B], by how much the chosen one's true reward
          is larger.
        """
        columns, numbers_B = self.examples.columns, self.kept[numbers_B]
        found: dict[str, Any] = {name: columns[name].padded(numbers_B, self.seq_len) for name in SIDES}
        found |= {f"{name}_lengths": columns[name].lengths[numbers_B].astype(np.int32) for name in SIDES}
        found["prompt_lengths"] = columns["prompt_length"].scalars[numbers_B].astype(np.int32)
        numbers = (name for name in ("margin", "tie", "gold_margin") if name in columns)
        return found | {name: columns[name].scalars[numbers_B].astype(np.float32) for name in numbers}


def data(config: RunConfig) -> RunData:
    """Batches of pairs, prepared if they are not there.

    Raises:
      ValueError: examples that are no pairs, cannot be prepared, or do not fit into rows.
    """
    assert config.examples is not None
    splits = {split: rows_of(found, config.seq_len) for split, found in open_pairs(config).items()}
    training, held_out = splits["train"], splits["validation"]
    if len(held_out) < 2:
        n_pairs = len(held_out)
        raise ValueError(f"pairs: {n_pairs} pair to validate on; a standard error needs two, give more pairs")
    read, validation = in_batches(config, training, held_out)
    return RunData(
        training=read,
        validation=validation,
        tokens_per_byte=0,
        n_train_tokens=sum(
            int(training.examples.columns[name].lengths[training.kept].sum()) for name in SIDES
        ),
        tokens_an_epoch=len(training) * config.seq_len,
        manifest=manifest(
            config,
            training.examples.manifest.get("fingerprint", ""),
            {split: counts(rows) for split, rows in splits.items()},
        ),
    )


def counts(rows: PairRows) -> dict[str, int]:
    """What became of the pairs of a split."""
    found = {"n_pairs": len(rows), "n_left_out": len(rows.examples) - len(rows)}
    columns = rows.examples.columns
    return found | ({"n_ties": int(columns["tie"].scalars[rows.kept].sum())} if "tie" in columns else {})


def rows_of(examples: Examples, seq_len: int) -> PairRows:
    """The pairs that fit into rows of seq_len. None is cut: a response without its end is another response.

    Raises:
      ValueError: none fits.
    """
    longest = np.maximum(*(examples.columns[name].lengths for name in SIDES))
    kept = np.flatnonzero(longest <= seq_len)
    if not len(kept):
        raise ValueError(
            f"pairs: none of {len(examples)} fits into rows of seq_len={seq_len}; the shortest has "
            f"{longest.min()} tokens, use longer rows"
        )
    return PairRows(examples, seq_len, kept)


def open_pairs(config: RunConfig) -> dict[str, Examples]:
    """Both splits, columns "chosen", "rejected", "prompt_length", "margin"; with ties "tie"; of the gold
    world "gold_margin".

    Raises:
      ValueError: examples of another kind, or that cannot be prepared.
    """
    assert config.examples is not None
    if config.examples.task == "gold":
        world = config.examples.gold or GoldConfig()
        return {split: of_gold_world(world, split) for split in SPLITS}
    if config.examples.task != "preferences":
        raise ValueError(f"examples.task={config.examples.task!r}; pairs are 'preferences' or 'gold'")
    return open_rendered(config, lambda examples, template: examples_of(read_pairs(examples.path), template))


def of_gold_world(world: GoldConfig, split: str) -> Examples:
    """The labelled pairs of a world with a known reward."""
    pairs = gold.pairs(world, split)
    columns, rewards = {}, []
    for name in SIDES:
        tokens, lengths = pairs[name], pairs[f"{name}_lengths"]
        inside = np.arange(tokens.shape[1]) < lengths[:, None]
        columns[name] = RaggedColumn(tokens[inside], np.concatenate([[0], np.cumsum(lengths)]))
        rewards.append(np.asarray(_gold_reward(world, tokens, pairs["prompt_lengths"], lengths)))
    numbers = {
        "prompt_length": pairs["prompt_lengths"],
        "margin": pairs["margin"],
        "gold_margin": rewards[0] - rewards[1],
    }
    numbers |= {"tie": pairs["tie"]} if "tie" in pairs else {}
    one_each = np.arange(len(pairs["margin"]) + 1)
    return Examples(columns | {name: RaggedColumn(values, one_each) for name, values in numbers.items()}, {})

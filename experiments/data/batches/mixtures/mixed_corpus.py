"""A corpus with components as a run reads it: what may be read of each, and how often. All that can be wrong
with a mixture is found here, before the first step."""

import math

import numpy as np

from experiments.config import RunConfig
from experiments.data.batches.mixtures import mixed_batches
from experiments.data.batches.mixtures.schedule import schedule
from experiments.data.batches.mixtures.weights import check_known, shares
from experiments.data.cache import TokenCache
from experiments.data_configs import MixtureConfig
from experiments.objective import Components, RunData


def mixed_corpus(config: RunConfig, training: TokenCache, validation: TokenCache) -> RunData:
    """The data of a run on a corpus with components.

    Raises:
      ValueError: the mixture names a component that is not there, a component is too small for its rows, or
        there are too few validation rows.
    """
    mixture, seq_len = config.data.mixture or MixtureConfig(), config.seq_len
    check_known("unique_tokens", mixture.unique_tokens, training.components)
    allowed = {
        name: tokens[: int(mixture.unique_tokens.get(name, len(tokens)))]
        for name, tokens in component_tokens(training).items()
    }
    n_windows = {name: (len(tokens) - 1) // seq_len for name, tokens in allowed.items()}
    plan = schedule(shares(mixture, {name: len(x) for name, x in allowed.items()}, config.n_tokens))
    for (name, n), count in zip(n_windows.items(), plan.counts):
        rows = max(1, math.ceil(config.batch_size * count / plan.counts.sum()))
        if n < rows:
            raise ValueError(
                f"data.mixture: component {name!r} has {len(allowed[name])} tokens to train on, {n} rows of "
                f"seq_len={seq_len}, less than its {rows} rows of one batch; give it more text, a smaller "
                "share, or take smaller batches"
            )
    parts, held_out = list(allowed.values()), component_tokens(validation)

    def read(seed: int, step: int, rows: slice) -> np.ndarray:
        return mixed_batches.batch(parts, plan, seed, step, config.batch_size, seq_len, rows)

    return RunData(
        training=read,
        validation=mixed_batches.validation_batches(
            [held_out[name] for name in allowed], config.batch_size, seq_len, config.n_val_tokens
        ),
        tokens_per_byte=len(validation.tokens) / validation.n_bytes,
        n_train_tokens=sum(map(len, parts)),
        tokens_an_epoch=sum(n_windows.values()) * seq_len,
        manifest=training.manifest,
        components=Components(
            names=tuple(allowed),
            n_windows=tuple(n_windows.values()),
            tokens_per_byte=tuple(
                validation.components[name]["n_tokens"] / validation.components[name]["n_bytes"]
                for name in allowed
            ),
            rows_until=plan.rows_until,
        ),
    )


def component_tokens(split: TokenCache) -> dict[str, np.ndarray]:
    """The tokens of each component of a split, int[n_tokens] each, by name."""
    return {
        name: split.tokens[part["start"] : part["start"] + part["n_tokens"]]
        for name, part in split.components.items()
    }

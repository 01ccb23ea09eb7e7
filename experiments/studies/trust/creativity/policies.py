"""Diversity of policies of the gold world before and after each step of post-training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.evaluate.trust import diversity
from experiments.objective_configs import GoldConfig
from experiments.studies.posttraining import measures
from experiments.studies.trust.creativity.frontier import paired

# What is compared, and whether more of it is more diverse.
MEASURES = {
    "entropy": True,
    "unique": True,
    "self_bleu": False,
    "distinct_2": True,
    "across_self_bleu": False,
}
N_TOKENS = 27  # letters, signs and the end: about what responses are made of


def measured(run: Path, world: GoldConfig, n_prompts: int, n: int) -> dict[str, float]:
    """Of a policy's responses: gold, entropy (nats a response, unbiased), mean length; within prompts the
    means over prompts of unique, self_bleu and distinct_2 (expected, which lengths do not change), and
    "across_self_bleu" of the first response to each prompt (Kirk et al. 2024: per-input and across-input).

    Args:
      run: its folder.
      world: of the prompts.
      n_prompts: of them.
      n: responses to each.
    """
    found = measures.sample_policy(run, world, n_prompts, n)
    texts = [
        [row[start:end].tolist() for row, end in zip(found.tokens[:, q], found.lengths[:, q])]
        for q, start in enumerate(found.prompt_lengths)
    ]
    within = {
        "unique": [diversity.unique_fraction(said) for said in texts],
        "self_bleu": [diversity.self_bleu(said) for said in texts],
        "distinct_2": [diversity.expected_distinct_n(said, 2, N_TOKENS) for said in texts],
    }
    about = {"gold": float(found.gold.mean()), "entropy": float(-found.logps.mean())}
    about["length"] = float(np.mean(found.lengths - found.prompt_lengths))
    about |= {name: float(np.nanmean(values)) for name, values in within.items()}
    return about | {"across_self_bleu": diversity.self_bleu([said[0] for said in texts])}


def changes(table: pd.DataFrame, level: float) -> Iterator[dict[str, Any]]:
    """Of DPO and PPO against the fine-tuned policy of the same seed: mean change of each measure, with its
    interval and p over seeds, and "less": whether that is less diversity.

    Args:
      table: policy, seed, and MEASURES.
      level: of the intervals.
    """
    for name, more in [("gold", True), *MEASURES.items()]:
        of_seeds: Any = table.pivot(index="seed", columns="policy", values=name)
        for policy in ("DPO", "PPO"):
            found = paired((of_seeds[policy] - of_seeds["SFT"]).to_numpy(float), level)
            less = bool(found["mean"] < 0) == more
            about = {"policy": policy, "measure": name, "less": less, "sft": float(of_seeds["SFT"].mean())}
            yield about | found

"""What the runs of the study of domains say: losses on all texts, forgetting, and the break-even.

Losses are nats per token. Seeds are few: intervals of means over them take one standard deviation from all
means of a kind together.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from experiments.studies.data.domains.runs import Settings

PRETRAINED = {"scratch": 0.0, "continued": 1.0}  # how a run starts: the law's column
DRAWS = 10_000


def at_equal_tokens(settings: Settings, table: pd.DataFrame) -> pd.DataFrame:
    """Runs of equally many passes over a domain alone, from scratch and continued."""
    plain = table["start"].isin(list(PRETRAINED)) & (table["replay"] == 0)
    return pd.DataFrame(table[plain & (table["read_tokens"] == settings.passes * table["unique_tokens"])])


def widest(settings: Settings, table: pd.DataFrame, **fields: Any) -> pd.DataFrame:
    """Runs of the widest models whose fields have these values, by seed."""
    chosen = table["d_model"] == settings.widths[-1]
    for name, value in fields.items():
        chosen &= table[name] == value
    return pd.DataFrame(table[chosen]).sort_values("seed")


def means(values_SK: np.ndarray, level: float) -> tuple[np.ndarray, float]:
    """Means over the seeds, float[K], and the half-width of their intervals, by a pooled deviation."""
    n_seeds, n_means = values_SK.shape
    se = np.sqrt(values_SK.var(axis=0, ddof=1).mean() / n_seeds)
    return values_SK.mean(axis=0), float(stats.t.ppf((1 + level) / 2, n_means * (n_seeds - 1)) * se)


def loss_matrix(settings: Settings, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The loss of every model on every text: of the widest, on the largest part of the ladder."""
    models = {"general": widest(settings, table, start="general")}
    at = {"unique_tokens": settings.domain_tokens[-1]}
    for domain in settings.domains:
        equal = widest(settings, at_equal_tokens(settings, table), domain=domain, **at)
        others = widest(settings, table, domain=domain, **at)
        models[f"{domain}, from scratch"] = pd.DataFrame(equal[equal["start"] == "scratch"])
        models[f"{domain}, continued"] = pd.DataFrame(equal[equal["start"] == "continued"])
        models[f"{domain}, optimizer kept"] = pd.DataFrame(others[others["start"] == "kept"])
        for share in settings.replay:
            models[f"{domain}, {share:.0%} replay"] = pd.DataFrame(others[others["replay"] == share])
    rows = []
    for text in (settings.general, *settings.domains):
        losses_SK = np.stack([runs[f"loss_{text}"].to_numpy(float) for runs in models.values()], axis=1)
        mean_K, half = means(losses_SK, settings.level)
        rows += [{"model": m, "text": text, "loss": x, "half": half} for m, x in zip(models, mean_K.tolist())]
    return rows


def forgetting(settings: Settings, table: pd.DataFrame) -> list[dict[str, Any]]:
    """What continuing costs on general text and gains on the domain, against the seed's general model."""
    tuned = widest(settings, pd.DataFrame(table[~table["start"].isin(["scratch", "general"])]))
    before = widest(settings, table, start="general").set_index("seed")
    keys, rows = ["unique_tokens", "start", "replay"], []
    for domain, of_domain in tuned.groupby("domain"):
        ways: dict[Any, pd.DataFrame] = dict(list(of_domain.groupby(keys)))
        about: list[dict[str, Any]] = [{"domain": domain} | dict(zip(keys, way)) for way in ways]
        for name, text in (("lost", settings.general), ("gained", domain)):
            changes = [
                runs[f"loss_{text}"].to_numpy(float)
                - before.loc[list(runs["seed"]), f"loss_{text}"].to_numpy(float)
                for runs in ways.values()
            ]
            mean_K, half = means(np.stack(changes, axis=1), settings.level)
            for each, mean in zip(about, mean_K.tolist()):
                each |= {name: mean if name == "lost" else -mean, f"{name}_half": half}
        rows += about
    return rows


def break_evens(settings: Settings, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Below how many unique tokens of a domain continuing beats training from scratch, of the widest models:
    at equal tokens of the domain, and at equal FLOPs, where from scratch the best length counts."""
    sizes, found = [*settings.domain_tokens, settings.verify_tokens], []
    for domain in settings.domains:
        for equal in ("tokens", "flops"):
            gaps = [gap(settings, table, domain, size, equal) for size in sizes]
            found.append(
                {"domain": domain, "equal": equal}
                | break_even(sizes, np.stack(gaps, axis=1), settings.level, settings.seed)
            )
    return found


def gap(settings: Settings, table: pd.DataFrame, domain: str, unique_tokens: int, equal: str) -> np.ndarray:
    """By how much the loss from scratch is above the loss continued, float[S]; by seed.

    Args:
      settings: of the study.
      table: its runs.
      domain: of the runs.
      unique_tokens: of the domain.
      equal: "tokens" or "flops".
    """
    runs = widest(settings, table, domain=domain, unique_tokens=unique_tokens)
    alike = at_equal_tokens(settings, runs)
    continued = alike.loc[alike["start"] == "continued", "loss"].to_numpy(float)
    scratch: Any = alike[alike["start"] == "scratch"]
    if equal == "flops":
        scratch = runs[runs["start"] == "scratch"]
        best = scratch.groupby("read_tokens")["loss"].mean().idxmin()
        scratch = scratch[scratch["read_tokens"] == best]
    return scratch["loss"].to_numpy(float) - continued


def break_even(sizes: list[int], gaps_SK: np.ndarray, level: float, seed: int) -> dict[str, Any]:
    """Where a gap falls to 0, by lines between sizes on a log scale, with the interval that the gaps' means
    have by a pooled deviation. None: not within the sizes; "beyond" says on which side.

    Args:
      sizes: of data, from small to large, K.
      gaps_SK: by seed and size.
      level: of the interval.
      seed: of the draws behind it.
    """
    (n_seeds, n_sizes), mean_K = gaps_SK.shape, gaps_SK.mean(axis=0)
    se = np.sqrt(gaps_SK.var(axis=0, ddof=1).mean() / n_seeds)
    rng = np.random.default_rng(seed)
    noise = rng.standard_t(n_sizes * (n_seeds - 1), (DRAWS, n_sizes))
    draws = np.sort([crossing(sizes, gap_K) for gap_K in mean_K + se * noise])
    tail = int(DRAWS * (1 - level) / 2)
    at, lo, hi = (float(x) for x in (crossing(sizes, mean_K), draws[tail], draws[-1 - tail]))
    inside = {name: x if 0 < x < np.inf else None for name, x in (("at", at), ("lo", lo), ("hi", hi))}
    beyond = None if inside["at"] else "below" if at == 0 else "above"
    return inside | {"beyond": beyond, "sizes": sizes, "gaps": mean_K.tolist()}


def crossing(sizes: Any, gap_K: np.ndarray) -> float:
    """The first size at which the gap is 0; 0 where it is not above 0 at the first, infinity where it stays
    above."""
    below = np.flatnonzero(gap_K <= 0)
    if not len(below):
        return np.inf
    i = int(below[0])
    if i == 0:
        return 0.0
    share = gap_K[i - 1] / (gap_K[i - 1] - gap_K[i])
    return float(np.exp(np.log(sizes[i - 1]) + share * np.log(sizes[i] / sizes[i - 1])))

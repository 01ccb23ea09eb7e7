"""What becomes of generations of models that are trained on each other's text: measures, theory, conclusions.

In linear regression the test error of the n-th model is n E if each is trained on samples of the one before
it alone, and E (1 + 1/4 + … + 1/n²) < E π²/6 if on the real data and all samples (Gerstgrasser et al. 2024,
arXiv 2404.01413; the first after Mobahi et al. 2020).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from experiments.data.sources.known_entropy import KnownSource
from experiments.evaluate.statistics import intervals

ACCUMULATE = "accumulate"
EQUAL_STEPS = "accumulate, equal steps"
TAIL = 0.1  # share of the documents: the least probable ones
NGRAM = 4  # symbols
BOUND = np.pi**2 / 6 - 1  # of what accumulating adds, over what the second generation adds under replace


def replace(share: float) -> str:
    """Name of the arm with this share of real text."""
    return f"replace, {share:.0%} real"


def replaced(steps: int) -> float:
    """What `steps` generations after the first add under replace, over what one adds."""
    return float(steps)


def accumulated(steps: int) -> float:
    """What `steps` generations after the first add under accumulate, over what one adds under replace."""
    return float(np.sum(1 / np.arange(2, steps + 2) ** 2))


THEORY = {replace(0.0): replaced, ACCUMULATE: accumulated, EQUAL_STEPS: accumulated}


def by_probability(off: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Means of `off`: of all documents "excess", of the least probable "tail", of the most probable "head".

    Args:
      off: float[n], of each document.
      truth: float[n], its nats to the source.
    """
    order, few = np.argsort(truth, kind="stable"), max(1, round(TAIL * len(truth)))
    parts = {"excess": off, "tail": off[order[-few:]], "head": off[order[:few]]}
    return {name: float(part.mean()) for name, part in parts.items()}


def of_text(source: KnownSource, documents: np.ndarray, nats: np.ndarray) -> dict[str, float]:
    """Of documents: "entropy", nats a token to whoever wrote them; "possible", the share that the source can
    write; "distinct" n-grams, over all n-grams; "rare", the share of possible documents that are no more
    probable than the least probable tenth of the source's.

    Args:
      source: of the real documents.
      documents: symbols int[n, length].
      nats: float[n], to whoever wrote them.
    """
    truth = source.nats(documents)
    possible = np.isfinite(truth)
    return {
        "entropy": float(nats.mean()) / source.row_length,
        "possible": float(possible.mean()),
        "distinct": distinct_ngrams(documents, NGRAM),
        "rare": float(np.mean(truth[possible] >= rare_from(source))) if possible.any() else 0.0,
    }


def rare_from(source: KnownSource) -> float:
    """Nats from which on a document belongs to the least probable tenth, of documents drawn for this."""
    return float(np.quantile(source.nats(source.draw(np.random.default_rng(1), 4096)), 1 - TAIL))


def distinct_ngrams(documents: np.ndarray, n: int) -> float:
    """Distinct runs of n symbols over all runs of n symbols in documents int[m, length]."""
    runs = np.lib.stride_tricks.sliding_window_view(documents, n, axis=1).reshape(-1, n)
    return len(np.unique(runs, axis=0)) / len(runs)


def interval(values: np.ndarray, level: float) -> dict[str, float]:
    """Mean of values of seeds, with the interval of Student's t: "mean", "lo", "hi"."""
    found = intervals.mean(values, level=level)
    return {"mean": found.value, "lo": found.lo, "hi": found.hi}


def of_arm(arm: str, chains: pd.DataFrame, said: pd.DataFrame, level: float) -> dict[str, Any]:
    """What an arm came to, with intervals over seeds.

    Returns "arm"; by generation the mean "excess"; "first" and "last" of it; its "growth" from the one to the
    other, and that of the "tail"; "late", the growth in the second half; "over_replace", the growth less that
    of the arm without real text (of the others); and, where theory speaks of it, the "predicted" last one.

    Args:
      arm: its name.
      chains: arm, seed, generation (from 1), excess, tail.
      said: by seed, what was predicted: a column an arm.
      level: of the intervals.
    """
    own = {name: _by_seed(chains, arm, name) for name in ("excess", "tail")}
    baseline = _by_seed(chains, replace(0.0), "excess")
    excess = own["excess"]
    middle = (excess.shape[1] + 1) // 2 - 1
    growth = excess[:, -1] - excess[:, 0]
    found = {
        "arm": arm,
        "excess": [float(mean) for mean in excess.mean(axis=0)],
        "first": interval(excess[:, 0], level),
        "last": interval(excess[:, -1], level),
        "growth": interval(growth, level),
        "late": interval(excess[:, -1] - excess[:, middle], level),
        "tail": interval(own["tail"][:, -1] - own["tail"][:, 0], level),
    }
    if arm != replace(0.0):
        found["over_replace"] = interval(growth - (baseline[:, -1] - baseline[:, 0]), level)
    if arm in said:
        found["predicted"] = interval(said[arm].to_numpy(float), level)
    return found


def _by_seed(chains: pd.DataFrame, arm: str, name: str) -> np.ndarray:
    """[seeds, generations] of an arm; seeds that have not come to the end are left out."""
    own = chains[chains["arm"] == arm].pivot(index="seed", columns="generation", values=name)
    return own.dropna().to_numpy(float)


def of_rephrased(others: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    """By share of rephrased documents and times the tokens: "excess", "tail", and "saved", by how much the
    excess is below that of the text as it is, paired by seed, of the others; with intervals.

    Args:
      others: rephrased, longer, seed, excess, tail.
      level: of the intervals.
    """
    base = others[(others["rephrased"] == 0) & (others["longer"] == 1)].set_index("seed")["excess"]
    found = []
    for share, longer in sorted(set(zip(others["rephrased"], others["longer"]))):
        own = pd.DataFrame(others[(others["rephrased"] == share) & (others["longer"] == longer)])
        about: dict[str, Any] = {"rephrased": share, "longer": longer}
        if share or longer > 1:
            saved = (base - own.set_index("seed")["excess"]).dropna()
            about["saved"] = interval(saved.to_numpy(float), level)
        found.append(
            about | {name: interval(own[name].to_numpy(float), level) for name in ("excess", "tail")}
        )
    return found


def in_words(found: dict[str, Any]) -> Iterator[str]:
    """What was found, a line each."""
    yield f"excess over the source's entropy, nats a token, {found['level']:.0%} intervals over seeds:"
    for arm in found["arms"]:
        line = (
            f"  {arm['arm']:<20} {arm['first']['mean']:.4f} to {arm['last']['mean']:.4f}: grows by "
            f"{_said(arm['growth'])}, in the second half {_said(arm['late'])}; "
            f"on the rarest tenth {_said(arm['tail'])}"
        )
        if "predicted" in arm:
            line += f"; predicted {_said(arm['predicted'], '')}"
        yield line
    for each in found["rephrased"]:
        yield (
            f"  {each['rephrased']:.0%} in other words, {each['longer']} times the tokens: "
            f"{each['excess']['mean']:.4f}, on the rarest tenth {each['tail']['mean']:.4f}"
            + (f"; saves {_said(each['saved'])}" if "saved" in each else "")
        )
    by_arm = {arm["arm"]: arm for arm in found["arms"]}
    alone = by_arm[replace(0.0)]
    bound = BOUND * (alone["excess"][1] - alone["excess"][0])
    grows = "grows" if alone["growth"]["lo"] > 0 else "is not shown to grow"
    yield (
        f"Under replace the error {grows} (Shumailov et al. 2024). Theory lets accumulate grow by at most "
        f"{bound:.4f} (Gerstgrasser et al. 2024):"
    )
    for arm in (by_arm[ACCUMULATE], by_arm[EQUAL_STEPS]):
        less = "less than" if arm["over_replace"]["hi"] < 0 else "not told from that"
        lo, hi = arm["growth"]["lo"], arm["growth"]["hi"]
        above = "above" if lo > bound else "below" if hi < bound else "not told from"
        yield f"  {arm['arm']}: growth is {less} under replace, {above} the bound"


def _said(each: dict[str, float], sign: str = "+") -> str:
    return f"{each['mean']:{sign}.4f} ({each['lo']:{sign}.4f} to {each['hi']:{sign}.4f})"

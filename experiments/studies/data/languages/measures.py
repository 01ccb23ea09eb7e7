"""What the study of languages makes of its tables: differences between samplings, a law, transfer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import scaling
from experiments.data.composition.web_languages import LOW_RESOURCE
from experiments.evaluate.statistics import intervals
from experiments.studies.data.languages.corpus import ENOUGH, UNIMAX, alpha_name, kinship, web_share
from scaling.table.runs import check

LAW = "low_resource"


def over_enough(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `ratio`: bits a sentence over those of the same language and seed under ENOUGH.

    Args:
      table: sampling, language, seed, bits.
    """
    base = table[table["sampling"] == ENOUGH].set_index(["language", "seed"])["bits"]
    keys = pd.MultiIndex.from_frame(pd.DataFrame(table[["language", "seed"]]))
    return table.assign(ratio=table["bits"].to_numpy(float) / base.reindex(keys).to_numpy(float))


def directions(table: pd.DataFrame, alphas: Sequence[float], level: float) -> list[dict[str, Any]]:
    """What papers say of samplings, beside what was measured here; see `difference`.

    Args:
      table: sampling, language, seed, bits; of all languages.
      alphas: those of the samplings; the least and the largest are compared.
      level: of the intervals.
    """
    names = list(table["language"].unique())
    low = [name for name in names if web_share(name) < LOW_RESOURCE]
    high = [name for name in names if name not in low]
    flat, steep = alpha_name(min(alphas)), alpha_name(max(alphas))
    xlm_r, unimax = "Conneau et al. 2020 (arXiv 1911.02116), Xue et al. 2021 (2010.11934)", "2304.09151"
    claims = [
        (flat, steep, "low-resource", low, "lower", xlm_r),
        (flat, steep, "high-resource", high, "higher", xlm_r),
        (UNIMAX, flat, "all", names, "lower", f"Chung et al. 2023 (arXiv {unimax})"),
        (UNIMAX, flat, "high-resource", high, "lower", f"Chung et al. 2023 (arXiv {unimax})"),
    ]
    found = []
    for a, b, who, languages, expected, source in claims:
        if languages:
            about = {"a": a, "b": b, "languages": who, "expected": expected, "source": source}
            found.append(about | difference(table, a, b, languages, level))
    for each in found:
        sign = -1 if each["expected"] == "lower" else 1
        each["holds"] = bool(sign * each["change"] > 0 and min(sign * each["lo"], sign * each["hi"]) > 0)
    return found


def difference(table: pd.DataFrame, a: str, b: str, languages: list[str], level: float) -> dict[str, Any]:
    """Change of bits a sentence under `a` against `b`, relative, in the mean over languages and seeds.

    The interval and p are Student's over seeds; `p_languages` is Wilcoxon's signed-rank test over languages.

    Args:
      table: sampling, language, seed, bits.
      a, b: names of samplings.
      languages: whose sentences count.
      level: of the interval.
    """
    own = pd.DataFrame(table[table["language"].isin(languages)])
    bits: Any = own.pivot_table("bits", ["language", "seed"], "sampling")
    change = (bits[a] / bits[b] - 1).unstack("seed")
    of_seeds, of_languages = change.mean(axis=0).to_numpy(float), change.mean(axis=1).to_numpy(float)
    mean = intervals.mean(of_seeds, level=level)
    t: Any = stats.ttest_1samp(of_seeds, 0.0)
    signed: Any = stats.wilcoxon(of_languages)
    return {
        "change": mean.value,
        "lo": mean.lo,
        "hi": mean.hi,
        "p_seeds": float(t.pvalue),
        "p_languages": float(signed.pvalue),
        "n_lower": int((of_languages < 0).sum()),
        "n_languages": len(of_languages),
    }


def law_table(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each language and sampling of scarce text: run_id (the language, so that a resample takes all
    or nothing of it), language_tokens and loss, the mean of `ratio` over seeds.

    Args:
      table: sampling, language, seed, ratio, language_tokens.
    """
    scarce = table[table["sampling"] != ENOUGH]
    means: Any = scarce.groupby(["language", "sampling"], sort=False)[["language_tokens", "ratio"]].mean()
    return means.reset_index().assign(run_id=lambda t: t["language"]).rename(columns={"ratio": "loss"})


def fit_law(rows: pd.DataFrame, n_bootstrap: int, level: float, seed: int) -> scaling.Fit:
    """The law of scarce text.

    Args:
      rows: as `law_table` has them.
      n_bootstrap: resamples of languages.
      level: of the intervals.
      seed: of the resamples.
    """
    columns = ["language_tokens", "loss"]
    runs = check(pd.DataFrame(rows[["run_id", *columns]]).reset_index(drop=True), {}, needed=columns)
    return scaling.fit(runs, law=LAW, n_bootstrap=n_bootstrap, level=level, seed=seed)


def gains(table: pd.DataFrame, languages: Sequence[str], level: float) -> pd.DataFrame:
    """What each language gets from each other one: learner, helper, kinship; `gain`, the part of its bits a
    sentence that the helper's text saves at equal text of its own, with an interval over seeds; and
    `strange`, its bits for a model of the helper alone, over those for one of its own.

    Args:
      table: sampling ("es" alone, "es+pt" together), language, seed, bits.
      languages: by code.
      level: of the interval.
    """
    bits: Any = table.pivot_table("bits", "seed", ["sampling", "language"])
    rows = []
    for learner in languages:
        for helper in languages:
            if helper != learner:
                own = bits[(learner, learner)]
                both = bits[("+".join(sorted((learner, helper))), learner)]
                saved = intervals.mean((1 - both / own).to_numpy(float), level=level)
                about = {"learner": learner, "helper": helper, "kinship": kinship(learner, helper)}
                strange = float((bits[(helper, learner)] / own).mean())
                rows.append(about | {"gain": saved.value, "lo": saved.lo, "hi": saved.hi, "strange": strange})
    return pd.DataFrame(rows)


def by_kinship(pairs: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    """Mean gain of related and unrelated pairs, interval over pairs, and Mann and Whitney's one-sided p that
    it is above that of unrelated ones.

    Args:
      pairs: as `gains` has them.
      level: of the intervals.
    """
    unrelated = np.asarray(pairs.loc[pairs["kinship"] == "unrelated", "gain"], float)
    found = []
    for name, rows in pairs.groupby("kinship"):
        mean = intervals.mean(rows["gain"].to_numpy(float), level=level)
        about = {"kinship": name, "n": len(rows), "gain": mean.value, "lo": mean.lo, "hi": mean.hi}
        p = None
        if name != "unrelated" and len(unrelated):
            test: Any = stats.mannwhitneyu(rows["gain"], unrelated, alternative="greater")
            p = float(test.pvalue)
        found.append(about | {"p": p, "strange": float(np.mean(rows["strange"]))})
    return found


def cost(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each vocabulary: rank correlations over languages of tokens a sentence, and of bits a byte, with
    bits a sentence, and how far the dearest language is above the cheapest by each measure.

    Args:
      table: vocabulary, language, bits, tokens, bytes; means over seeds, under ENOUGH.
    """
    found = []
    for name, rows in table.groupby("vocabulary", sort=False):
        bits, tokens, size = (rows[column].to_numpy(float) for column in ("bits", "tokens", "bytes"))
        of_tokens: Any = stats.spearmanr(tokens, bits)
        of_bytes: Any = stats.spearmanr(bits / size, bits)
        found.append(
            {
                "vocabulary": name,
                "tokens_and_bits": float(of_tokens.statistic),
                "p": float(of_tokens.pvalue),
                "bits_per_byte_and_bits": float(of_bytes.statistic),
                "spread_of_tokens": _spread(tokens),
                "spread_of_bits": _spread(bits),
                "spread_of_bits_per_byte": _spread(bits / size),
            }
        )
    return found


def _spread(values: np.ndarray) -> float:
    return float(values.max() / values.min())

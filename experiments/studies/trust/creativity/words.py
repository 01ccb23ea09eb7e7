"""What the study of creativity found, in numbers for JSON and in sentences."""

from typing import Any

import pandas as pd

from experiments.evaluate.statistics import intervals
from experiments.studies.trust.creativity.frontier import BASE, paired
from experiments.studies.trust.creativity.policies import MEASURES

SURE = 0.01  # p below which a direction counts
NAMES = {
    "entropy": "entropy of responses",
    "unique": "different responses to a prompt",
    "self_bleu": "self-BLEU within prompts",
    "distinct_2": "distinct bigrams within prompts",
    "across_self_bleu": "self-BLEU across prompts",
}


def of_largest(sizes: pd.DataFrame, level: float) -> dict[str, Any]:
    """Mean validity and loss of the largest size at the most tokens, with intervals over seeds.

    Args:
      sizes: d_model, n_tokens, accuracy, loss.
      level: of the intervals.
    """
    own: Any = sizes[sizes["d_model"] == sizes["d_model"].max()]
    found: dict[str, Any] = {"each": own["accuracy"].tolist()}
    for name, column in (("valid", "accuracy"), ("loss", "loss")):
        mean = intervals.mean(own[column].to_numpy(float), level=level)
        found[name] = {"value": mean.value, "lo": mean.lo, "hi": mean.hi}
    return found


def best_of(best: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    """Of each sampler: its mean creative share over models with its interval, its usual number, and "gain"
    over temperature alone.

    Args:
      best: of `frontier.best`.
      level: of the intervals.
    """
    found = []
    for sampler, rows in best.groupby("sampler", sort=False):
        share = intervals.mean(rows["creative"].to_numpy(float), level=level)
        about = {"sampler": sampler, "creative": share.value, "lo": share.lo, "hi": share.hi}
        about["number"] = float(rows["number"].mode().iloc[0])
        found.append(about | {"gain": paired(rows["gain"].to_numpy(float), level)})
    return found


def conclusion(result: dict[str, Any]) -> str:
    """The prediction, which sampler is better where, and what post-training does to diversity."""
    return "\n".join([*_predicted(result), *_samplers(result), *_creative(result), *_policies(result)])


def _predicted(result: dict[str, Any]) -> list[str]:
    said, came = result["prediction"], result["prediction"]["measured"]
    valid, loss = said["valid"], said["loss"]
    inside = valid["lo"] <= came["valid"]["value"] <= valid["hi"]
    each = ", ".join(f"{share:.1%}" for share in came["each"])
    return [
        f"of a model of {said['n_params']:,} parameters, said before it trained: {valid['value']:.1%} "
        f"[{valid['lo']:.1%}, {valid['hi']:.1%}] valid at temperature 1; measured {each}; the mean is "
        f"{'inside' if inside else 'outside'}. The next smaller one: {said['unchanged']:.1%}",
        f"  loss: {loss['value']:.4f} [{loss['lo']:.4f}, {loss['hi']:.4f}], measured "
        f"{came['loss']['value']:.4f}",
    ]


def _samplers(result: dict[str, Any]) -> list[str]:
    source = result["source"]["entropy"]
    n = len(result["at_equal_entropy"])
    lines = [
        f"validity at equal entropy against temperature alone (mean over models; of {n} comparisons those of "
        f"p < {SURE:g}; the grammar has {source:.1f} nats):"
    ]
    by_sampler: dict[str, list[dict[str, Any]]] = {}
    for row in result["at_equal_entropy"]:
        by_sampler.setdefault(row["sampler"], []).append(row)
    for sampler, rows in by_sampler.items():
        sure = [row for row in rows if row["p"] < SURE]
        parts = [
            f"{row['at']:.1f} nats {row['mean']:+.1%} [{row['lo']:+.1%}, {row['hi']:+.1%}] (p {row['p']:.1g})"
            for row in sure
        ]
        lines.append(f"  {sampler}: " + ("; ".join(parts) or "no difference that is sure"))
    return lines


def _creative(result: dict[str, Any]) -> list[str]:
    source = result["source"]["creative"]
    lines = [f"different, valid and in no training document, of all samples (the grammar: {source:.1%}):"]
    for each in sorted(result["creative"], key=lambda each: -each["creative"]):
        about = f"  {each['sampler']} {each['number']:g}: {each['creative']:.1%}"
        about += f" [{each['lo']:.1%}, {each['hi']:.1%}]"
        if each["sampler"] != BASE:
            about += f", {each['gain']['mean']:+.1%} against {BASE} (p {each['gain']['p']:.2g})"
        lines.append(about)
    return lines


def _policies(result: dict[str, Any]) -> list[str]:
    lines = []
    for policy in dict.fromkeys(row["policy"] for row in result["policies"]):
        rows = {row["measure"]: row for row in result["policies"] if row["policy"] == policy}
        gold = rows["gold"]
        lines.append(
            f"{policy} after SFT ({gold['n']} seeds): true reward {gold['sft']:.2f} {gold['mean']:+.2f}"
        )
        for name in MEASURES:
            row = rows[name]
            lines.append(
                f"  {NAMES[name]} {row['sft']:.3f} {row['mean']:+.3f} [{row['lo']:+.3f}, {row['hi']:+.3f}], "
                f"p {row['p']:.1g}: {'less' if row['less'] else 'more'} diverse"
            )
        within = [rows[name] for name in MEASURES if not name.startswith("across")]
        held = all(row["less"] and row["p"] < SURE for row in within)
        lines.append(
            f"  Kirk et al. 2024 (less diverse within prompts after RLHF): {'holds' if held else 'not held'} "
            f"by all measures at p < {SURE:g}"
        )
    return lines

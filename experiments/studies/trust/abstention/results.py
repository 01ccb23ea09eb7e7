"""Tables of the study: policies by threshold, remedies with their costs, detectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.evaluate.statistics.intervals import mean_over_seeds
from experiments.evaluate.tasks.calibration import calibration_of
from experiments.evaluate.trust import detectors, selective
from experiments.studies.trust.abstention.measures import Answers, drawn_answers

CLAIM = 0.99  # level of the intervals by which a direction is claimed: p < 0.01
TEMPERATURES = (1.0, 0.5, 0.0)
Seeds = Sequence[Answers]


def policies(by_threshold: Mapping[float, Seeds], start: Seeds) -> pd.DataFrame:
    """A row for each threshold and seed of models of one width: threshold, seed, coverage, error (of
    answers), score, sampled (the expected score at temperature 1), best (the closed form given its own
    calibration), everything (the score of the start's answers to everything), ece and ece_before.

    Args:
      by_threshold: the answers of reinforced models.
      start: of those that they began as.
    """
    rows = []
    for t, of_seeds in by_threshold.items():
        for seed, (after, before) in enumerate(zip(of_seeds, start, strict=True)):
            answered_Q, right_Q = after.answered_Q, after.is_right_Q
            probability_Q = selective.calibrated(after.stated_Q, right_Q)
            abstains_Q = np.exp(after.logps_QV[:, after.nothing])
            answers = 1 - abstains_Q
            sampled_Q = answers * selective.scores(after.right_share(1.0), np.ones_like(answered_Q), t)
            whole = np.ones_like(answered_Q)
            rows.append(
                {
                    "threshold": t,
                    "seed": seed,
                    "coverage": answered_Q.mean(),
                    "error": _error(right_Q, answered_Q),
                    "score": selective.scores(right_Q, answered_Q, t).mean(),
                    "sampled": sampled_Q.mean(),
                    "best": selective.best_expected_scores(probability_Q, t).mean(),
                    "everything": selective.scores(before.is_right_Q, whole, t).mean(),
                    "ece": calibration_of(after.confidence_Q, right_Q.astype(float)).ece,
                    "ece_before": calibration_of(before.confidence_Q, before.is_right_Q.astype(float)).ece,
                }
            )
    return pd.DataFrame(rows)


def remedies(
    start: Seeds,
    reward: Seeds,
    others: Mapping[str, Seeds],
    judged: Seeds,
    p_true: Sequence[np.ndarray],
    costs: Mapping[str, float],
    about: Any,
) -> pd.DataFrame:
    """A row for each remedy: remedy, coverage, error (of answers), score at the threshold with lo and hi,
    gain over answering everything with gain_lo and gain_hi, claimed (whether that is not 0, p < 0.01),
    training (FLOPs in addition), and questions (asked for each answer).

    Args:
      start: the answers of each seed's model that is made to answer.
      reward: of the one that learnt from the reward of the threshold.
      others: of the start asked "again" in other words, and having "read" a biography; of those that have
        "learnt to read" one.
      judged: of the start about the people whom rewards ask about, by which its probabilities are calibrated.
      p_true: of each seed, how likely it is said that the likeliest answers are true.
      costs: training FLOPs of "demonstrations", "reward", "reading" and "verifying".
      about: settings: threshold, n_samples, seed, level.
    """
    t, whole = about.threshold, np.ones(len(start[0].right_Q), bool)
    votes = [detectors.vote_share(drawn_answers(each, about.n_samples, about.seed)) for each in start]
    meant = [
        selective.calibrated_on(known.confidence_Q, known.is_right_Q, each.confidence_Q)
        for known, each in zip(judged, start, strict=True)
    ]
    same = [one.choice_Q == two.choice_Q for one, two in zip(start, others["again"], strict=True)]
    right = [each.is_right_Q for each in start]
    ways: dict[str, tuple[list[np.ndarray], list[np.ndarray], float, float]] = {
        f"answers drawn at temperature {temperature:g}": (
            [each.right_share(temperature) for each in start],
            [whole] * len(start),
            0.0,
            1,
        )
        for temperature in TEMPERATURES
    }
    ways |= {
        "asked again in other words": (right, same, 0.0, 2),
        f"votes of {about.n_samples} samples above t": (
            right,
            [each > t for each in votes],
            0.0,
            about.n_samples,
        ),
        "own probability above t": (right, [each.confidence_Q > t for each in start], 0.0, 1),
        "own probability, calibrated": (right, [each > t for each in meant], 0.0, 1),
        "“I don't know” demonstrated": (
            right,
            [each.answered_Q for each in start],
            costs["demonstrations"],
            1,
        ),
        "reward with a penalty": (
            [each.is_right_Q for each in reward],
            [each.answered_Q for each in reward],
            costs["reward"],
            1,
        ),
        "said to be true, when asked": (right, [each > t for each in p_true], costs["verifying"], 2),
        "biography in the context": (
            [each.is_right_Q for each in others["read"]],
            [whole] * len(start),
            0.0,
            1,
        ),
        "biography, taught to read it": (
            [each.is_right_Q for each in others["learnt to read"]],
            [whole] * len(start),
            costs["reading"],
            1,
        ),
    }
    everything_SQ = np.stack([selective.scores(each, whole, t) for each in right])
    rows, person_Q = [], start[0].person_Q
    for name, (right_SQ, answered_SQ, training, n_questions) in ways.items():
        scores_SQ = np.stack([selective.scores(*each, t) for each in zip(right_SQ, answered_SQ, strict=True)])
        score = mean_over_seeds(scores_SQ, person_Q, about.level).estimate
        gain = mean_over_seeds(scores_SQ - everything_SQ, person_Q, about.level).estimate
        sure = mean_over_seeds(scores_SQ - everything_SQ, person_Q, CLAIM).estimate
        row = {"remedy": name, "coverage": np.mean(answered_SQ)}
        row |= {"error": np.mean([_error(*each) for each in zip(right_SQ, answered_SQ, strict=True)])}
        row |= {"score": score.value, "lo": score.lo, "hi": score.hi, "gain": gain.value}
        row |= {"gain_lo": gain.lo, "gain_hi": gain.hi, "claimed": sure.excludes(0)}
        rows.append(row | {"training": training, "questions": n_questions})
    return pd.DataFrame(rows)


def post_training(start: Seeds, by_threshold: Mapping[float, Seeds], about: Any) -> pd.DataFrame:
    """A row for fine-tuned models, made to answer and not, and for what rewards made of them: after, shares
    of all questions answered right and wrong and left open, and the change in wrong ones from the fine-tuned
    models with lo and hi, claimed if p < 0.01.

    Args:
      start: the answers of fine-tuned models of each seed.
      by_threshold: of those that went on with rewards; at 0 these do not punish wrong answers.
      about: settings: level.
    """
    whole = np.ones(len(start[0].right_Q), bool)
    ways: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
        "fine-tuned, made to answer": [(each.is_right_Q, whole) for each in start],
        "fine-tuned": [(each.is_right_Q, each.answered_Q) for each in start],
    } | {
        f"then rewards, t = {t:g}": [(each.is_right_Q, each.answered_Q) for each in seeds]
        for t, seeds in by_threshold.items()
    }
    wrong = {name: np.stack([~right & said for right, said in each]) for name, each in ways.items()}
    rows = []
    for name, each in ways.items():
        apart_SQ = wrong[name].astype(float) - wrong["fine-tuned"]
        change = mean_over_seeds(apart_SQ, start[0].person_Q, about.level).estimate
        sure = mean_over_seeds(apart_SQ, start[0].person_Q, CLAIM).estimate
        row: dict[str, Any] = {"after": name, "right": np.mean([right & said for right, said in each])}
        row |= {"wrong": wrong[name].mean(), "open": np.mean([~said for _, said in each])}
        rows.append(
            row | {"change": change.value, "lo": change.lo, "hi": change.hi, "claimed": sure.excludes(0)}
        )
    return pd.DataFrame(rows)


def tells(start: Seeds, p_true: Sequence[np.ndarray], about: Any) -> pd.DataFrame:
    """A row for each seed and detector: seed, detector, auroc with lo and hi, difference from the probability
    of the answer with difference_lo and difference_hi, and area (under risk over coverage).

    Args:
      start: the answers of each seed's model; p_true: how likely it is said that they are true.
      about: settings: n_samples, seed, level, n_bootstrap.
    """
    rows = []
    for seed, each in enumerate(start):
        drawn_QN, right_Q = drawn_answers(each, about.n_samples, about.seed), each.is_right_Q
        how = (about.level, about.n_bootstrap, about.seed, each.person_Q)
        found = detectors_of(each, drawn_QN, p_true[seed])
        base_Q = found["probability of the answer"]
        for name, detector_Q in found.items():
            itself = detectors.auroc_interval(detector_Q, right_Q, *how)
            apart = detectors.auroc_difference(detector_Q, base_Q, right_Q, *how)
            row = {"seed": seed, "detector": name, "auroc": itself.value, "lo": itself.lo, "hi": itself.hi}
            row |= {"difference": apart.value, "difference_lo": apart.lo, "difference_hi": apart.hi}
            rows.append(row | {"area": selective.area_under_risk(detector_Q, right_Q)})
    return pd.DataFrame(rows)


def detectors_of(answers: Answers, drawn_QN: np.ndarray, p_true_Q: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers that are larger where an answer is more likely to be right, float64[Q] each.

    Args:
      answers: of a model; drawn_QN: N of them to each question.
      p_true_Q: how likely it is said that the likeliest one is true.
    """
    return {
        "probability of the answer": answers.confidence_Q,
        "semantic entropy": -detectors.answer_entropy(drawn_QN),
        "self-consistency": detectors.vote_share(drawn_QN),
        "said to be true, when asked": p_true_Q,
        "not to abstain": -answers.logps_QV[:, answers.nothing],
    }


def curves(start: Seeds, p_true: Sequence[np.ndarray], about: Any) -> pd.DataFrame:
    """Risk over coverage of each detector, all seeds' questions together: detector, coverage, risk.

    Args:
      start: the answers of each seed's model; p_true: how likely it is said that they are true.
      about: settings: n_samples, seed.
    """
    parts = [
        detectors_of(each, drawn_answers(each, about.n_samples, about.seed), true)
        for each, true in zip(start, p_true, strict=True)
    ]
    right = np.concatenate([each.is_right_Q for each in start])
    rows = []
    for name in parts[0]:
        coverage, risk = selective.risk_coverage(np.concatenate([part[name] for part in parts]), right)
        rows.append(pd.DataFrame({"detector": name, "coverage": coverage, "risk": risk}))
    return pd.concat(rows, ignore_index=True)


def knowledge(by_width: Mapping[int, Seeds]) -> pd.DataFrame:
    """A row for each width and number of exposures: width, exposures, right (share of all answers),
    confidence and abstains (mean probabilities), over seeds."""
    rows = []
    for width, of_seeds in by_width.items():
        exposures_Q = of_seeds[0].exposures_Q
        for n in np.unique(exposures_Q):
            at = exposures_Q == n
            row: dict[str, Any] = {"width": width, "exposures": int(n)}
            row["right"] = np.mean([each.is_right_Q[at].mean() for each in of_seeds])
            row["confidence"] = np.mean([each.confidence_Q[at].mean() for each in of_seeds])
            row["abstains"] = np.mean([np.exp(each.logps_QV[at, each.nothing]).mean() for each in of_seeds])
            rows.append(row)
    return pd.DataFrame(rows)


def summary(policies: pd.DataFrame, said: dict[str, Any], about: Any) -> dict[str, Any]:
    """What is claimed: how far policies of each threshold are short of the optimum, by seed too, and the
    larger models against what was predicted, and against the smaller ones.

    Args:
      policies: of both widths.
      said: prediction.json.
      about: settings: widths, threshold.
    """
    smaller, larger = about.widths
    mine = policies[policies["width"] == smaller]
    of_thresholds: Any = mine.groupby("threshold")
    of_optimum = {
        f"{t:g}": {
            "score": float(rows["score"].mean()),
            "optimum": float(rows["best"].mean()),
            "short_of_it": (rows["best"] - rows["score"]).tolist(),
        }
        for t, rows in of_thresholds
    }
    verified: Any = policies[policies["width"] == larger]
    same: Any = mine[mine["threshold"] == about.threshold]
    compared = {
        name: {
            "predicted": said[name],
            "measured": float(verified[name].mean()),
            "smaller": float(same[name].mean()),
        }
        for name in ("score", "coverage")
    }
    return {"policies": of_optimum, "larger": compared, "threshold": about.threshold}


def last_words(result: dict[str, Any], tables: Mapping[str, pd.DataFrame], about: Any) -> str:
    """Remedies, policies against the closed form, detectors, and the prediction.

    Args:
      result: of `summary`.
      tables: remedies, policies, detectors, post_training.
      about: settings.
    """
    lines = [f"score at t = {about.threshold:g}, with its {about.level:.0%} interval; * gain with p < 0.01:"]
    for row in tables["remedies"].to_dict("records"):
        lines.append(
            f"  {row['remedy']:<34} {row['score']:+.3f} [{row['lo']:+.3f}, {row['hi']:+.3f}]"
            f"{'*' if row['claimed'] else ' '} answers {row['coverage']:>4.0%}, of these {row['error']:.0%} "
            f"wrong; asks {row['questions']:g}, {row['training']:.1e} FLOPs"
        )
    lines.append("of all questions, answered right and wrong; * wrong ones other than fine-tuned, p < 0.01:")
    for row in tables["post_training"].to_dict("records"):
        lines.append(
            f"  {row['after']:<34} {row['right']:.3f} right, {row['wrong']:.3f} wrong "
            f"({row['change']:+.3f} [{row['lo']:+.3f}, {row['hi']:+.3f}]){'*' if row['claimed'] else ''}"
        )
    lines.append("policies against answering exactly where their own calibrated probability is above t:")
    of_policies: Any = tables["policies"].groupby(["width", "threshold"])
    for t, rows in of_policies:
        means = rows.mean()
        lines.append(
            f"  width {t[0]}, t = {t[1]:g}: {means['score']:+.3f} of {means['best']:+.3f}, answering "
            f"{means['coverage']:.0%}; everything {means['everything']:+.3f}; ECE "
            f"{means['ece_before']:.3f} before, {means['ece']:.3f} after"
        )
    for name, rows in tables["detectors"].groupby("detector", sort=False):
        spans = ", ".join(f"{r['auroc']:.3f} [{r['lo']:.3f}, {r['hi']:.3f}]" for r in rows.to_dict("records"))
        lines.append(f"AUROC of {name}, each seed: {spans}")
    for name, each in result["larger"].items():
        lines.append(
            f"{name} of the larger model: predicted {each['predicted']:.3f}, measured {each['measured']:.3f} "
            f"(the smaller one had {each['smaller']:.3f})"
        )
    return "\n".join(lines)


def _error(right_Q: np.ndarray, answered_Q: np.ndarray) -> float:
    """The share of answers that is wrong; nan without any."""
    return float(1 - np.asarray(right_Q, float)[answered_Q].mean()) if answered_Q.any() else float("nan")

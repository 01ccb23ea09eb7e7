"""Is a jump in a benchmark the metric's doing? All-or-nothing metrics predicted from smooth ones.

An answer of n tokens is right if all of them are: where each is right with probability p, that is p^n, which
leaps where p creeps (Schaeffer et al. 2023, arXiv 2304.15004, section 2). So two questions are asked of a
family of models. Is exact match a smooth function of the per-token metric, such as this one, or does it leap
beside it? And is the per-token metric itself smooth over scale, or does it break? Where both are smooth, the
metric made the jump. "Smooth" is a low polynomial of logarithms, and both tests look for a step in it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.emergence import breaks

FEWEST = 5  # models; the smooth function and a leap take 4 numbers
STEPS = 12  # of Fisher scoring


def exact_match(token_accuracy, n_answer):
    """Share of answers of `n_answer` tokens that are right as a whole, tokens being independent: p^n.

    Of a loss in nats per token of the right answer, take token_accuracy = exp(-loss). Scalars or arrays.
    """
    return np.asarray(token_accuracy, float) ** n_answer


def brier(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Brier score: mean over questions of sum_k (p_k - [k is right])^2, from 0 (sure and right) to 2.

    Brier 1950, Monthly Weather Review 78:1. The smooth companion of multiple-choice accuracy, which sees no
    more than which choice is the largest (Schaeffer et al. 2023, section 5).

    Args:
      probabilities: of each choice [questions, choices].
      right: number of the right choice, from 0 [questions].

    Raises:
      ValueError: the shapes do not fit, or rows are not probabilities.
    """
    p, right = np.asarray(probabilities, float), np.asarray(right)
    if p.ndim != 2 or not len(p) or right.shape != p.shape[:1]:
        raise ValueError(
            f"probabilities {p.shape}, right {right.shape}; expected [questions, choices] and [questions]"
        )
    if not (np.all(p >= 0) and np.allclose(p.sum(axis=1), 1, atol=1e-3)):
        raise ValueError("probabilities: each row must be 0 or more and sum to 1")
    if not np.isin(right, np.arange(p.shape[1])).all():
        raise ValueError(f"right must be numbers of choices, 0 to {p.shape[1] - 1}")
    return float(((p - np.eye(p.shape[1])[right.astype(int)]) ** 2).sum(axis=1).mean())


@dataclass(frozen=True, eq=False)
class Jump:
    """What stands behind a rise of exact match.

    Attributes:
      scale, exact, predicted: of each model, smallest first; `predicted` is exact match as a smooth function
        of the per-token metric.
      length: how many independent tokens an answer counts for, as a share of n_answer, where half the answers
        are right; with its interval (level 1 - alpha). 1 is p^n. Less: tokens stand or fall together, or
        questions differ in difficulty.
      p_leap, leap_at: p-value of a step in exact match that `predicted` lacks, and the scale where it fits
        best. p_break, break_at: the same of a break in the per-token metric; NaN if too few models.
      verdict: "metric" (neither), "break" (the per-token metric breaks) or "leap" (exact match does what the
        per-token metric does not). Where the metric did it all, the chance of another verdict is alpha.
    """

    scale: np.ndarray
    exact: np.ndarray
    predicted: np.ndarray
    length: float
    length_lo: float
    length_hi: float
    p_leap: float
    leap_at: float
    p_break: float
    break_at: float
    verdict: str
    alpha: float

    def __str__(self) -> str:
        """One sentence with its evidence."""
        at = int(np.argmax(np.diff(self.exact)))
        measured, predicted = (f"{v[at]:.2f} to {v[at + 1]:.2f}" for v in (self.exact, self.predicted))
        unseen = np.isnan(self.p_break)
        smooth = "too few models to see it break" if unseen else f"a break in it: p = {self.p_break:.2g}"
        counts = f"{self.length:.2f} [{self.length_lo:.2f}, {self.length_hi:.2f}]"
        why = {
            "metric": f"all of it the metric's doing (a leap beside it: p = {self.p_leap:.2g}; {smooth}; an "
            f"answer counts for {counts} of its tokens)",
            "break": f"but that metric itself breaks near {self.break_at:.2g} (p = {self.p_break:.2g})",
            "leap": f"and exact match leaps beside it near {self.leap_at:.2g} (p = {self.p_leap:.2g})",
        }
        return (
            f"Exact match rises most from {self.scale[at]:.2g} to {self.scale[at + 1]:.2g}, {measured}; the "
            f"per-token metric predicts {predicted}, {why[self.verdict]}."
        )


def explain_jump(
    table: pd.DataFrame, scale: str = "flops", n_draws: int = 1000, seed: int = 0, alpha: float = 0.05
) -> Jump:
    """Tests whether a rise of exact match over scale is the metric's doing.

    Two likelihood-ratio tests, their distributions by parametric bootstrap, each at alpha / 2: of a step in
    exact match beside a smooth function of the per-token metric (binomial), and of a break in that metric
    over scale (`breaks.find_break`). Ratios of deviances are compared: what both forms miss is no step.

    Args:
      table: a row a model: `scale`, exact_match (share of answers), n_answer (tokens of an answer),
        n_questions, and either token_accuracy (share of the tokens of the same answers that are right) or
        answer_loss (nats per token of the right answers).
      scale: the column that models are ordered by.
      n_draws, seed: of the bootstrap. alpha: level of both tests together.

    Raises:
      ValueError: a column is missing or a value is out of range, fewer than 5 models, or nothing rises.
    """
    is_loss = "answer_loss" in table
    x, exact, n_answer, n_questions, smooth = _columns(
        table, scale, "answer_loss" if is_loss else "token_accuracy"
    )
    half = 0.5 / (n_answer * n_questions + 1)  # tokens that were never, or always, right may be so by luck
    loss = smooth if is_loss else -np.log(np.clip(smooth, half, 1 - half))

    predicted, ratios = (one[0] for one in _leaps(loss[None], exact[None], n_answer, n_questions))
    n_decisive = np.maximum(-np.log(predicted) / loss, 1)  # independent tokens that an answer counts for
    rng = np.random.default_rng(seed)
    drawn = rng.binomial(n_questions.astype(int), predicted, (n_draws, len(x))) / n_questions
    loss_drawn, variance = np.broadcast_to(loss, drawn.shape), 0.0
    if not is_loss:
        p = np.exp(-loss)
        p_drawn = _accuracy_given_exact(drawn, p, predicted, n_decisive, n_questions, rng)
        loss_drawn = -np.log(np.clip(p_drawn, half, 1 - half))
        variance = (1 - p) / (p * n_questions * n_decisive * loss**2)  # of log loss
    predicted_drawn, by_chance = _leaps(loss_drawn, drawn, n_answer, n_questions)
    p_leap = float((1 + np.sum(by_chance.max(axis=1) >= ratios.max())) / (1 + n_draws))

    p_break, break_at = np.nan, np.nan
    if len(np.unique(x)) >= breaks.FEWEST:
        p_break, break_at = breaks.find_break(x, loss, variance, n_draws, seed)
    at = np.abs(predicted - 0.5).argmin()
    lengths = -np.log(predicted_drawn[:, at]) / (loss_drawn[:, at] * n_answer[at])
    lo, hi = np.quantile(lengths, [alpha / 2, 1 - alpha / 2])
    leap = 1 + int(ratios.argmax())
    return Jump(
        scale=x,
        exact=exact,
        predicted=predicted,
        length=float(-np.log(predicted[at]) / (loss[at] * n_answer[at])),
        length_lo=float(lo),
        length_hi=float(hi),
        p_leap=p_leap,
        leap_at=float(np.sqrt(x[leap]) * np.sqrt(x[leap + 1])),
        p_break=p_break,
        break_at=break_at,
        verdict="leap" if p_leap < alpha / 2 else "break" if p_break < alpha / 2 else "metric",
        alpha=alpha,
    )


def _columns(table: pd.DataFrame, scale: str, smooth: str) -> np.ndarray:
    """scale, exact_match, n_answer, n_questions and the smooth metric [5, models], smallest scale first."""
    rules = {
        scale: (1e-300, np.inf, "positive"),
        "exact_match": (0, 1, "from 0 to 1"),
        "n_answer": (1, np.inf, "1 or more"),
        "n_questions": (1, np.inf, "1 or more"),
        smooth: (1e-300, np.inf, "positive") if smooth == "answer_loss" else (0, 1, "from 0 to 1"),
    }
    missing = [name for name in rules if name not in table]
    if missing:
        raise ValueError(
            f"no column {', '.join(missing)}; the table has {', '.join(map(str, table.columns))}"
        )
    found = table[list(rules)].to_numpy(float).T
    found = found[:, found[0].argsort(kind="stable")]
    for values, (name, (low, high, rule)) in zip(found, rules.items()):
        wrong = ~(np.isfinite(values) & (values >= low) & (values <= high))
        if wrong.any():
            raise ValueError(f"column {name}: {values[wrong][0]:g} is not {rule}")
    if found.shape[1] < FEWEST or not np.diff(found[1]).max() > 0:
        raise ValueError(f"fewer than {FEWEST} models, or exact_match rises nowhere: no jump to explain")
    return found


def _leaps(loss, exact, n_answer, n_questions) -> tuple[np.ndarray, np.ndarray]:
    """predicted [draws, models], and how many times smaller a step makes the deviance [draws, places].

    log(-log predicted) is log(n_answer * loss), as for independent tokens, plus a polynomial of log loss.
    loss, exact: [draws, models]. The first step is after two models, the last before two.
    """
    z = np.log(loss)
    offset, z = np.log(n_answer) + z, z - z.mean(axis=1, keepdims=True)
    smooth = z[..., None] ** np.arange(2 + (z.shape[1] >= breaks.MANY))
    start = np.log(-np.log((n_questions * exact + 0.5) / (n_questions + 1)))
    eta, deviance = _fit_binomial(smooth, offset, exact, n_questions, start)
    after = []
    for place in range(2, z.shape[1] - 1):
        step = np.broadcast_to(np.arange(z.shape[1]) >= place, z.shape)[..., None]
        after.append(
            _fit_binomial(np.concatenate([smooth, step], axis=-1), offset, exact, n_questions, eta)[1]
        )
    return np.exp(-np.exp(eta)), deviance[:, None] / np.maximum(np.stack(after, axis=1), 1e-9)


def _fit_binomial(design, offset, exact, n_questions, eta) -> tuple[np.ndarray, np.ndarray]:
    """eta = log(-log predicted) [draws, models] of the best binomial likelihood, and its deviance [draws]."""
    for _ in range(STEPS):
        predicted = np.exp(-np.exp(eta))
        slope = -np.exp(eta) * predicted
        weighted = design * (n_questions * slope**2 / (predicted * (1 - predicted)))[..., None]
        aim = eta + (exact - predicted) / slope - offset
        square = np.einsum("dmj,dmk->djk", weighted, design)
        ridge = 1e-9 * np.trace(square, axis1=1, axis2=2) + 1e-12
        square = square + ridge[:, None, None] * np.eye(design.shape[-1])
        theta = np.linalg.solve(square, np.einsum("dmj,dm->dj", weighted, aim)[..., None])
        eta = np.clip(offset + (design @ theta)[..., 0], -25.0, 5.5)  # predicted from 1e-106 to 1 - 1e-11
    predicted = np.exp(-np.exp(eta))
    with np.errstate(divide="ignore", invalid="ignore"):
        right = np.where(exact > 0, exact * np.log(exact / predicted), 0.0)
        wrong = np.where(exact < 1, (1 - exact) * np.log((1 - exact) / (1 - predicted)), 0.0)
    return eta, 2 * (n_questions * (right + wrong)).sum(axis=1)


def _accuracy_given_exact(exact, p, predicted, n_decisive, n_questions, rng) -> np.ndarray:
    """Token accuracies of the same answers whose exact matches were drawn [draws, models].

    Of n answers of so many independent tokens each: Cov(exact, accuracy) = predicted (1 - p) / n.
    """
    slope = (1 - p) / (1 - predicted)
    rest = p * (1 - p) / n_decisive - slope**2 * predicted * (1 - predicted)
    scatter = np.sqrt(np.maximum(rest, 0) / n_questions)
    return p + slope * (exact - predicted) + scatter * rng.standard_normal(exact.shape)

"""What the runs of the study of form are asked, and how the ways compare: differences and crossings."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import models
from experiments.config import RunConfig
from experiments.evaluate.loaded_model import load_model
from experiments.evaluate.structured import learnt_repair, parsing
from experiments.evaluate.structured.json_documents import repaired
from experiments.objective_configs import ClassifierConfig
from experiments.studies.data.domains.measures import break_even
from experiments.training.checkpoints.load import load_whole

PROMPT, LIBRARY, LEARNT, CONSTRAINED = "prompt", "json-repair", "learnt repair", "constrained"
FINE_TUNED = "fine-tuned"
HEAD, LAST, WHOLE = "head alone", "head and last layer", "head and network"
GENERATED, HEADS = (PROMPT, LIBRARY, LEARNT, CONSTRAINED, FINE_TUNED), (HEAD, LAST, WHOLE)
# (one way, another, measure, margin): by how much the first is ahead of the second, less the margin.
COMPARED = (
    (CONSTRAINED, PROMPT, "right", 0.0),
    (LEARNT, LIBRARY, "right", 0.0),
    (CONSTRAINED, LEARNT, "right", 0.0),
    (FINE_TUNED, CONSTRAINED, "right", 0.0),
    (WHOLE, HEAD, "label", 0.0),
    (WHOLE, FINE_TUNED, "label", 0.0),
    (HEAD, CONSTRAINED, "label", 0.0),
)
CROSSING = (  # of these, where the first begins, or stops, to be ahead by the margin
    (CONSTRAINED, PROMPT, "valid", 0.1),
    (CONSTRAINED, LEARNT, "valid", 0.1),
    (CONSTRAINED, FINE_TUNED, "valid", 0.1),
    (CONSTRAINED, PROMPT, "right", 0.05),
    (CONSTRAINED, LEARNT, "right", 0.0),
    (FINE_TUNED, CONSTRAINED, "right", 0.0),
    (WHOLE, FINE_TUNED, "label", 0.05),
    (HEAD, CONSTRAINED, "label", 0.0),
)
SEEDS = 4  # of what is drawn apart for each of a model's: questions, mined questions, their examples


@dataclass(frozen=True)
class Sampling:
    """What a model is asked: `n_questions` held-out questions, `n` answers each, behind `shots` examples; and
    `n_mined` training questions, an answer each, whose mistakes repair learns from."""

    n_questions: int = 64
    n: int = 4
    shots: int = 1
    n_mined: int = 192


@dataclass(frozen=True)
class Transferred:
    """A pretrained model and what is made of it: fine-tuned, and classifiers by way."""

    pretrained: RunConfig
    fine_tuned: RunConfig
    heads: dict[str, RunConfig]


def measured(runs: Path, made: Transferred, asked: Sampling, seed: int) -> pd.DataFrame:
    """A row a way: way, d_model, n_params, seed, valid, right, label, prompt_tokens, tokens, seconds; of the
    constrained one what its weights say; of learnt repair the number of rules.

    Args:
      runs: the folder that has the runs.
      made: the models.
      asked: how they are asked.
      seed: of the questions and samples.
    """
    first = 1000 + SEEDS * seed
    questions = parsing.first_questions(first, "validation", asked.n_questions)
    base = load_model(runs / made.pretrained.run_id)
    end = parsing.line_end(base)
    prompts = parsing.prompts_by_example(base, questions, asked.shots, first + 1)
    said = {PROMPT: parsing.answers(base, prompts, end, asked.n, seed)}
    rules = mined(base, asked, end, first + 2)
    said[LIBRARY] = parsing.mended(said[PROMPT], repaired)
    said[LEARNT] = parsing.mended(said[PROMPT], lambda text: learnt_repair.apply(rules, text))
    said[CONSTRAINED], samples = parsing.constrained_answers(base, prompts, end, asked.n, seed)
    tuned = load_model(runs / made.fine_tuned.run_id)
    said[FINE_TUNED] = parsing.fine_tuned_answers(tuned, questions, asked.n, seed)
    rows = []
    for way in GENERATED:
        grades, answers = parsing.graded(questions, said[way]), said[way]
        row = {"way": way, **{name: float(each.mean()) for name, each in grades.items()}}
        row |= {name: getattr(answers, name) for name in ("prompt_tokens", "tokens", "seconds")}
        row |= parsing.bias(samples, grades["right"]) if way == CONSTRAINED else {}
        rows.append(row | ({"rules": len(rules)} if way == LEARNT else {}))
    for way, run in made.heads.items():
        config, _, params = load_whole(runs / run.run_id)
        assert isinstance(config.objective, ClassifierConfig)
        right_Q, n_read, seconds = parsing.classified(
            models.build(config.model), params, config.objective, base, questions
        )
        row = {"way": way, "label": float(right_Q.mean()), "prompt_tokens": n_read, "tokens": 0}
        rows.append(row | {"seconds": seconds})
    about = {"run_id": made.pretrained.run_id, "d_model": made.pretrained.model.d_model}
    about |= {"n_params": models.count(made.pretrained.model).n_params, "seed": seed}
    return pd.DataFrame(rows).assign(**about)


def mined(base: Any, asked: Sampling, end: int, seed: int) -> list[learnt_repair.Rule]:
    """Rules from a model's answers to training questions.

    Args:
      base: the pretrained model.
      asked: how many.
      end: the token that ends an answer.
      seed: of the questions, and the next one of their examples.
    """
    questions = parsing.first_questions(seed, "train", asked.n_mined)
    prompts = parsing.prompts_by_example(base, questions, asked.shots, seed + 1)
    said = parsing.answers(base, prompts, end, 1, seed % 2**12)
    return learnt_repair.learn([text for [text] in said.texts], [json.dumps(one.query) for one in questions])


def gaps(table: pd.DataFrame, one: str, other: str, name: str) -> pd.DataFrame:
    """By how much one way is ahead of another: a row a seed, a column a size.

    Args:
      table: of all ways, sizes and seeds.
      one, other: ways.
      name: the measure.
    """
    wide = table.pivot(index=["seed", "n_params"], columns="way", values=name)
    return (wide[one] - wide[other]).unstack("n_params")  # type: ignore[return-value]


def differences(table: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    """The mean difference of each pair of COMPARED over all sizes and seeds, with its t interval and p-value;
    and that of constrained answers from what their weights say."""
    found = []
    for one, other, name, _ in COMPARED:
        found.append(
            {"one": one, "other": other, "measure": name} | mean_of(gaps(table, one, other, name), level)
        )
    biases = table.loc[table["way"] == CONSTRAINED, "bias"]
    return [*found, {"one": CONSTRAINED, "other": "its weights", "measure": "right"} | mean_of(biases, level)]


def mean_of(values: Any, level: float) -> dict[str, float]:
    """{"mean", "lo", "hi", "p", "n"}: of values that stand for themselves, by Student's t; p that the mean is
    0 (two-sided)."""
    x = np.asarray(values, float).ravel()
    x = x[np.isfinite(x)]
    se = x.std(ddof=1) / np.sqrt(len(x))
    half = stats.t.ppf((1 + level) / 2, len(x) - 1) * se
    p = 2 * stats.t.sf(abs(x.mean()) / se, len(x) - 1) if se else float(x.mean() == 0)
    return {"mean": float(x.mean()), "lo": x.mean() - half, "hi": x.mean() + half, "p": float(p), "n": len(x)}


def crossings(table: pd.DataFrame, level: float, seed: int) -> list[dict[str, Any]]:
    """Of each of CROSSING the size from which on the first way is ahead by the margin, or no longer: "begins"
    says which, and is true where it is not at the smallest size."""
    found = []
    for one, other, name, margin in CROSSING:
        ahead = gaps(table, one, other, name) - margin
        sizes = [int(size) for size in ahead.columns]
        begins = bool(ahead.iloc[:, 0].mean() <= 0)
        at = break_even(sizes, ahead.to_numpy(float) * (-1 if begins else 1), level, seed)
        about = {"one": one, "other": other, "measure": name, "margin": margin, "begins": begins}
        found.append(about | at)
    return found


def verified(said: list[dict[str, Any]], largest: pd.DataFrame) -> list[dict[str, Any]]:
    """What was predicted of the largest size beside what it came to: measured, of each seed, and inside."""
    found = []
    for row in said:
        came = largest.loc[largest["way"] == row["way"], row["measure"]].to_numpy(float)
        inside = int(np.sum((row["lo"] <= came) & (came <= row["hi"])))
        found.append(row | {"measured": came.tolist(), "inside": inside})
    return found


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, a row a size and way."""
    names = ["valid", "right", "label", "prompt_tokens", "tokens", "seconds"]
    names += ["allowed", "weighted", "bias", "worth", "rules"]
    means: Any = table.groupby(["n_params", "way"], sort=False)[names].mean()
    return means.reset_index()


def in_words(table: pd.DataFrame, found: dict[str, Any], level: float) -> str:
    """The table of the largest size, the differences, the crossings, and what was predicted."""
    largest = summary(pd.DataFrame(table[table["n_params"] == table["n_params"].max()]))
    shown = largest[["way", "valid", "right", "label", "prompt_tokens", "tokens"]].assign(
        ms=1000 * largest["seconds"]
    )
    lines = [f"at {largest['n_params'].iloc[0]:,} parameters, means over seeds:"]
    lines += shown.to_string(index=False, float_format=lambda x: f"{x:.3g}", na_rep="").splitlines()
    lines += _words_of_weights(largest)
    lines.append(f"differences over all sizes and seeds, with {level:.0%} intervals:")
    for each in found["differences"]:
        lines.append(
            f"  {each['one']} − {each['other']}, {each['measure']}: {each['mean']:+.3f} "
            f"[{each['lo']:+.3f}, {each['hi']:+.3f}], p = {each['p']:.2g}"
        )
    lines += [f"  {crossing_in_words(each)}" for each in found["crossings"]]
    lines.append("of the largest, predicted before it was trained:")
    for each in found["verify"]:
        lines.append(
            f"  {each['way']}, {each['measure']}: predicted {each['predicted']:.3f} [{each['lo']:.3f}, "
            f"{each['hi']:.3f}], measured {np.mean(each['measured']):.3f} ({each['inside']} of "
            f"{len(each['measured'])} seeds inside)"
        )
    return "\n".join(lines)


def _words_of_weights(largest: pd.DataFrame) -> Iterator[str]:
    row = largest[largest["way"] == CONSTRAINED].iloc[0]
    prompt = largest[largest["way"] == PROMPT].iloc[0]
    yield (
        f"constrained: its weights say that {row['allowed']:.1%} of the model's own answers are valid "
        f"({prompt['valid']:.1%} of those to the prompt were); right {row['right']:.1%} of its samples, "
        f"{row['weighted']:.1%} by weight; a sample is worth {row['worth']:.2f}"
    )


def crossing_in_words(found: dict[str, Any]) -> str:
    """At which sizes a way is ahead of another."""
    ahead = f"{found['one']} ahead of {found['other']} ({found['measure']}"
    ahead += f", by {found['margin']:g} or more)" if found["margin"] else ")"
    smallest, largest = found["sizes"][0], found["sizes"][-1]
    if found["beyond"]:
        return f"{ahead}: at {'no' if found['begins'] else 'every'} size from {smallest:,} to {largest:,}"
    lo = f"{found['lo']:,.0f}" if found["lo"] else f"below {smallest:,}"
    hi = f"{found['hi']:,.0f}" if found["hi"] else f"above {largest:,}"
    which = "from" if found["begins"] else "up to"
    return f"{ahead}: {which} {found['at']:,.0f} parameters [{lo} to {hi}]"

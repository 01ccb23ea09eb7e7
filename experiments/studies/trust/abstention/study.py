"""Remedies against made-up answers: what each costs, and what it buys.

1. pretrain: models of two widths, several seeds each, read biographies of people whom they meet from once to
   many times, and questions about some of them.
2. fine-tune: each learns to answer questions about people that it has read of, and to abstain about others.
   That one, made to answer everything, is what remedies are compared with.
3. teach more: the smaller ones learn to answer from a biography in the context, and to say whether an answer
   is true.
4. reinforce: the smaller ones, with rewards whose wrong answers cost t / (1 - t), for several t.
5. verify: the larger ones, with one t. Before that, what they will score and how much they will answer is
   computed from how well calibrated they are: whoever answers exactly where it is right with a probability
   above t scores E max(0, (p - t) / (1 - t)).

All questions are about people that no training has asked about.
"""

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.config import RunConfig
from experiments.evaluate.trust import selective
from experiments.fields import apply_overrides
from experiments.files import read_json, write_atomic, write_json
from experiments.objective_configs import QuestionsConfig
from experiments.studies.study import Stage, Study, with_prepared_data
from experiments.studies.trust.abstention import figures, measures, results
from experiments.studies.trust.abstention.runs import (
    Settings,
    answering,
    everybody,
    given,
    pretrained,
    reinforce,
    reinforced,
    starts,
)
from experiments.study_report import write_findings
from scaling.report import Picture
from scaling.table.runs import Runs

TABLES = {
    "remedies.csv": "Each remedy: coverage, error of answers, score, training FLOPs, questions an answer",
    "policies.csv": "Policies by threshold and seed, with the closed-form optimum",
    "post_training.csv": "Right and wrong answers after fine-tuning, and after rewards that punish or do not",
    "detectors.csv": "How well detectors tell right answers from wrong ones",
    "knowledge.csv": "What models know, by how often they read about someone",
}


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    reinforced(settings, settings.widths, settings.thresholds)
    return with_prepared_data(settings.data, lambda data: build(dataclasses.replace(settings, data=data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    smaller, larger = settings.widths
    stages = (
        Stage("pretrain", lambda runs: [pretrained(settings, *each) for each in starts(settings)]),
        Stage("fine-tune", lambda runs: [answering(settings, *each) for each in starts(settings)]),
        Stage("teach more", lambda runs: taught(settings)),
        Stage("reinforce", lambda runs: reinforced(settings, [smaller], settings.thresholds)),
        Stage(
            "verify",
            lambda runs: reinforced(settings, [larger], [settings.threshold]),
            before=lambda folder, runs, configs: predict(settings, folder),
        ),
    )
    summary = "what models say that do not know: abstention by reward, and other remedies, with their costs"
    return Study("abstention", summary, settings, stages, functools.partial(finish, settings))


def taught(settings: Settings) -> list[RunConfig]:
    """The smaller models that have learnt to read what is in the context, and to verify."""
    each = itertools.product(range(settings.n_seeds), ("biography", "answer"))
    return [given(settings, settings.widths[0], seed, what) for seed, what in each]


def others(settings: Settings) -> QuestionsConfig:
    """Those who are asked about: of the people that the corpus has no questions about."""
    return QuestionsConfig(everybody(settings), about="others")


def ask(settings: Settings, folder: Path, config: RunConfig, **how: Any) -> measures.Answers:
    """The answers of a run to the questions of the study."""
    return measures.ask(folder / "runs", config, others(settings), **how)


def predict(settings: Settings, folder: Path) -> None:
    """Writes what the larger models will score and answer, by how well calibrated they are."""
    t, rows = settings.threshold, []
    for seed in range(settings.n_seeds):
        before = ask(settings, folder, answering(settings, settings.widths[1], seed))
        probability_Q = selective.calibrated(before.stated_Q, before.is_right_Q)
        best_Q = selective.best_expected_scores(probability_Q, t)
        rows.append({"seed": seed, "score": best_Q.mean(), "coverage": np.mean(probability_Q > t)})
    found: Any = pd.DataFrame(rows)
    means = {name: float(found[name].mean()) for name in ("score", "coverage")}
    write_json(folder / "prediction.json", {"threshold": t, **means, "seeds": found.to_dict("records")})


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Asks all models; writes policies.csv, remedies.csv, detectors.csv, abstention.json and pictures."""
    smaller, larger = settings.widths

    def of_seeds(config_of: Any, width: int, *more: Any, **how: Any) -> list[measures.Answers]:
        configs = [config_of(settings, width, seed, *more) for seed in range(settings.n_seeds)]
        return [ask(settings, folder, config, **how) for config in configs]

    starts_of = {width: of_seeds(answering, width) for width in settings.widths}
    by_threshold = {t: of_seeds(reinforce, smaller, t) for t in settings.thresholds}
    verified = {settings.threshold: of_seeds(reinforce, larger, settings.threshold)}
    ways = {
        "again": of_seeds(answering, smaller, wording=1),
        "read": of_seeds(answering, smaller, read=True),
        "learnt to read": of_seeds(given, smaller, "biography", read=True),
    }
    p_true = [
        measures.p_true(folder / "runs", given(settings, smaller, seed, "answer"), others(settings), answers)
        for seed, answers in enumerate(starts_of[smaller])
    ]
    flops = dict(zip(runs.table["run_id"], runs.table["flops"]))
    costs = {
        "demonstrations": float(flops[answering(settings, smaller, 0).run_id]),
        "reward": float(flops[reinforce(settings, smaller, 0, settings.threshold).run_id]),
        "reading": float(flops[given(settings, smaller, 0, "biography").run_id]),
        "verifying": float(flops[given(settings, smaller, 0, "answer").run_id]),
    }
    policies = pd.concat(
        [
            results.policies(by_threshold, starts_of[smaller]).assign(width=smaller),
            results.policies(verified, starts_of[larger]).assign(width=larger),
        ],
        ignore_index=True,
    )
    tables = {
        "policies": policies,
        "remedies": results.remedies(
            *(starts_of[smaller], by_threshold[settings.threshold], ways),
            *(of_seeds(answering, smaller, split="train"), p_true, costs, settings),
        ),
        "post_training": results.post_training(starts_of[smaller], by_threshold, settings),
        "detectors": results.tells(starts_of[smaller], p_true, settings),
        "knowledge": results.knowledge(starts_of),
    }
    for name, table in tables.items():
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False))
    said = read_json(folder / "prediction.json")
    result = results.summary(policies, said, settings) | {"costs": costs}
    write_json(folder / "abstention.json", result)
    curves = results.curves(starts_of[smaller], p_true, settings)
    write_findings(folder, pictures(settings, tables, curves), TABLES)
    return results.last_words(result, tables, settings)


def pictures(settings: Settings, tables: dict[str, pd.DataFrame], curves: pd.DataFrame) -> list[Picture]:
    """Those of the page."""
    return [
        Picture(
            "policies",
            "Score of policies that learnt when to abstain",
            "Points: each seed. Dashed: what is expected of answering where the calibrated probability "
            "is above t. Grey: answering everything.",
            figures.policies(tables["policies"]),
        ),
        Picture(
            "remedies",
            "What remedies buy",
            f"Score with a wrong answer at -t / (1 - t), t = {settings.threshold:g}, and its "
            f"{settings.level:.0%} interval over seeds and questions; colour: share of questions answered.",
            figures.remedies(tables["remedies"]),
        ),
        Picture(
            "detectors",
            "Risk and coverage",
            "Share of answers that is wrong when the surest questions are answered, by what says how sure.",
            figures.risk_coverage(curves),
        ),
    ]

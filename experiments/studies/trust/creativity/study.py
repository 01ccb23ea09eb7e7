"""Creativity: quality, diversity and novelty of samplers and of post-training, where all can be measured.

1. pretrain: models of several sizes, lengths and seeds on sentences of a grammar; and policies.
2. fine-tune, 3. prefer: the policies on demonstrations of the gold world, then DPO and PPO from there.
4. verify: the largest size. Before it trains, the share of its sentences that will be valid is predicted in
   two steps: a law of the loss, and accuracy by loss.
At the end every longest run is sampled under a grid of temperatures and truncations: validity by the grammar,
diversity, and what was copied from the rows that the run read.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import models
from experiments.config import DataConfig, RunConfig
from experiments.data.sources.known_entropy import KNOWN_SOURCES
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.posttraining import laws, recipes
from experiments.studies.study import Stage, Study, prepared_corpora
from experiments.studies.trust.creativity import figures, frontier, policies, words
from experiments.studies.trust.creativity.plans import (
    GRAMMAR,
    Settings,
    fine_tuned,
    longest,
    models_of,
    preferred,
    pretrained,
)
from experiments.study_report import write_findings
from models.decoding.settings import SamplingSettings
from scaling.prediction.two_step import two_step
from scaling.report import Picture
from scaling.table.runs import Runs

LEVELS = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6)  # of the entropy of the source, at which samplers are compared


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    data = {"grammar": DataConfig(task=GRAMMAR), "gold": recipes.STRINGS}
    assert settings.samplers
    for width in settings.widths:
        models_of(settings, data, width)
    preferred(settings, data)
    return dataclasses.replace(
        build(settings, data),
        prepare=lambda: build(settings, prepared_corpora(data)),
    )


def build(settings: Settings, data: dict[str, DataConfig]) -> Study:
    """The study on these data, "grammar" and "gold"."""
    *smaller, largest = settings.widths
    stages = (
        Stage(
            "pretrain",
            lambda runs: (
                [run for width in smaller for *_, run in models_of(settings, data, width)]
                + [pretrained(settings, data, seed) for seed in range(settings.policy_seeds)]
            ),
        ),
        Stage(
            "fine-tune",
            lambda runs: [fine_tuned(settings, data, seed) for seed in range(settings.policy_seeds)],
        ),
        Stage("prefer", lambda runs: [run for *_, run in preferred(settings, data)]),
        Stage(
            "verify",
            lambda runs: [run for *_, run in longest(settings, data, largest)],
            before=lambda folder, runs, configs: predict(settings, data, folder, runs),
        ),
    )
    summary = "quality, diversity and novelty under samplers, and before and after post-training"
    return Study("creativity", summary, settings, stages, functools.partial(finish, settings, data))


def at_one(
    settings: Settings, folder: Path, runs: Runs, planned: list[tuple[int, int, RunConfig]]
) -> pd.DataFrame:
    """run_id (the seed's and width's, as these share steps), d_model, n_params, n_tokens, seed, loss and
    accuracy, which is the share of valid documents at temperature 1.

    Args:
      settings: of the study.
      folder: of the study; runs: so far.
      planned: of `models_of`.
    """
    losses, rows = dict(zip(runs.table["run_id"], runs.table["loss"])), []
    for n_tokens, seed, config in planned:
        path, n = folder / "runs" / config.run_id, settings.n_sampled
        texts, _ = frontier.documents_said(path, GRAMMAR, SamplingSettings(), n, settings.seed)
        valid = np.isfinite(frontier.nats_of(KNOWN_SOURCES[GRAMMAR], texts)).mean()
        about = {"run_id": f"{config.model.d_model}/{seed}", "d_model": config.model.d_model, "seed": seed}
        about |= {"n_params": models.count(config.model).n_params, "n_tokens": n_tokens}
        rows.append(about | {"loss": losses[config.run_id], "accuracy": float(valid)})
    return pd.DataFrame(rows)


def predict(settings: Settings, data: dict[str, DataConfig], folder: Path, runs: Runs) -> None:
    """Writes down what share of the largest size's documents will be valid.

    Args:
      settings: of the study; data: of its runs.
      folder: of the study; runs: so far.
    """
    *smaller, largest = settings.widths
    planned = [each for width in smaller for each in models_of(settings, data, width)]
    table = at_one(settings, folder, runs, planned)
    loss, accuracy = (
        laws.fit_law(table, law, settings.n_bootstrap, settings.level) for law in ("chinchilla", "downstream")
    )
    of_largest = longest(settings, data, largest)
    n_params = models.count(of_largest[0][2].model).n_params
    new = {"n_params": np.array([float(n_params)]), "n_tokens": np.array([float(max(settings.n_tokens))])}
    said, lost = two_step(loss, accuracy, **new), loss.predict(**new)
    (last,) = [rows for width, rows in table.groupby("d_model") if width == smaller[-1]]
    unchanged = last.loc[last["n_tokens"] == max(settings.n_tokens), "accuracy"].mean()
    write_atomic(folder / "smaller.csv", table.to_csv(index=False))
    about = {"n_params": n_params, "level": settings.level, "unchanged": float(unchanged)}
    for name, prediction in (("valid", said), ("loss", lost)):
        about[name] = {"value": float(prediction.loss[0]), "lo": float(prediction.lo[0])}
        about[name]["hi"] = float(prediction.hi[0])
    write_json(folder / "prediction.json", about)


def finish(settings: Settings, data: dict[str, DataConfig], folder: Path, runs: Runs) -> str:
    """Writes creativity.csv (a row a run and sampler), policies.csv, creativity.json and the pictures.

    Args:
      settings: of the study; data: of its runs.
      folder: of the study; runs: all of its runs.
    """
    table, source = sampled(settings, data, folder)
    tuned = of_policies(settings, data, folder)
    sizes = at_one(settings, folder, runs, longest(settings, data, settings.widths[-1]))
    sizes = pd.concat([pd.read_csv(folder / "smaller.csv"), sizes], ignore_index=True)
    prediction = json.loads((folder / "prediction.json").read_text())
    levels = np.array(LEVELS) * source["entropy"]
    result = {
        "source": source,
        "prediction": prediction | {"measured": words.of_largest(sizes, settings.level)},
        "at_equal_entropy": list(
            frontier.gains(frontier.at_equal(table, "entropy", "valid", levels), settings.level)
        ),
        "creative": words.best_of(frontier.best(table, "creative"), settings.level),
        "policies": list(policies.changes(tuned, settings.level)),
    }
    write_atomic(folder / "creativity.csv", table.to_csv(index=False))
    write_atomic(folder / "policies.csv", tuned.to_csv(index=False))
    write_json(folder / "creativity.json", result)
    pictures = [
        Picture(
            "creativity",
            "Quality against diversity and novelty, by sampler",
            "The largest size: means over seeds with intervals, lines through the settings of a sampler. "
            "Squares: temperature alone; circles: truncations at temperature 1; triangles, dashed: at a "
            "higher one. Star: the grammar itself. Last: validity at temperature 1 by size, each seed; the "
            "bar is what was predicted of the largest before it trained.",
            figures.creativity(table, source, sizes, prediction, settings.level),
        ),
        Picture(
            "policies",
            "Diversity before and after post-training",
            "Each point a seed. Higher is more diverse, but for self-BLEU.",
            figures.policies(tuned),
        ),
    ]
    tables = {"creativity.csv": "Each run and sampler", "policies.csv": "Each policy"}
    write_findings(folder, pictures, tables)
    return words.conclusion(result)


def sampled(
    settings: Settings, data: dict[str, DataConfig], folder: Path
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A row a longest run and sampler, what `frontier.measured` says; and that of the source itself, as new
    to a run of the largest size."""
    tables, source = [], {}
    for width in settings.widths:
        for _, seed, config in longest(settings, data, width):
            about = {"d_model": width, "seed": seed, "n_params": models.count(config.model).n_params}
            tables.append(of_run(settings, folder, config).assign(**about))
    for _, _, config in longest(settings, data, settings.widths[-1])[:1]:
        training = frontier.training_of(config)
        source = frontier.of_source(KNOWN_SOURCES[GRAMMAR], settings.n_sampled, training)
    return pd.concat(tables, ignore_index=True), source


def of_run(settings: Settings, folder: Path, config: RunConfig) -> pd.DataFrame:
    """A row a sampler: run_id, sampler, number, and what `frontier.measured` says; kept in the folder."""
    path, rows = folder / "samplers" / f"{config.run_id}.csv", []
    if path.is_file():
        return pd.read_csv(path)
    training, n = frontier.training_of(config), settings.n_sampled
    for sampler, number, each in settings.samplers:
        run = folder / "runs" / config.run_id
        texts, nats = frontier.documents_said(run, GRAMMAR, each, n, settings.seed)
        found = frontier.measured(KNOWN_SOURCES[GRAMMAR], texts, nats, training)
        rows.append({"run_id": config.run_id, "sampler": sampler, "number": number} | found)
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, pd.DataFrame(rows).to_csv(index=False))
    return pd.DataFrame(rows)


def of_policies(settings: Settings, data: dict[str, DataConfig], folder: Path) -> pd.DataFrame:
    """A row a policy and seed: what `policies.measured` says."""
    runs: list[tuple[str, int, Any]] = []
    for seed in range(settings.policy_seeds):
        runs.append(("pretrained", seed, pretrained(settings, data, seed)))
        runs.append(("SFT", seed, fine_tuned(settings, data, seed)))
    rows = []
    for policy, seed, config in runs + preferred(settings, data):
        path = folder / "runs" / config.run_id
        found = policies.measured(path, settings.gold, settings.n_prompts, settings.n_responses)
        rows.append({"policy": policy, "seed": seed} | found)
    return pd.DataFrame(rows)

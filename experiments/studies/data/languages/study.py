"""Languages: how often to read each, what a sentence costs in each, and what they get from one another.

1. runs: small models on the languages of the web, as scarce as they are there, sampled by temperature and by
   UniMax; on as much of each as of any other; on pieces in the place of bytes; and on few languages alone and
   in pairs.
2. verify: a temperature that was kept apart. What the law of scarce text says of it, and of languages that
   were kept apart too, is written down before.
All is measured on the same sentences in each language: bits a sentence can be compared where bits a byte
cannot.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.data.prepare import open_splits
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.data.languages import conclusions, corpus, figures, measures, parallel
from experiments.studies.data.languages.corpus import ENOUGH
from experiments.studies.data.languages.plan import BYTES, Planned, Settings, corpora, first, last
from experiments.studies.study import Stage, Study, prepared_corpora
from scaling.table.runs import Runs


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    data = corpora(settings)
    first(settings, data)
    return dataclasses.replace(build(settings, data), prepare=lambda: _prepared(settings, data))


def _prepared(settings: Settings, data: dict[str, DataConfig]) -> Study:
    corpus.check_files(settings.text, settings.parallel)
    return build(settings, prepared_corpora(data))


def build(settings: Settings, data: dict[str, DataConfig]) -> Study:
    """The study on these data, by vocabulary."""
    stages = (
        Stage("runs", lambda runs: [each.config for each in first(settings, data)]),
        Stage(
            "verify",
            lambda runs: [each.config for each in last(settings, data)],
            before=lambda folder, runs, configs: predict(settings, data, folder, runs),
        ),
    )
    summary = "languages as scarce as on the web: temperatures, UniMax, cost per sentence, transfer, a law"
    return Study("languages", summary, settings, stages, functools.partial(finish, settings, data))


def measured(settings: Settings, planned: list[Planned], folder: Path, runs: Runs) -> pd.DataFrame:
    """part, sampling, vocabulary, seed, language; bits, tokens and bytes a sentence; read, the tokens that
    the run read of the language, and language_tokens, what they are worth; a row for each run that is done
    and each language.

    Args:
      settings: of the study.
      planned: its runs.
      folder: of the study; runs: those so far.
    """
    done = set(runs.table.loc[runs.table["status"] == "done", "run_id"])
    sentences = parallel.read_sentences(settings.parallel, settings.languages, settings.n_sentences)
    few = {name: sentences[name] for name in settings.transfer}
    rows = []
    for each in planned:
        run, data = folder / "runs" / each.config.run_id, each.config.data
        if each.config.run_id not in done:
            continue
        costs = parallel.costs_of_run(run, few if each.part == "transfer" else sentences)
        there = {name: part["n_tokens"] for name, part in open_splits(data)[0].components.items()}
        read = corpus.amounts(each.config, there)
        about = {"part": each.part, "sampling": each.sampling, "vocabulary": data.vocab}
        for name, cost in costs.items():
            n_tokens, worth = read[name]
            amount = {"read": n_tokens, "language_tokens": worth}
            rows.append(about | {"seed": each.config.seed, "language": name} | cost | amount)
    return pd.DataFrame(rows)


def fit(settings: Settings, table: pd.DataFrame) -> tuple[scaling.Fit, pd.DataFrame]:
    """The law of scarce text, fitted to the languages and samplings that are not kept apart, and its rows."""
    ways = [*map(corpus.alpha_name, settings.alphas), corpus.UNIMAX, ENOUGH]
    own = table[(table["part"] == "sampling") & table["sampling"].isin(ways)]
    rows = measures.law_table(measures.over_enough(pd.DataFrame(own)))
    kept = pd.DataFrame(rows[~rows["language"].isin(settings.apart)])
    return measures.fit_law(kept, settings.n_bootstrap, settings.level, settings.seed), rows


def predict(settings: Settings, data: dict[str, DataConfig], folder: Path, runs: Runs) -> None:
    """Writes down what the law says of every language under the sampling that is kept apart.

    Args:
      settings: of the study; data: by vocabulary.
      folder: of the study; runs: those of the first stage.
    """
    table = measured(settings, first(settings, data), folder, runs)
    law, _ = fit(settings, table)
    there = {name: part["n_tokens"] for name, part in open_splits(data[BYTES])[0].components.items()}
    read = corpus.amounts(last(settings, data)[0].config, there)
    base = table[(table["part"] == "sampling") & (table["sampling"] == ENOUGH)]
    bits: Any = base.groupby("language")["bits"].mean()
    tokens = [read[name][1] for name in settings.languages]
    said = zip(settings.languages, tokens, *map(np.asarray, law.predict(language_tokens=np.array(tokens))))
    write_json(
        folder / "prediction.json",
        {
            "sampling": corpus.alpha_name(settings.alpha_apart),
            "level": settings.level,
            "languages": [
                {
                    "language": name,
                    "apart": name in settings.apart,
                    "language_tokens": n,
                    "enough": float(bits[name]),
                    "predicted": float(bits[name] * ratio),
                    "lo": float(bits[name] * lo),
                    "hi": float(bits[name] * hi),
                }
                for name, n, ratio, lo, hi in said
            ],
        },
    )
    write_json(folder / "fit.json", law.to_json())


def finish(settings: Settings, data: dict[str, DataConfig], folder: Path, runs: Runs) -> str:
    """Writes languages.csv (a row for each run and language), languages.json and four pictures.

    Args:
      settings: of the study; data: by vocabulary.
      folder: of the study; runs: all of its runs.
    """
    table = measured(settings, [*first(settings, data), *last(settings, data)], folder, runs)
    write_atomic(folder / "languages.csv", table.to_csv(index=False))
    sampled = measures.over_enough(pd.DataFrame(table[table["part"] == "sampling"]))
    law, rows = fit(settings, table)
    pairs = measures.gains(
        pd.DataFrame(table[table["part"] == "transfer"]), settings.transfer, settings.level
    )
    costs = costs_of_languages(table)
    verified = verify(json.loads((folder / "prediction.json").read_text()), sampled)
    found = {
        "directions": measures.directions(sampled, settings.alphas, settings.level),
        "law": {"params": law.params, "ci": law.ci, "status": law.status, "formula": conclusions.FORMULA},
        "verified": verified,
        "cost": measures.cost(costs),
        "languages": costs.to_dict("records"),
        "transfer": measures.by_kinship(pairs, settings.level),
        "pairs": pairs.to_dict("records"),
    }
    write_json(folder / "languages.json", found)
    write_atomic(folder / "languages.png", figures.heat_map(sampled))
    write_atomic(folder / "cost.png", figures.cost(costs))
    write_atomic(folder / "law.png", figures.law(rows, verified, law))
    write_atomic(folder / "transfer.png", figures.transfer(pairs, list(settings.transfer)))
    return "\n".join(conclusions.in_words(found, settings.level))


def costs_of_languages(table: pd.DataFrame) -> pd.DataFrame:
    """vocabulary, language; bits, tokens and bytes a sentence: means over seeds of runs on enough of each."""
    rows = table[(table["sampling"] == ENOUGH) & table["part"].isin(["sampling", "vocabulary"])]
    means: Any = rows.groupby(["vocabulary", "language"], sort=False)[["bits", "tokens", "bytes"]].mean()
    return means.reset_index()


def verify(said: dict[str, Any], sampled: pd.DataFrame) -> list[dict[str, Any]]:
    """What was predicted of each language, with what was measured (bits a sentence, and `ratio`)."""
    own: Any = sampled[sampled["sampling"] == said["sampling"]].groupby("language")[["bits", "ratio"]].mean()
    return [
        each
        | {"measured": float(own["bits"][each["language"]]), "ratio": float(own["ratio"][each["language"]])}
        for each in said["languages"]
    ]

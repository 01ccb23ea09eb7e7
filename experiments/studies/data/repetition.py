"""What are tokens worth that a model meets again? Epochs at fixed unique tokens, under several weight decays.

1. runs: models of several widths; on a part of the corpus again and again, and once on more and more of it.
2. longest: those of most epochs. What the laws of the others expect of them is written down before.
3. at the end: for each weight decay, the law of repeats that are worth less and less (Muennighoff et al.
   2023) beside the law of repeats that do harm (Lovelace et al. 2026), what repeats cost against as many
   fresh tokens, and the epochs of the lowest loss.
"""

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.config import (
    DataConfig,
    MixtureConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    SourceConfig,
)
from experiments.fields import Numbers, apply_overrides
from experiments.files import write_atomic, write_json
from experiments.studies.data import figures
from experiments.studies.study import Stage, Study, check_statistics, with_prepared_data
from experiments.study_report import write_findings
from models import count, ladder
from scaling.report import Picture
from scaling.table.runs import Runs, check

LAWS = {"data_constrained": ("R_D", "R_N"), "overfitting": ("P", "delta", "kappa")}  # what is theirs


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. Runs that differ in their epochs share their steps up to the decay.

    source: the corpus, as the only component of a mixture, of which a part can be read.
    unique_tokens: parts of the corpus that are repeated; fresh: tokens of runs that meet each once.
    """

    seed: int = 0
    source: SourceConfig = dataclasses.field(default_factory=lambda: SourceConfig("text", "docstrings"))
    widths: tuple[int, ...] = (16, 24, 32)
    unique_tokens: tuple[int, ...] = (8_000, 32_000)
    epochs: tuple[int, ...] = (1, 2, 4, 8, 16, 40)
    fresh: tuple[int, ...] = (64_000, 128_000, 256_000, 512_000)
    weight_decays: tuple[float, ...] = (0.1, 1.0)
    lr: float = 1e-2
    seq_len: int = 128
    batch_tokens: int = 512
    n_val_tokens: int = 32_768
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        repeated = len(self.unique_tokens) * (len(self.epochs) - 1)
        if len(self.widths) * (repeated + len(self.fresh)) < 9:
            raise ValueError(
                "Settings: the laws need 9 runs or more of each weight decay besides those of most epochs; "
                "give more epochs, fresh or widths"
            )


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    data = DataConfig(task="mixture", sources=(settings.source,))
    plan(settings, data)
    return with_prepared_data(data, lambda prepared: build(settings, prepared))


def build(settings: Settings, data: DataConfig) -> Study:
    """The study on these data."""
    stages = (
        Stage("runs", lambda runs: plan(settings, data)[0]),
        Stage(
            "longest",
            lambda runs: plan(settings, data)[1],
            before=lambda folder, runs, configs: predict(settings, data, folder, runs),
        ),
    )
    summary = "repeated tokens at fixed unique ones: what an epoch is worth, by weight decay"
    return Study("repetition", summary, settings, stages, functools.partial(finish, settings, data))


def plan(settings: Settings, data: DataConfig) -> tuple[list[RunConfig], list[RunConfig]]:
    """Every width and weight decay on every amount of text, repeated and fresh; and those of most epochs."""
    most = max(settings.epochs)
    repeated = [(unique, n) for unique in settings.unique_tokens for n in settings.epochs]
    shorter = [(unique, unique * n) for unique, n in repeated if n < most]
    shorter += [(n_tokens, n_tokens) for n_tokens in settings.fresh]
    longest = [(unique, unique * most) for unique in settings.unique_tokens]
    models = list(itertools.product(settings.widths, settings.weight_decays))

    def runs(amounts: list[tuple[int, int]]) -> list[RunConfig]:
        return [configure(settings, data, *model, *amount) for model in models for amount in amounts]

    return runs(shorter), runs(longest)


def configure(
    settings: Settings, data: DataConfig, width: int, weight_decay: float, unique: int, n_tokens: int
) -> RunConfig:
    """One run on `n_tokens` tokens, `unique` of them distinct.

    Args:
      settings: of the study.
      data: the corpus.
      width: of the model.
      weight_decay: of the optimizer.
      unique: tokens of the corpus that are read.
      n_tokens: to train on.
    """
    capped = MixtureConfig(unique_tokens=Numbers({settings.source.name: float(unique)}))
    return RunConfig(
        model=ladder(width, data.vocab_size),
        data=dataclasses.replace(data, mixture=capped),
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99, weight_decay=weight_decay),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=10 * settings.batch_tokens),
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=n_tokens,
        seed=settings.seed,
        n_val_tokens=settings.n_val_tokens,
    )


def predict(settings: Settings, data: DataConfig, folder: Path, runs: Runs) -> None:
    """Writes down what both laws, fitted to the runs so far, expect of those of most epochs.

    Args:
      settings: of the study; data: its corpus.
      folder: of the study; runs: those of the first stage.
    """
    table, said = measured(settings, data, runs), []
    for decay, law, _, fit in fits(settings, table):
        for config in plan(settings, data)[1]:
            if config.optimizer.weight_decay == decay:
                part = part_of(settings, config)
                unique = table.loc[table["part"] == part, "unique_tokens"].max()
                n_tokens = config.n_steps * config.batch_tokens
                at = fit.predict(count(config.model).n_params, n_tokens, unique_tokens=unique)
                about = {"run_id": config.run_id, "weight_decay": decay, "law": law}
                said.append(about | {"predicted": at.loss, "lo": at.lo, "hi": at.hi})
    write_json(folder / "prediction.json", {"level": settings.level, "runs": said})


def finish(settings: Settings, data: DataConfig, folder: Path, runs: Runs) -> str:
    """Writes repetition.csv (a row a run), repetition.json and repetition.png, and says what was found.

    Args:
      settings: of the study; data: its corpus.
      folder: of the study; runs: all of its runs.
    """
    table = measured(settings, data, runs)
    laws = list(fits(settings, table))
    table = with_laws(table, laws)
    found = {
        "laws": [in_numbers(*each) for each in laws],
        "longest": list(checked(json.loads((folder / "prediction.json").read_text()), table)),
        "against_fresh": against_fresh(table).to_dict("records"),
        "repeats": list(cost_of_repeats(table)),
    }
    write_atomic(folder / "repetition.csv", table.to_csv(index=False))
    write_json(folder / "repetition.json", found)
    picture = Picture(
        "repetition",
        "Loss by epochs, and two laws of repeated tokens",
        "A row for each part of the corpus that is repeated. Solid: the law of repeats that do harm; dashed: "
        "that of repeats that are worth less and less; rings: runs on as many fresh tokens.",
        figures.repetition(table, settings.unique_tokens),
    )
    write_findings(folder, [picture])
    return "\n".join(in_words(settings, found))


def part_of(settings: Settings, config: RunConfig) -> int:
    """Tokens of the corpus that a run reads, again and again if need be."""
    assert config.data.mixture
    return int(config.data.mixture.unique_tokens[settings.source.name])


def measured(settings: Settings, data: DataConfig, runs: Runs) -> pd.DataFrame:
    """weight_decay, d_model, part, epochs and the columns of the laws, of every run that is done."""
    done = {run["run_id"]: run for run in runs.table.loc[runs.table.status == "done"].to_dict("records")}
    columns = ("run_id", "n_params", "n_tokens", "unique_tokens", "flops", "loss")
    table = pd.DataFrame(
        {
            "weight_decay": config.optimizer.weight_decay,
            "d_model": config.model.d_model,
            "part": part_of(settings, config),
            "epochs": done[config.run_id]["n_tokens"] / done[config.run_id]["unique_tokens"],
            **{column: done[config.run_id][column] for column in columns},
        }
        for config in itertools.chain(*plan(settings, data))
        if config.run_id in done
    )
    return table.sort_values(["weight_decay", "d_model", "part", "epochs"], ignore_index=True)


def fits(settings: Settings, table: pd.DataFrame) -> Iterator[tuple[float, str, pd.DataFrame, scaling.Fit]]:
    """(weight decay, law, its runs, fit) of both laws for each weight decay."""
    for decay in settings.weight_decays:
        rows = pd.DataFrame(table[table["weight_decay"] == decay]).reset_index(drop=True)
        columns = pd.DataFrame(rows[["n_params", "n_tokens", "unique_tokens", "flops", "loss"]])
        for law in LAWS:
            runs = check(columns, {})
            fit = scaling.fit(runs, law=law, n_bootstrap=settings.n_bootstrap, level=settings.level)
            yield decay, law, rows, fit


def in_numbers(decay: float, law: str, rows: pd.DataFrame, fit: scaling.Fit) -> dict[str, Any]:
    """A fit: parameters, intervals, the objective, the median error, and the harm of the law of overfitting.

    Args:
      decay: the runs' weight decay.
      law: one of LAWS.
      rows: the runs.
      fit: of the law to them.
    """
    error = np.median(np.abs(by_law(fit, rows) / rows["loss"].to_numpy(float) - 1))
    about = {"weight_decay": decay, "law": law, "objective": fit.objective, "status": fit.status}
    about |= {"params": fit.params, "ci": fit.ci, "median_error": float(error)}
    return about | (
        {"harm": harm(fit, int(rows["epochs"].to_numpy(float).max().round()))} if law == "overfitting" else {}
    )


def by_law(fit: scaling.Fit, rows: pd.DataFrame) -> np.ndarray:
    """The loss of these runs by a law."""
    x = {name: rows[name].to_numpy(float) for name in ("n_params", "n_tokens", "unique_tokens")}
    return np.asarray(fit.predict(**x).loss)


def with_laws(table: pd.DataFrame, laws: list[tuple[float, str, pd.DataFrame, scaling.Fit]]) -> pd.DataFrame:
    """The runs, with a column for the loss by each law."""
    columns: dict[str, dict[str, float]] = {law: {} for law in LAWS}
    for _, law, rows, fit in laws:
        columns[law] |= dict(zip(rows["run_id"], by_law(fit, rows)))
    return table.assign(**{law: [each[run] for run in table["run_id"]] for law, each in columns.items()})


def harm(fit: scaling.Fit, epochs: int) -> dict[str, Any]:
    """What so many epochs add to the loss under the law of overfitting where N = U, in nats, with draws: one
    number for P, delta and kappa, which are hardly known one by one."""
    names = list(fit.params)
    P, delta = (fit.samples[:, names.index(name)] for name in ("P", "delta"))
    nats = fit.params["P"] * (epochs - 1) ** fit.params["delta"]
    return {"epochs": epochs, "nats": nats, "draws": (P * (epochs - 1) ** delta).tolist()}


def checked(said: dict[str, Any], table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of each weight decay and law: how far off what was said of the longest runs is, how often inside."""
    losses = dict(zip(table["run_id"], table["loss"]))
    for (decay, law), group in itertools.groupby(said["runs"], lambda run: (run["weight_decay"], run["law"])):
        runs = [run | {"loss": losses[run["run_id"]]} for run in group if run["run_id"] in losses]
        if not runs:
            continue
        off = np.array([run["predicted"] / run["loss"] - 1 for run in runs])
        inside = sum(run["lo"] <= run["loss"] <= run["hi"] for run in runs)
        about = {"weight_decay": decay, "law": law, "mean_error": float(off.mean())}
        yield about | {"largest_error": float(np.abs(off).max()), "inside": inside, "runs": len(runs)}


def against_fresh(table: pd.DataFrame) -> pd.DataFrame:
    """weight_decay, part, epochs: what the loss is above that after as many fresh tokens, relative; mean, min
    and max over models."""
    on, table = ["weight_decay", "d_model", "n_tokens"], table.assign(epochs=table["epochs"].round())
    fresh = pd.DataFrame(table.loc[table["epochs"] == 1, [*on, "loss"]])
    both = pd.DataFrame(table[table["epochs"] > 1]).merge(fresh, on=on, suffixes=("", "_fresh"))
    both = both.assign(extra=both["loss"] / both["loss_fresh"] - 1)
    groups = both.groupby(["weight_decay", "part", "epochs"])["extra"]
    return groups.agg(["mean", "min", "max"]).reset_index()


def cost_of_repeats(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of each width, weight decay and part of the corpus: the loss by epochs, and where it is least."""
    for (decay, width, part), group in itertools.groupby(
        table.to_dict("records"), lambda run: (run["weight_decay"], run["d_model"], run["part"])
    ):
        by_epochs = {round(run["epochs"]): run["loss"] for run in group}
        if len(by_epochs) > 1:
            best = min(by_epochs, key=lambda each: by_epochs[each])
            about = {"weight_decay": decay, "d_model": width, "part": part}
            rise = list(by_epochs.values())[-1] - by_epochs[best]
            yield about | {"loss": by_epochs, "best_epochs": best, "rise": rise}


def in_words(settings: Settings, found: dict[str, Any]) -> Iterator[str]:
    """What the study says, a line each."""
    for fit in found["laws"]:
        own = ", ".join(_with_interval(name, fit) for name in LAWS[fit["law"]])
        yield (
            f"weight decay {fit['weight_decay']:g}, {fit['law']}: {own}; median error "
            f"{fit['median_error']:.2%}, objective {fit['objective']:.3g}; {fit['status']}"
        )
    for each in found["longest"]:
        yield (
            f"  the longest at weight decay {each['weight_decay']:g}, predicted by {each['law']}: off by "
            f"{each['mean_error']:+.1%} in the mean, {each['largest_error']:.1%} at most, "
            f"{each['inside']} of {each['runs']} inside"
        )
    yield from compared(settings, [fit["harm"] | fit for fit in found["laws"] if "harm" in fit])
    yield "loss above that of as many fresh tokens, mean over models (least to most):"
    for (decay, part), rows in itertools.groupby(
        found["against_fresh"], lambda row: (row["weight_decay"], row["part"])
    ):
        each = (
            f"{row['epochs']:.0f} epochs {row['mean']:+.1%} ({row['min']:+.1%} to {row['max']:+.1%})"
            for row in rows
        )
        yield f"  weight decay {decay:g}, {part:,} unique: {', '.join(each)}"
    for each in found["repeats"]:
        yield (
            f"  weight decay {each['weight_decay']:g}, {each['d_model']} wide, {each['part']:,} unique "
            f"tokens: lowest after {each['best_epochs']} epochs, {each['rise']:.3f} higher at the end"
        )


def compared(settings: Settings, harms: list[dict[str, Any]]) -> Iterator[str]:
    """What repeats add under each weight decay, and its ratio to the first."""
    ends = ((1 - settings.level) / 2, (1 + settings.level) / 2)
    first = np.asarray(harms[0]["draws"])
    for each in harms:
        draws = np.asarray(each["draws"])
        n = min(len(draws), len(first))
        lo, hi = np.quantile(draws, ends)
        words = f"  {each['epochs']} epochs add {each['nats']:.3f} nats [{lo:.3f}, {hi:.3f}] where N = U"
        if each is not harms[0]:
            lo, hi = np.quantile(draws[:n] / first[:n], ends)
            words += f", {each['nats'] / harms[0]['nats']:.2f} [{lo:.2f}, {hi:.2f}] times as much"
        yield f"{words}; weight decay {each['weight_decay']:g}"


def _with_interval(name: str, fit: dict[str, Any]) -> str:
    ends = fit["ci"].get(name)
    return f"{name} {fit['params'][name]:.3g}" + (f" [{ends[0]:.3g}, {ends[1]:.3g}]" if ends else "")

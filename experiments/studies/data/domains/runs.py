"""Which runs the study of domains makes, and the table of them."""

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig, MixtureConfig, SourceConfig
from experiments.fields import Numbers
from experiments.objective_configs import InitConfig
from experiments.studies.study import check_statistics
from models import ladder
from scaling.table.runs import Runs

CORPORA = {"general": "train", "medical": "domain_medical", "python": "domain_python"}


def public_corpora() -> tuple[SourceConfig, ...]:
    """English novels, pages on diseases and Python's library, in the folder of public data."""
    folder = Path(os.environ.get("ISOFLOP_PUBLIC_DATA", "../shared/data")) / "corpora"
    return tuple(SourceConfig(name, path=str(folder / f"{file}.jsonl.xz")) for name, file in CORPORA.items())


@dataclass(frozen=True)
class Settings:
    """Everything `--set` can change. All components of `data` but `general` are domains.

    domain_tokens: unique tokens of a domain, from small to large; `verify_tokens` those of the prediction.
    passes: over the domain's tokens, from scratch and continued. From scratch also as many as cost what the
      `general_tokens` and those passes do, but no more than `most_passes`, after which the loss rises.
    replay: shares of general text in the mixture that the general model is continued on.
    """

    seed: int = 0
    n_seeds: int = 2
    data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig("mixture", sources=public_corpora())
    )
    general: str = "general"
    widths: tuple[int, ...] = (8, 16)
    general_tokens: int = 256_000
    domain_tokens: tuple[int, ...] = (4_000, 16_000, 64_000)
    verify_tokens: int = 192_000
    passes: int = 4
    most_passes: int = 16
    replay: tuple[float, ...] = (0.25,)
    lr: float = 1e-2
    seq_len: int = 64
    batch_tokens: int = 256
    n_val_tokens: int = 24_576
    n_bootstrap: int = 200
    level: float = 0.9

    def __post_init__(self):
        check_statistics(self.level, self.n_bootstrap)
        names = [source.name for source in self.data.sources]
        if self.general not in names or len(names) < 2 or self.data.mixture:
            raise ValueError(
                f"Settings.data.sources={', '.join(names) or 'none'} without data.mixture: give the general "
                f"text by the name {self.general!r} (Settings.general) and one or more domains"
            )
        if self.n_seeds < 2:
            raise ValueError(f"Settings.n_seeds={self.n_seeds}; intervals take two or more")
        n_widths, n_parts = len(set(self.widths)), len(set(self.domain_tokens))
        increasing = list(self.domain_tokens) == sorted(set(self.domain_tokens))
        if min(n_widths, n_parts) < 2 or n_widths * n_parts < 5 or not increasing:
            raise ValueError(
                f"Settings.widths={self.widths}, domain_tokens={self.domain_tokens}; the law of transfer "
                "needs two or more of each and five pairs of them, tokens from small to large"
            )
        if self.verify_tokens <= self.domain_tokens[-1]:
            raise ValueError(
                f"Settings.verify_tokens={self.verify_tokens}; what is predicted has more tokens than all "
                f"domain_tokens={self.domain_tokens}"
            )
        if not 1 <= self.passes <= self.most_passes:
            raise ValueError(
                f"Settings.passes={self.passes}; allowed are 1 to most_passes={self.most_passes}"
            )
        if not all(0 < share < 1 for share in self.replay):
            raise ValueError(f"Settings.replay={self.replay}; shares of general text lie between 0 and 1")

    @property
    def domains(self) -> list[str]:
        """The names of the domains."""
        return [source.name for source in self.data.sources if source.name != self.general]


@dataclass(frozen=True)
class DomainRun:
    """A run on a part of a domain: `unique_tokens` of it, read until `read_tokens` have been seen.

    start: "scratch", or from the general model with the optimizer's state reset ("continued") or kept.
    replay: share of general text in what is read.
    """

    domain: str
    start: Literal["scratch", "continued", "kept"]
    d_model: int
    seed: int
    unique_tokens: int
    read_tokens: int
    replay: float = 0.0


def general_models(settings: Settings) -> dict[tuple[int, int], RunConfig]:
    """The run on general text of each (width, seed)."""
    shares = {settings.general: 1.0}
    return {
        (width, settings.seed + k): _run(
            settings, width, settings.seed + k, MixtureConfig(Numbers(shares)), settings.general_tokens
        )
        for width in settings.widths
        for k in range(settings.n_seeds)
    }


def ladder_runs(settings: Settings) -> list[DomainRun]:
    """The runs that the law is fitted to, and on the largest part the other ways to continue."""
    parts = [
        part
        for unique in settings.domain_tokens
        for width in settings.widths
        for part in _domain_runs(settings, width, unique)
    ]
    largest, width = settings.domain_tokens[-1], settings.widths[-1]
    plain = [
        part
        for part in parts
        if (part.start, part.d_model, part.unique_tokens) == ("continued", width, largest)
    ]
    kept = [dataclasses.replace(part, start="kept") for part in plain]
    return (
        parts
        + kept
        + [dataclasses.replace(part, replay=share) for share in settings.replay for part in plain]
    )


def verify_runs(settings: Settings) -> list[DomainRun]:
    """The runs of the widest models on more data than the ladder has."""
    return list(_domain_runs(settings, settings.widths[-1], settings.verify_tokens))


def _domain_runs(settings: Settings, width: int, unique: int) -> Iterator[DomainRun]:
    """On so much of every domain: from scratch in `passes` and in more, and continued."""
    n_read = settings.passes * unique
    longest = min(n_read + settings.general_tokens, settings.most_passes * unique)
    for domain in settings.domains:
        for seed in range(settings.seed, settings.seed + settings.n_seeds):
            for n in sorted({n_read, longest}):
                yield DomainRun(domain, "scratch", width, seed, unique, n)
            yield DomainRun(domain, "continued", width, seed, unique, n_read)


def configure(settings: Settings, part: DomainRun) -> RunConfig:
    """What it trains with; with replay it is longer by the general text."""
    shares = {part.domain: 1 - part.replay} | ({settings.general: part.replay} if part.replay else {})
    mixture = MixtureConfig(Numbers(shares), unique_tokens=Numbers({part.domain: float(part.unique_tokens)}))
    run = _run(settings, part.d_model, part.seed, mixture, round(part.read_tokens / (1 - part.replay)))
    if part.start == "scratch":
        return run
    source = general_models(settings)[part.d_model, part.seed].run_id
    return dataclasses.replace(
        run, init=InitConfig(source, optimizer="keep" if part.start == "kept" else "reset")
    )


def _run(settings: Settings, width: int, seed: int, mixture: MixtureConfig, n_tokens: int) -> RunConfig:
    return RunConfig(
        model=ladder(width, settings.data.vocab_size),
        data=dataclasses.replace(settings.data, mixture=mixture),
        optimizer=OptimizerConfig(lr=settings.lr, b2=0.99),
        schedule=ScheduleConfig(warmup=0.0, warmup_tokens=10 * settings.batch_tokens),
        batch_tokens=settings.batch_tokens,
        seq_len=settings.seq_len,
        n_tokens=n_tokens,
        seed=seed,
        n_val_tokens=settings.n_val_tokens,
    )


def measured(settings: Settings, runs: Runs) -> pd.DataFrame:
    """A row a run that is done: the fields of its DomainRun (the general models' start is "general"),
    n_params, flops, loss (on its own domain) and loss_NAME of every text."""
    done = {run["run_id"]: run for run in runs.table.loc[runs.table.status == "done"].to_dict("records")}
    about: list[tuple[dict[str, Any], RunConfig]] = [
        ({"domain": settings.general, "start": "general", "d_model": width, "seed": seed}, config)
        for (width, seed), config in general_models(settings).items()
    ]
    about += [
        (dataclasses.asdict(part), configure(settings, part))
        for part in (*ladder_runs(settings), *verify_runs(settings))
    ]
    texts = [f"loss_{source.name}" for source in settings.data.sources]
    return pd.DataFrame(
        {
            **row,
            **{name: done[config.run_id][name] for name in ("run_id", "n_params", "flops", *texts)},
            "loss": done[config.run_id][f"loss_{row['domain']}"],
        }
        for row, config in about
        if config.run_id in done
    )

"""A model of a domain: from scratch, or continued from a general one? By size of the domain's data.

1. general: a model of each width on general text, under every seed.
2. ladder: on more and more unique tokens of each domain, in as many passes, from scratch and continued from
   the general model; from scratch also for the compute that general model and continuing took together. On
   the largest part the widest models are continued with the optimizer's state kept, too, and with some of
   the general text replayed.
3. verify: the widest models on several times the data. What the law of transfer (Hernandez et al. 2021),
   fitted to the ladder, says of them is written down before they train.
"""

import dataclasses
import functools
from pathlib import Path

import scaling
from experiments.fields import apply_overrides
from experiments.files import read_json, write_atomic, write_json
from experiments.studies.data.domains import conclusions, figures, laws, measures
from experiments.studies.data.domains.runs import (
    Settings,
    configure,
    general_models,
    ladder_runs,
    measured,
    public_corpora,
    verify_runs,
)
from experiments.studies.study import Stage, Study, prepared_data
from scaling.table.runs import Runs


def study(overrides: list[str]) -> Study:
    """The study with settings overridden; settings that no run could have are refused here."""
    settings = apply_overrides(Settings(), overrides)
    for part in (*ladder_runs(settings), *verify_runs(settings)):
        configure(settings, part)
    ready = functools.partial(_prepared, settings)
    return dataclasses.replace(build(settings), prepare=ready)


def _prepared(settings: Settings) -> Study:
    missing = [s.path for s in settings.data.sources if s in public_corpora() and not Path(s.path).exists()]
    if missing:
        raise ValueError(
            f"study domains: no {missing[0]}; set ISOFLOP_PUBLIC_DATA to the folder that has corpora/, "
            'or give texts of your own with --set data.sources=\'[{"name": "general", "path": …}, …]\''
        )
    return build(dataclasses.replace(settings, data=prepared_data(settings.data)))


def build(settings: Settings) -> Study:
    """The study of settings whose data are prepared."""
    stages = (
        Stage("general", lambda runs: list(general_models(settings).values())),
        Stage("ladder", lambda runs: [configure(settings, part) for part in ladder_runs(settings)]),
        Stage(
            "verify",
            lambda runs: [configure(settings, part) for part in verify_runs(settings)],
            before=lambda folder, runs, configs: predict(settings, folder, runs),
        ),
    )
    summary = "models of a domain from scratch and continued from a general one, by size of the domain's data"
    return Study("domains", summary, settings, stages, functools.partial(finish, settings))


def predict(settings: Settings, folder: Path, runs: Runs) -> None:
    """Writes the law of transfer of each domain, and what it says of the runs to come."""
    table = measured(settings, runs)
    fits = laws.transfer_laws(settings, table)
    n_params = laws.sizes_of(table)[-1][1]
    said = {name: laws.forecast(fit, n_params, settings.verify_tokens) for name, fit in fits.items()}
    about = {"level": settings.level, "unique_tokens": settings.verify_tokens, "n_params": n_params}
    write_json(folder / "prediction.json", about | {"domains": said})
    write_json(folder / "fits.json", {name: fit.to_json() for name, fit in fits.items()})


def finish(settings: Settings, folder: Path, runs: Runs) -> str:
    """Writes domains.csv, domains.json and three pictures, and says what was found."""
    table = measured(settings, runs)
    fits = {name: scaling.Fit.from_json(fit) for name, fit in read_json(folder / "fits.json").items()}
    said = read_json(folder / "prediction.json")["domains"]
    found = {
        "losses": measures.loss_matrix(settings, table),
        "forgetting": measures.forgetting(settings, table),
        "break_even": measures.break_evens(settings, table),
        "transfer": laws.transfer(settings, table, fits),
        "verify": laws.compare(settings, table, said),
        "value": laws.value_of_data(settings, table, fits),
    }
    write_atomic(folder / "domains.csv", table.to_csv(index=False))
    write_json(folder / "domains.json", found)
    write_atomic(folder / "domains_matrix.png", figures.matrix(found["losses"]))
    write_atomic(folder / "domains_losses.png", figures.losses(settings, table, fits, found))
    write_atomic(folder / "domains_transfer.png", figures.transfer(settings, table, fits))
    return "\n".join(conclusions.in_words(settings, found))

"""What a page is made from: runs, the laws fitted to them, and what a study recorded beside them."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

import scaling
from scaling.fitting.result import Fit
from scaling.hparams import HparamLaws, fit_hparams
from scaling.hparams.sweeps import off_best_setting
from scaling.optimum.families import Comparison, compare
from scaling.prediction.collapse import Collapse
from scaling.prediction.run_curves import RunCurve
from scaling.prediction.training_band import TrainingBand
from scaling.report.page import Picture
from scaling.table.runs import TUNING


@dataclass(frozen=True)
class MissingRuns:
    """The progress of a study that is not finished.

    Attributes:
      runs: stage -> state -> number of runs; states are the keys of `sections.missing.STATES`, and
        a stage that cannot be planned yet has {}.
      when: the moment they were counted, in words.
      now: what runs at that moment, in lines.
    """

    runs: dict[str, dict[str, int]]
    when: str
    now: tuple[str, ...] = ()

    def count(self, state: str) -> int:
        """Runs of all stages in a state."""
        return sum(counts.get(state, 0) for counts in self.runs.values())


@dataclass(frozen=True)
class ReportData:
    """Everything a page shows. What a study does not (yet) have is None or empty, and so is its section.

    Attributes:
      name, source: of the study or table, and of the folder or file it was read from.
      runs: all runs; law_runs: those of them that laws of the loss are about.
      fit: the law of the loss; no_fit: why there is none, in one line.
      families: laws of several families, in place of one law.
      lr: laws of the learning rate and batch.
      verify: the verification run's prediction (keys run_id, n_params, n_tokens, flops, predicted, lo, hi,
        level) and, once it has trained, its loss (measured).
      curves: training loss along runs; columns flops, loss, run_id, stage, n_params, n_tokens, final.
      collapse: of the recipe with most runs, whether their curves are one; bands: runs and what was expected.
      emergence: metrics by length of response; columns n_answer, n_questions, exact_match, token_accuracy,
        brier and of the run.
      misprints: loss near a misprint; columns place, loss, se and of the run.
      tasks: accuracies; columns run_id, task, metric, value, lo, hi, n, chance.
      further: the law fitted with the verification run, too.
      conclusion: of the study, as it was printed; pictures, findings: those of its own, tables by title.
      study: name, overrides, seed; {} for a table. versions: of the software; device: what it ran on.
      settings: columns of the runs to show besides those of every table, as a study states them.
      missing: what is not there yet of a study that is not finished.
    """

    name: str
    source: str
    runs: scaling.Runs
    law_runs: scaling.Runs
    fit: Fit | None
    no_fit: str
    families: Comparison | None = None
    lr: HparamLaws | None = None
    verify: dict[str, Any] | None = None
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    collapse: Collapse | None = None
    bands: tuple[tuple[RunCurve, TrainingBand], ...] = ()
    emergence: pd.DataFrame = field(default_factory=pd.DataFrame)
    misprints: pd.DataFrame = field(default_factory=pd.DataFrame)
    tasks: pd.DataFrame = field(default_factory=pd.DataFrame)
    post_training: pd.DataFrame = field(default_factory=pd.DataFrame)
    texts: pd.DataFrame = field(default_factory=pd.DataFrame)
    further: Fit | None = None
    conclusion: str = ""
    pictures: list[Picture] = field(default_factory=list)
    findings: dict[str, pd.DataFrame] = field(default_factory=dict)
    study: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    settings: tuple[str, ...] = ()
    missing: MissingRuns | None = None


def data_of_table(runs: scaling.Runs, name: str, source: str, fit: Fit | None = None) -> ReportData:
    """The data of a table of runs: laws of the settings it sweeps, if any, and a law of the loss.

    Args:
      runs: every run; of a sweep, the law of the loss is about the best setting of each size.
      name, source: what the page calls the table, and the file it was read from.
      fit: the law of the loss; None: Chinchilla's is fitted here, or one to each family of models.
    """
    lr, law_runs = _swept_laws(runs), runs
    if lr:
        off = off_best_setting(runs.table)
        law_runs = runs.without(off, "not the best setting of their N and D")
        runs = replace(runs, table=runs.table.assign(stage=np.where(off, "tune", "run")))
    return ReportData(name, source, runs, law_runs, lr=lr, **_law_of_loss(law_runs, fit))


def data_of_study(
    runs: scaling.Runs, name: str, source: str, fit: Fit | None = None, lr: HparamLaws | None = None, **others
) -> ReportData:
    """The data of a study.

    Args:
      runs: its runs so far, with their stages.
      name, source: of the study and of its folder.
      fit: its law of the loss; None: as in `data_of_table`.
      lr: its laws of the learning rate; None: fitted here to the runs of its sweeps, if any.
      others: further fields of ReportData, such as verify, curves, tasks, study, versions and device.
    """
    lr = lr or _laws_of_tuning(runs)
    return ReportData(name, source, runs, runs, lr=lr, **_law_of_loss(runs, fit), **others)


def _law_of_loss(runs: scaling.Runs, fit: Fit | None) -> dict[str, Any]:
    """The fields fit, no_fit and families."""
    if fit:
        return {"fit": fit, "no_fit": ""}
    try:
        families = compare(runs)
        return {"fit": None, "no_fit": "Each family of models has a law of its own.", "families": families}
    except ValueError:  # one family, or too few runs of one
        pass
    try:
        return {"fit": scaling.fit(runs), "no_fit": ""}
    except ValueError as error:  # too few usable rows: the page still shows the runs
        return {"fit": None, "no_fit": f"No law was fitted: {error}"}


def _laws_of_tuning(runs: scaling.Runs) -> HparamLaws | None:
    """The laws of the sweeps of a study that has not written them yet."""
    table = runs.table
    if "stage" not in table or _several_families(table):
        return None
    try:
        return fit_hparams(replace(runs, table=table.loc[table["stage"].isin(TUNING)]))
    except ValueError:  # none, or too few of its runs so far
        return None


def _swept_laws(runs: scaling.Runs) -> HparamLaws | None:
    """The laws of the settings that a table sweeps; its `stage`, where it has one, says what is swept."""
    if "stage" in runs.table or _several_families(runs.table):
        return None
    try:
        return fit_hparams(runs)
    except ValueError:  # no sweep, or nothing that can be called one
        return None


def _several_families(table: pd.DataFrame) -> bool:
    return "family" in table and len(set(table["family"])) > 1

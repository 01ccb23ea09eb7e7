"""The studies there are: one file (or folder, with its figures) each, a name each in STUDIES.

`load_study` imports the one that is named. `study` says what a study is, `budgets` which models it trains on
which compute. May import models, scaling and all of experiments; only launch imports studies.
"""

import importlib
from pathlib import Path
from types import ModuleType

from experiments.fields import did_you_mean
from experiments.files import GRID_SUFFIXES, user_code
from experiments.studies.study import Stage, Study

__all__ = ["STUDIES", "Stage", "Study", "load_study", "study_module"]

STUDIES = {  # name: module of this package
    "quickstart": "quickstart.study",
    "families": "pretraining.families",
    "annealing": "pretraining.annealing.study",
    "batch_size": "pretraining.batch_size",
    "moe_sparsity": "pretraining.moe_sparsity",
    "precision": "pretraining.precision",
    "width_depth": "pretraining.width_depth",
    "recipes": "pretraining.recipes",
    "lr_transfer": "lr_transfer.study",
    "emergence": "emergence",
    "test_time_compute": "test_time_compute.study",
    "seq2seq_length": "seq2seq_length.study",
    "over_optimisation": "posttraining.over_optimisation",
    "mixture": "data.mixture",
    "sft_data": "posttraining.sft_data",
    "rl_compute": "posttraining.rl_compute",
    "reward_model": "posttraining.reward_model",
    "lora_rank": "posttraining.lora_rank",
    "known_entropy": "data.known_entropy",
    "model_made": "data.model_made.study",
    "poison": "data.poison.study",
    "repetition": "data.repetition",
    "filters": "data.filters",
    "domains": "data.domains.study",
    "languages": "data.languages.study",
    "capacity": "trust.capacity.study",
    "structured_output": "trust.structured_output.study",
    "inverse_scaling_posttraining": "posttraining.inverse_scaling",
    "creativity": "trust.creativity.study",
    "consistency": "trust.consistency.study",
    "abstention": "trust.abstention.study",
    "hallucination": "trust.hallucination.study",
}


def load_study(name: str, overrides: list[str], where: str = "") -> Study:
    """The study `name`, that of a grid file (`experiments.studies.grid`), or the one in a user's own .py
    file, with "FIELD=VALUE" overrides of its settings.

    A file of Python has a function `study(overrides: list[str]) -> Study`, as the modules of this package do.
    With `where`, which says what data name it, it is one that this process has run (`user_code`).

    Raises:
      ValueError: no such study, or an override that does not fit; the nearest name is suggested.
      OSError: the file cannot be read.
    """
    if name.endswith(".py"):
        return _own_module(name, where).study(overrides)
    if name.endswith(GRID_SUFFIXES):
        from experiments.studies.grid import grid_study

        try:
            text = Path(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} is no text in UTF-8 ({error})") from None
        return grid_study(Path(name).name, text, overrides)
    if name not in STUDIES:
        others = [*STUDIES, "or give a grid file or a .py file"]
        raise ValueError(f"no study {name!r}; {did_you_mean(name, STUDIES, others)}")
    return study_module(name).study(overrides)


def study_module(name: str) -> ModuleType:
    """The module of one of STUDIES."""
    return importlib.import_module(f"experiments.studies.{STUDIES[name]}")


def _own_module(name: str, where: str) -> ModuleType:
    module = user_code.study_module(name, where) if where else user_code.load(name).module
    if not hasattr(module, "study"):
        raise ValueError(
            f"{name} defines no function study(overrides) -> Study; see "
            "experiments/studies/quickstart/study.py"
        )
    return module

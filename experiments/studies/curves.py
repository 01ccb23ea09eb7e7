"""The loss curves of a study's runs, read from its folder."""

import json
from pathlib import Path

import pandas as pd


def training_curves(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The training-loss curves of a study's runs, as they were recorded while training.

    Args:
      folder: the study's; it has runs/<run_id>/metrics.jsonl.
      table: its runs; their columns are repeated in every row, apart from those of the moment:
        step, n_tokens, flops, loss (training loss, mean since the row before) and lr.
    """
    curves = []
    for run in table.to_dict("records"):
        path = folder / "runs" / str(run["run_id"]) / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []  # a cut last line
        events = [event for line in lines if "train_loss" in (event := json.loads(line))]
        names = {"tokens": "n_tokens", "train_loss": "loss"}
        moments = pd.DataFrame(events).rename(columns=names)
        here = [c for c in ("step", "n_tokens", "flops", "loss", "lr") if c in moments]
        curves.append(moments[here].assign(**{k: v for k, v in run.items() if k not in here}))
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()

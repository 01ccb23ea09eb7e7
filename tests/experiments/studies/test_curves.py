"""Loss curves of a study: the events of each run, with what the table says of it."""

import json

import pandas as pd

from experiments.studies.curves import training_curves


def test_the_curves_of_a_study(tmp_path):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    events = [
        {"step": 1, "tokens": 100, "flops": 6e5, "train_loss": 5.0, "lr": 0.1},
        {"step": 1, "tokens": 100, "flops": 6e5, "val_loss": 5.2},
        {"step": 2, "tokens": 200, "flops": 12e5, "train_loss": 4.0, "lr": 0.05},
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, events)) + '\n{"step": 3, "tok')
    table = pd.DataFrame({"run_id": ["a", "none yet"], "n_params": [1e3, 2e3], "loss": [4.1, 3.0], "lr": 0.1})
    found = training_curves(tmp_path, table)
    assert found[["run_id", "n_params", "n_tokens", "loss", "lr"]].values.tolist() == [
        ["a", 1e3, 100, 5.0, 0.1],
        ["a", 1e3, 200, 4.0, 0.05],
    ]

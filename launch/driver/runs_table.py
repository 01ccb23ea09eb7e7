"""The table of a study's finished runs: runs.csv, a row each, and its sidecar runs.json.

Where runs were post-trained, columns for where they started, their objective and its measurements follow;
where their data are mixed, those of each component. Then come the settings that differ between the runs, by
the names that they have in a configuration, such as optimizer.weight_decay; runs.json says which of them say
more than others do. Last are columns by the names that laws read (`launch.driver.law_columns`).
"""

import contextlib
import functools
import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.config import RunConfig
from experiments.fields import default
from experiments.files import write_atomic
from launch.driver.law_columns import annealing_at_end, law_columns
from launch.monitor.text import short
from launch.store import PlannedRun, Store, settings
from models import count, ladder
from models.configs.counting import Counts
from scaling.table.formats import as_csv
from scaling.table.runs import Runs

COLUMNS = (
    *("run_id", "stage", "status", "n_params", "n_embed", "n_total", "n_active", "n_tokens", "flops"),
    *("loss", "loss_se", "bits_per_byte", "lr", "batch_tokens", "seq_len", "family", "d_model", "n_layers"),
    *("seed", "epochs", "unique_tokens", "n_steps", "wall_seconds", "flops_per_second"),
)
WIDTHS = (*range(8, 256, 8), *range(256, 4097, 64))  # of the ladder, to models of 10 billion parameters


def read_table(
    results: dict[str, dict[str, Any]], stage_of: dict[str, str], planned: Mapping[str, PlannedRun]
) -> Runs:
    """The finished ones of the runs in `stage_of`, a row each; all of them are `planned`."""
    table = table_of(results, stage_of, planned)
    configs = [planned[run_id].config for run_id in table["run_id"]]
    if any(name.startswith("schedule.") for name in settings.varied(configs)):
        table = pd.concat([table, annealing_at_end(configs)], axis=1)
    conventions = _sidecar(_of(results, stage_of)).get("conventions", {})
    return Runs(table, conventions)


def table_of(
    results: dict[str, dict[str, Any]], stage_of: dict[str, str], planned: Mapping[str, PlannedRun]
) -> pd.DataFrame:
    """A row for each result of a run in `stage_of`, in that order."""
    here = _of(results, stage_of)
    added = {run_id: row.get("post_training", {}) | row.get("components", {}) for run_id, row in here.items()}
    rows = [
        row | added[run_id] | {"run_id": run_id, "stage": stage_of[run_id]} for run_id, row in here.items()
    ]
    columns = dict.fromkeys([*COLUMNS, *(name for names in added.values() for name in names)])
    table = pd.DataFrame(rows, columns=list(columns))
    configs = [planned[run_id].config for run_id in here]
    names = {settings.column(name): name for name in settings.varied(configs)}
    differing = {
        column: pd.Series([setting(config, name) for config in configs], table.index)
        for column, name in names.items()
        if column not in table
    }
    read_by_laws = {n: pd.Series(v, table.index) for n, v in law_columns(configs).items() if n not in table}
    return table.assign(**differing, **read_by_laws)


def setting(config: dict[str, Any], name: str) -> Any:
    """The setting of this dotted name as a cell of a table; None where the configuration has no such part."""
    value = settings.value(config, name)
    if value is None:  # or it came later, and is left out at its default
        value = default(RunConfig, config, name)
    return json.dumps(value) if isinstance(value, list | dict) else value


def write_table(store: Store, stage_of: dict[str, str]) -> None:
    """Writes runs.csv and its sidecar runs.json."""
    results, planned = store.results(), store.plan.runs()
    write_atomic(store.folder / "runs.csv", as_csv(read_table(results, stage_of, planned).table))
    here = _of(results, stage_of)
    telling = settings.telling(planned[run_id].config for run_id in here)
    sidecar = _sidecar(here) | {"settings": [settings.column(name) for name in telling]}
    write_atomic(store.folder / "runs.json", json.dumps(sidecar, indent=1) + "\n")


def _of(results: dict[str, dict[str, Any]], stage_of: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The results of these runs, in their order; a store may hold runs that no longer belong."""
    return {run_id: results[run_id] for run_id in stage_of if run_id in results}


def final_table(runs: Runs) -> str:
    """The study in a line a stage."""
    lines = [f"{'stage':<10}{'runs':>6}{'diverged':>10}{'N':>16}{'FLOPs':>10}{'best loss':>11}"]
    for stage, rows in runs.table.groupby("stage", sort=False):
        sizes = "–".join(short(n) for n in sorted({rows.n_params.min(), rows.n_params.max()}))
        lines.append(
            f"{stage:<10}{len(rows):>6}{(rows.status == 'diverged').sum():>10}{sizes:>16}"
            f"{rows.flops.sum():>10.1e}{rows.loss.min():>11.4f}"
        )
    return "\n".join(lines)


def _ladder_costs(results: list[dict[str, Any]]) -> dict[str, list[int]] | None:
    """FLOPs a token of the ladder's models, also of larger ones than were trained; None for runs that are not
    all of one ladder (another depth, say, or several families)."""
    ladders = {
        (row.get("family"), row["data"]["tokenizer"].get("size"), row.get("seq_len")) for row in results
    }
    family, vocab_size, seq_len = ladders.pop()
    if ladders or not (family and vocab_size and seq_len):
        return None
    known = _ladder(family, vocab_size, (*WIDTHS, *(row["d_model"] for row in results)))
    costs = {counts.n_params: counts.flops_per_token(seq_len) for counts in known}
    for row in results:
        if not math.isclose(row["flops"], row["n_tokens"] * costs.get(row["n_params"], 0)):
            return None
    n_active = [counts.n_active for counts in known]
    return {"n_params": [*costs], "n_active": n_active, "flops": [*costs.values()]}


@functools.cache
def _ladder(family: str, vocab_size: int, widths: tuple[int, ...]) -> list[Counts]:
    """Counts of the ladder's models of these widths, as far as it has them, by size."""
    found = []
    for width in sorted(set(widths)):
        with contextlib.suppress(ValueError):
            found.append(count(ladder(width, vocab_size, family)))
    return sorted(found, key=lambda counts: counts.n_params)


def _sidecar(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What all rows share: conventions and versions; and every kind of device that was used."""
    if not results:
        return {}
    first = next(iter(results.values()))
    data = {"name": first["data"]["task"], **first["data"]}
    tokenizer = data.pop("tokenizer")
    conventions = first["conventions"] | {"tokenizer": tokenizer, "data": data}
    for result in results.values():
        if kind := result.get("post_training", {}).get("objective"):
            conventions[f"loss_{kind}"] = result["conventions"]["loss"]
    if costs := _ladder_costs([*results.values()]):
        conventions["ladder"] = costs
    devices = sorted({result["device"] for result in results.values()})
    return {"conventions": conventions, "versions": first["versions"], "device": ", ".join(devices)}

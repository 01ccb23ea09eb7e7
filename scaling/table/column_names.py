"""Names of columns: ours, and those that public tables have for the same thing.

A foreign name is taken where it is well known and only one column has it, and a note says so. Where two
columns could be meant, the user is asked: a wrong guess is worse than a question.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from scaling.table.cell_values import numbers
from scaling.table.header_units import name_and_unit

# Compared in lower case, words joined by _; a single letter only as it stands (d is as often a width).
WELL_KNOWN = {
    "n_params": ("N", "params", "parameters", "num_params", "n_parameters", "num_parameters", "param_count",
                 "parameter_count", "model_size"),
    "n_tokens": ("D", "tokens", "num_tokens", "train_tokens", "training_tokens", "tokens_seen",
                 "token_count"),
    "flops": ("C", "flop", "compute", "train_flops", "training_flops", "training_flop", "total_flops"),
    "loss": ("L", "val_loss", "validation_loss", "valid_loss", "eval_loss", "test_loss", "final_loss",
             "smooth_loss", "train_loss", "training_loss"),
    "run_id": ("run_name", "run", "name", "exp_name", "experiment"),
    "lr": ("learning_rate", "peak_lr", "max_lr"),
    "status": ("state",),
}  # fmt: skip
# Numbers that may stand at the end of a path (config/train/tokens), unless it is a path of other things.
COUNTS = ("n_params", "n_active", "n_tokens", "flops")
IN_PATHS = (*COUNTS, "loss", "lr")
ELSEWHERE = {"eval", "val", "valid", "validation", "test", "perf", "throughput", "system"}
# Names that may be meant, but say what is counted, or too little: proposed only.
PROPOSED = {
    "n_params": ("n", "total_params", "active_params", "params_active", "params_active_precise",
                 "non_embedding_params", "params_total"),
    "n_tokens": ("d", "t", "dataset_size", "tokens_total"),
    "flops": ("c",),
    "loss": ("l", "nll", "cross_entropy", "ce"),
}  # fmt: skip


def with_our_names(
    table: pd.DataFrame, columns: Mapping[str, str], needed: Sequence[str], name: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table with our names, and what was taken without being asked for: {ours: theirs}.

    Args:
      columns: what the user says: {ours: theirs}.
      needed: our names that must be there; n_tokens may come from flops, flops from n_tokens and batch_tokens
        from n_steps.
      name: of the table, for messages.

    Raises:
      ValueError: a column is missing, or several could be meant; the message has the --columns to give.
    """
    table = table.rename(columns=str)
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise ValueError(f"{name}: two columns are named {twice[0]!r}; rename one of them")
    table = _renamed(table, columns, name)
    taken: dict[str, str] = {}
    unclear: dict[str, list[str]] = {}
    for ours in dict.fromkeys((*needed, *WELL_KNOWN)):
        if ours in table:
            continue
        free = [c for c in table if c not in (*columns, *taken.values())]
        found, sure = _meant(ours, free)
        if len(found) == 1 and sure:
            taken[ours] = found[0]
        elif found:
            unclear[ours] = found
    named = table.rename(columns={theirs: ours for ours, theirs in taken.items()})
    missing = [c for c in needed if c not in named and not _follows(c, named, needed)]
    if missing:
        raise ValueError(
            f"{name}: {_question(missing, unclear, columns, table.drop(columns=taken.values()))}"
        )
    return named, taken


def unit_of(ours: str, header: str) -> float:
    """What the numbers of a column are to be multiplied with, as its name says; 1 where it says nothing."""
    found = name_and_unit(header, in_words=ours in COUNTS)
    return 1.0 if found is None or found[1] is None else found[1]


def _meant(ours: str, free: Sequence[str]) -> tuple[list[str], bool]:
    """Which of the columns may be meant, the best first, and whether no question is left if it is only one.

    By name; else by a name with a unit; else, of numbers, by the end of a path (config/model/n_params).
    """
    known = [_plain(word) for word in (ours, *WELL_KNOWN.get(ours, ()))]

    def rank(name: str) -> int:
        return known.index(_plain(name))

    exact = [c for c in free if _plain(c) in known]
    if exact:
        return sorted(exact, key=rank), True
    with_units = ((c, name_and_unit(c, in_words=ours in COUNTS)) for c in free)
    split = {c: pair for c, pair in with_units if pair and _plain(pair[0]) in known}
    if split:
        found = sorted(split, key=lambda c: rank(split[c][0]))
        return found, all(unit is not None for _, unit in split.values())
    if ours not in IN_PATHS:
        return [], True
    ends = {c: end for c in free if (end := _end_of_path(c, ours, known))}
    return sorted(ends, key=lambda c: known.index(ends[c])), True


def _end_of_path(name: str, ours: str, known: Sequence[str]) -> str | None:
    """The longest end of a path, as W&B has them, that is a known name."""
    parts = re.split(r"[/.]", name)
    if len(parts) == 1 or (ours != "loss" and not ELSEWHERE.isdisjoint(map(str.lower, parts))):
        return None
    ends = (_plain("_".join(parts[i:])) for i in range(1, len(parts)))
    return next((end for end in ends if end in known), None)


def _renamed(table: pd.DataFrame, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    for ours, theirs in columns.items():
        if theirs not in table:
            near = difflib.get_close_matches(theirs, map(str, table.columns), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {_listed(table.columns)}"
            raise ValueError(f"{name}: no column {theirs!r} to use as {ours}; {hint}")
        if list(columns.values()).count(theirs) > 1:
            raise ValueError(f"{name}: column {theirs!r} is to be two of ours; each of them needs its own")
    hidden = [ours for ours in columns if ours in table and columns[ours] != ours]
    return table.drop(columns=hidden).rename(columns={theirs: ours for ours, theirs in columns.items()})


def _follows(column: str, table: pd.DataFrame, needed: Sequence[str]) -> bool:
    """Whether the column follows from C = 6·N·D (a size that is missing is reported by itself) or n_steps."""
    if column == "batch_tokens":
        return "n_steps" in table
    other = {"n_tokens": "flops", "flops": "n_tokens"}.get(column)
    return other in table and not {"n_params", "n_active"}.isdisjoint((*table.columns, *needed))


def _question(
    missing: list[str], unclear: Mapping[str, list[str]], columns: Mapping[str, str], table: pd.DataFrame
) -> str:
    """What is missing or unclear, and the --columns that most probably is meant."""
    said = [f"{ours} may be {' or '.join(map(_shown, unclear[ours]))}" for ours in missing if ours in unclear]
    absent = [ours for ours in missing if ours not in unclear]
    if absent:
        said.append(f"no column {', '.join(absent)}")
    free = [c for c in table if c not in WELL_KNOWN and np.isfinite(numbers(table[c])).any()]
    guess = {ours: near for ours in missing if (near := _nearest(ours, unclear, free))}
    if "n_tokens" in missing and "n_tokens" not in guess and (near := _nearest("flops", unclear, free)):
        guess["flops"] = near
    if not guess:
        return f"{' and '.join(said)}; left are {_listed(table.columns) or 'none'}"
    pairs = ",".join(f"{ours}={theirs}" for ours, theirs in {**columns, **guess}.items())
    return f'{" and ".join(said)}; say which, for example --columns "{pairs}"'


def _shown(name: str) -> str:
    found = name_and_unit(name, in_words=False)
    return f"{name}, whose unit is not known" if found and found[1] is None else name


def _nearest(ours: str, unclear: Mapping[str, list[str]], theirs: Sequence[str]) -> str | None:
    """The column that most probably is meant: unclear, of a known name, or nearly spelt like one."""
    if ours in unclear:
        return unclear[ours][0]
    by_name = {_plain(name): name for name in theirs}
    proposed = [by_name[word] for word in PROPOSED.get(ours, ()) if word in by_name]
    spelt = (ours, *(word for word in WELL_KNOWN.get(ours, ()) if len(word) > 3))
    close = [near for word in spelt for near in difflib.get_close_matches(word, by_name, n=1, cutoff=0.85)]
    return by_name[close[0]] if close and not proposed else proposed[0] if proposed else None


def _plain(name: str) -> str:
    return name if len(name) == 1 else re.sub(r"[\s_\-./]+", "_", name.lower())


def _listed(columns: Iterable[str]) -> str:
    first, rest = list(columns)[:20], list(columns)[20:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")

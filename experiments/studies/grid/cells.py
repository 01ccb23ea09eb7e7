"""Every combination of a grid as a run: which are left out, which cannot be, which are the same run."""

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from experiments.config import KNOWN_OPTIMIZERS, RunConfig
from experiments.fields import from_json, to_json
from experiments.studies.grid.definition import Fields, Grid
from experiments.studies.grid.run_fields import BUDGETS, run_fields
from models import FAMILIES, MuP, count, ladder
from models.configs.published import PUBLISHED
from scaling.table.expression import check_names

MAX_CELLS = 100_000
NAMED = 3  # combinations in a message of one line
OFF_BUDGET = 0.05  # how far whole steps may be off a budget
TOKENS_PER_PARAM = 20.0  # Hoffmann et al. 2022 (arXiv 2203.15556), where a grid says no budget
# Batches where a grid says none: of quickstart for a ladder; for published shapes 131,072 tokens as those of
# Lialin et al. 2023 (arXiv 2307.05695).
LADDER_BATCH = {"seq_len": 128, "batch_tokens": 512}
PUBLISHED_BATCH = {"seq_len": 1024, "batch_tokens": 131_072}
MEASURES = {  # what conditions can read besides fields
    "n_params": "parameters that are multiplied",
    "n_steps": "optimizer steps",
}


@dataclass(frozen=True)
class Cell:
    """A combination: its values by field, those that vary alone, and the run."""

    values: Fields
    config: RunConfig

    @property
    def label(self) -> str:
        return label(self.values)


@dataclass(frozen=True)
class Cells:
    """All combinations of a grid.

    cells: different runs, in the order of the file. left_out: how many a condition leaves out. duplicates:
    (combination, the one before it that is the same run). assumed: what the grid does not say, in words.
    """

    cells: tuple[Cell, ...]
    left_out: int
    duplicates: tuple[tuple[str, str], ...]
    assumed: tuple[str, ...]


class InvalidCells(ValueError):
    """Combinations that could be no run; `found` has each with the reason, of `n` in all."""

    def __init__(self, found: list[tuple[str, str]], n: int):
        self.found, self.n = found, n
        some = "; ".join(f"[{name}] {why}" for name, why in found[:NAMED])
        more = f"; and {len(found) - NAMED} more, which `isoflop plan` lists" if len(found) > NAMED else ""
        super().__init__(
            f"{len(found)} of {n} combinations cannot be runs: {some}{more}; mend them, or leave "
            "them out by where"
        )


def cells_of(grid: Grid) -> Cells:
    """The runs of a grid.

    Raises:
      InvalidCells: some combinations could be no run.
      ValueError: all could be none, there are too many, none is left, or a condition reads what there is not.
    """
    for condition in grid.where:
        check_names(condition, [*run_fields(), *MEASURES])
    n = math.prod([len(values) for values in grid.vary.values()]) * max(1, len(grid.seeds))
    n *= len(next(iter(grid.zip.values()), [0]))
    if n > MAX_CELLS:
        raise ValueError(f"{n:,} combinations; at most {MAX_CELLS:,} are planned at once: vary less")
    first: dict[RunConfig, Cell] = {}
    invalid, duplicates, assumed, left_out = [], [], {}, 0
    for values in combinations(grid):
        filled, added = with_defaults(grid, values)
        run = functools.cache(functools.partial(configure, filled))
        try:
            if not _holds(grid, filled, run):
                left_out += 1
                continue
            cell = Cell(values, run())
        except ValueError as error:
            invalid.append((label(values), str(error)))
            continue
        assumed |= dict.fromkeys(added)
        same = first.setdefault(cell.config, cell)
        if same is not cell:
            duplicates.append((cell.label, same.label))
    if len(invalid) == n and len({why for _, why in invalid}) == 1:
        raise ValueError(invalid[0][1])
    if invalid:
        raise InvalidCells(invalid, n)
    if not first:
        raise ValueError(f"no run is left: conditions leave out all {n} combinations")
    return Cells(tuple(first.values()), left_out, tuple(duplicates), tuple(assumed))


def combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    """The values of what varies; the field that is written last changes fastest, and seeds faster still."""
    axes = [[{name: value} for value in values] for name, values in grid.vary.items()]
    if grid.zip:
        axes.append([dict(zip(grid.zip, together)) for together in zip(*grid.zip.values())])
    if grid.seeds:
        axes.append([{"seed": seed} for seed in grid.seeds])
    for parts in itertools.product(*axes):
        yield {name: value for part in parts for name, value in part.items()}


def label(values: Fields) -> str:
    """ "optimizer.lr=0.001 seed=0"."""
    return " ".join(f"{name}={written(value)}" for name, value in values.items()) or "the only run"


def written(value: Any) -> str:
    """A value as short as it can be read back: 1e+11 and not 100000000000.0."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def with_defaults(grid: Grid, values: Fields) -> tuple[dict[str, Any], list[str]]:
    """All that a run of these values is given, and what of it the grid does not say, in words."""
    budgets = [name for name in BUDGETS if name in values]
    hidden = {name for name in BUDGETS if budgets}  # a budget that varies takes the place of the base's
    hidden |= {name for name in grid.base for other in values if name.startswith(f"{other}.")}
    given = {name: value for name, value in grid.base.items() if name not in hidden} | dict(values)
    preset = given.get("preset")
    added: dict[str, float] = {}
    if preset is not None:
        added |= LADDER_BATCH if preset in FAMILIES else PUBLISHED_BATCH
    if not any(name in given for name in BUDGETS):
        added["tokens_per_param"] = TOKENS_PER_PARAM
    added = {name: value for name, value in added.items() if name not in given}
    words = [f"{name} {value:,.10g}" for name, value in added.items()]
    if preset in PUBLISHED and "model.vocab_size" not in given:
        words.append(f"the data's vocabulary in the place of {preset}'s {PUBLISHED[preset].vocab_size:,}")
    return given | added, words


def configure(values: Fields) -> RunConfig:
    """The run of these fields, each by its dotted name.

    Raises:
      ValueError: a field is missing or wrong, or the budget is not to be met.
    """
    nested = _nested({name: value for name, value in values.items() if name not in ("preset", *BUDGETS)})
    for name in ("data", "optimizer", "schedule"):
        nested.setdefault(name, {})
    if "preset" in values:
        nested["model"] = _of_preset(values["preset"], nested)
    return _checked(_with_budget(nested, next(name for name in BUDGETS if name in values), values))


def _with_budget(nested: dict[str, Any], budget: str, values: Fields) -> RunConfig:
    """The run on as many whole batches as the budget pays for."""
    wanted = values[budget]
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)) or not 0 < wanted < math.inf:
        raise ValueError(f"{budget}={wanted!r}; a budget is a positive number")
    if budget == "n_tokens":
        return from_json(RunConfig, nested | {"n_tokens": wanted}, "run")
    enough = max(int(_size(nested, name)) for name in ("batch_tokens", "seq_len"))
    run = from_json(RunConfig, nested | {"n_tokens": enough}, "run")  # with a batch, to know the model
    counts = count(run.model)
    a_unit = counts.n_params if budget == "tokens_per_param" else 1 / counts.flops_per_token(run.seq_len)
    n_tokens = round(wanted * a_unit)
    if n_tokens >= run.batch_tokens:
        found = dataclasses.replace(run, n_tokens=n_tokens)
        off = found.n_steps * found.batch_tokens / n_tokens - 1
        if abs(off) <= OFF_BUDGET:
            return found
    raise ValueError(
        f"{budget}={wanted:g} pays for {n_tokens:,} tokens of a model with N = {counts.n_params:,}, which is "
        f"{n_tokens / run.batch_tokens:.2g} batches of batch_tokens={run.batch_tokens:,}; whole batches are "
        f"more than {OFF_BUDGET:.0%} off: raise the budget or take smaller batches"
    )


def _checked(run: RunConfig) -> RunConfig:
    """Refuses what a run would only notice when it trains."""
    if run.optimizer.name not in KNOWN_OPTIMIZERS:  # one of the user's, or none: looking for it loads jax
        from experiments.training.optim import find_direction

        find_direction(run.optimizer.name)
    if run.data.vocab_size > run.model.vocab_size:
        raise ValueError(
            f"model.vocab_size={run.model.vocab_size:,} is less than data.vocab_size={run.data.vocab_size:,}"
        )
    learned = getattr(run.model, "positions", "") == "learned"
    n_positions = getattr(run.model, "max_len", 0) if learned else run.seq_len
    if run.seq_len > n_positions:
        raise ValueError(f"seq_len={run.seq_len:,} is more than model.max_len={n_positions:,} positions")
    return run


def _size(nested: dict[str, Any], name: str) -> int:
    """A whole number of tokens."""
    if name not in nested:
        raise ValueError(f"{name} is missing; give it in base, vary or zip, or take a preset")
    value = nested[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 1:
        raise ValueError(f"{name}={value!r}; give a whole number of tokens")
    return int(value)


def _of_preset(preset: Any, nested: dict[str, Any]) -> dict[str, Any]:
    """The model's fields: those of the preset, its vocabulary that of the data, and what differs."""
    changes = dict(nested.get("model", {}))
    vocab_size = changes.pop("vocab_size", nested["data"].get("vocab_size", 259))
    if preset in PUBLISHED:
        return _merged(to_json(PUBLISHED[preset]), changes | {"vocab_size": vocab_size})
    d_model = changes.pop("d_model", None)
    if type(d_model) is not int or type(vocab_size) is not int:
        raise ValueError(
            f"model.d_model={d_model!r}, vocabulary {vocab_size!r}; {preset!r} is a ladder of sizes, which "
            "takes model.d_model, a whole number"
        )
    mup = changes.pop("mup", None)
    return _merged(
        _rung(preset, d_model, vocab_size, from_json(MuP, mup, "model.mup") if mup else None), changes
    )


@functools.lru_cache(1024)
def _rung(family: str, d_model: int, vocab_size: int, mup: MuP | None) -> dict[str, Any]:
    """A model of the ladder as JSON; not to be changed."""
    return to_json(ladder(d_model, vocab_size, family, **({"mup": mup} if mup else {})))


def _merged(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested fields with others in their place."""
    found = dict(fields)
    for name, value in changes.items():
        inside = found.get(name)
        if isinstance(inside, dict) and isinstance(value, dict):
            value = _merged(inside, value)
        found[name] = value
    return found


def _nested(values: Fields) -> dict[str, Any]:
    """Dotted names as nested tables."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        node = found
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"{name}: {parent} is {node!r:.40} and has no fields")
        node[last] = _merged(node[last], value) if isinstance(node.get(last), dict) and value else value
    return found


def _holds(grid: Grid, values: Fields, run: Callable[[], RunConfig]) -> bool:
    """Whether all conditions hold, one after the other: a later one may need what an earlier one ensures, so
    that these values are a run."""
    return all(
        condition.holds(
            {name: values[name] if name in values else measured(run(), name) for name in condition.names}
        )
        for condition in grid.where
    )


def measured(config: RunConfig, name: str) -> Any:
    """A field of a run, or one of MEASURES or BUDGETS; None where its kind of model has no such field."""
    if name == "n_params":
        return count(config.model).n_params
    if name == "flops":
        return config.n_steps * config.batch_tokens * count(config.model).flops_per_token(config.seq_len)
    if name == "tokens_per_param":
        return config.n_steps * config.batch_tokens / count(config.model).n_params
    found: Any = config
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else getattr(found, part, None)
    return found

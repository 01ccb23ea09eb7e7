"""Which settings differ between runs: asked of their configurations as JSON, by dotted name.

Everything that lists runs asks here: the plan, the progress, runs.csv and, by its sidecar, the page.
"""

import json
import marshal
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Config = Mapping[str, Any]

# Settings that tables of runs have by another name.
COLUMNS = {
    "model.family": "family",
    "model.d_model": "d_model",
    "model.n_layers": "n_layers",
    "model.weight_bits": "weight_bits",
    "optimizer.lr": "lr",
    "init.source": "init",
    "objective.kind": "objective",
}
# What a family's ladder of sizes gives by the width.
BY_WIDTH = (
    *("n_layers", "n_decoder_layers", "n_heads", "n_kv_heads", "d_head", "d_ff", "d_attention"),
    *("embedding_scale", "decay_rank", "rate_rank", "value_rank", "gate_rank", "experts.d_expert"),
)
FOLLOWS = {f"model.{name}": ("model.family", "model.d_model") for name in BY_WIDTH} | {
    "model.vocab_size": ("data.vocab", "data.vocab_size"),
    "data.fingerprint": ("data",),
}
LONGEST = 24  # characters of a value


def flat(config: Config, lead: str = "") -> dict[str, Any]:
    """The settings of a configuration by dotted name, without those that are not set: null, "" and []."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{lead}{name}.")
        elif value not in (None, "", []):
            found[lead + name] = value
    return found


def varied(configs: Iterable[Config]) -> tuple[str, ...]:
    """The settings that are not the same in all these runs, in the order of the configuration."""
    first: dict[str, Any] = {}
    names: dict[str, bool] = {}  # whether it varies
    for k, config in enumerate(_with_news(configs)):
        settings = flat(config)
        first = first if k else settings
        names |= {name: True for name in first.keys() - settings.keys()}
        for name, value in settings.items():
            if name not in first or first[name] != value:
                names[name] = True
            elif name not in names:
                names[name] = False
    return tuple(name for name, varies in names.items() if varies)


def _with_news(configs: Iterable[Config]) -> Iterator[Config]:
    """Those with a part that none before them has: a hundred, it may be, of the 10,000 runs of a grid."""
    seen: set[Any] = set()
    for config in configs:
        parts = {(name, marshal.dumps(value)) for name, value in config.items()} | {tuple(config)}
        if not parts <= seen:
            seen |= parts
            yield config


def telling(configs: Iterable[Config]) -> tuple[str, ...]:
    """Those of the varied settings that say more than others do.

    That is not the heads that a width has; nor of a part that only some runs have, such as the objective of
    post-training, what is the same in all of them, if another setting shows which they are.
    """
    configs = list(configs)
    names, configs = varied(configs), _combined(configs)
    told, shown_by = [], set()
    for name in names:
        values = [value(config, name) for config in configs]
        having = tuple(value is not None for value in values)
        same = all(other == values[having.index(True)] for other in values if other is not None)
        if name in FOLLOWS and _follows(name, configs):
            continue
        if not same or having not in shown_by or not _in_a_part_of_some(name, configs):
            told.append(name)
            shown_by.add(having)
    return tuple(told)


def _combined(configs: list[Config]) -> list[Config]:
    """One of each combination of parts, whatever numbers such as the seed stand beside them."""

    def parts(config: Config) -> tuple[Any, ...]:
        return tuple((n, marshal.dumps(v) if isinstance(v, dict) else v is None) for n, v in config.items())

    return list({parts(config): config for config in configs}.values())


def _in_a_part_of_some(name: str, configs: list[Config]) -> bool:
    part = name.rpartition(".")[0]
    return bool(part) and any(value(config, part) is None for config in configs)


def _follows(name: str, configs: list[Config]) -> bool:
    """Whether runs that agree in what the setting follows from agree in it, too."""
    seen: dict[str, Any] = {}
    for config in configs:
        others = flat({other: value(config, other) for other in FOLLOWS[name]})
        known = json.dumps([others[other] for other in sorted(others) if other != name])
        if seen.setdefault(known, value(config, name)) != value(config, name):
            return False
    return True


def value(config: Config, name: str) -> Any:
    """The setting of this dotted name; None where the configuration has none."""
    for part in name.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None  # type: ignore[assignment]
    return config


def column(name: str) -> str:
    """The name of a setting in tables of runs."""
    return COLUMNS.get(name, name.replace("objective.", "objective_"))


def written(value: Any) -> str:
    """A value for people: "0.1", "true", "cosine", "–" for none; of a long one its end, which tells paths
    apart."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value or "–" if isinstance(value, str) else "–" if value is None else json.dumps(value)
    return text if len(text) <= LONGEST else f"…{text[1 - LONGEST :]}"

"""A law of the user's own: a Law in a Python file, named path.py:name."""

import importlib.util
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from scaling.laws.law import Law

RUN: dict[str, Law] = {}  # laws of files that this process was asked to run, by name


def already_run(name: str) -> Law:
    """The law of `path.py:name` whose file this process has run: what comes from a data file runs nothing.

    Raises:
      ValueError: it has not.
    """
    if name not in RUN:
        raise ValueError(
            f"law {name}: a saved fit names this file, and only you can have it run: give --law {name}"
        )
    return RUN[name]


def from_file(name: str) -> Law:
    """The law of `path.py:name`, checked: its values and `unscale` must agree. The file is run.

    The law's name becomes path.py:name, and so that of its relaxed form, by which a fit.json finds them.

    Raises:
      ValueError: there is no such file or law in it, the file fails, or the law is wrong.
    """
    path, _, variable = name.rpartition(":")
    if not Path(path).is_file():
        raise ValueError(f"law {name}: no file {path}; expected path.py:name")
    law = _law(path, variable, Path(path).stat().st_mtime_ns)
    RUN.update({form.name: form for form in (law, law.relaxed) if form})
    return law


@cache  # one law, so that it is compiled once
def _law(path: str, variable: str, _changed: int) -> Law:
    laws = {key: value for key, value in vars(_run(path)).items() if isinstance(value, Law)}
    if variable not in laws:
        raise ValueError(
            f"law {path}:{variable}: no such Law in the file; it has {', '.join(laws) or 'none'}"
        )
    law = replace(laws[variable], name=f"{path}:{variable}")
    if law.relaxed:
        own = [key for key, value in laws.items() if value is law.relaxed]
        if not own:
            raise ValueError(
                f"law {law.name}: its relaxed form has no name of its own in the file; give it one"
            )
        law = replace(law, relaxed=replace(law.relaxed, name=f"{path}:{own[0]}"))
    check_units(law)
    return law


def _run(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"law_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"law {path}: not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"law {path}: the file failed: {type(error).__name__}: {error}") from error
    return module


def check_units(law: Law) -> None:
    """Refuses a law that gives no value a row, or another value when columns and target change their units.

    Raises:
      ValueError: it does.
    """
    rng = np.random.default_rng(0)
    units = {name: 1.0 if name in law.dimensionless else rng.uniform(2.0, 9.0) for name in law.columns}
    units |= {name: units[other] for name, other in law.same_unit}
    units[law.target] = 3.0 if law.scale == "log" else 1.0
    table = {name: rng.uniform(0.3, 1.0, 5) * units[name] for name in law.columns}
    theta = np.array(law.starts[0])
    try:
        with jax.enable_x64(True):
            value = jax.jit(law.value)
            scaled = {name: jnp.asarray(table[name] / units[name]) for name in law.columns}
            scaled_value = np.asarray(value(jnp.asarray(theta), scaled))
            natural = value(jnp.asarray(law.unscale(theta, units)), jax.tree.map(jnp.asarray, table))
    except Exception as error:
        raise ValueError(f"law {law.name}: it fails: {type(error).__name__}: {error}") from error
    if scaled_value.shape != (5,):
        raise ValueError(f"law {law.name}: value has shape {scaled_value.shape} for 5 rows; expected (5,)")
    if not np.all(np.isfinite(scaled_value)) or (law.scale == "log" and not np.all(scaled_value > 0)):
        positive = " or not positive" if law.scale == "log" else ""
        raise ValueError(f"law {law.name}: value is not finite{positive} at its first start; move the start")
    if not np.allclose(natural, units[law.target] * scaled_value, rtol=1e-6):
        raise ValueError(
            f"law {law.name}: unscale is wrong: the value changes with the units of the columns; "
            "see scaling/laws/pretraining/kaplan.py for an example"
        )

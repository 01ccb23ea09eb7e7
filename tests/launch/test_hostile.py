"""Hostile input: whatever a table holds, one clear line, or a fit that says what it does not know.

Tables have 16 rows, of which injuries make the same four unusable or none: fits compile for two shapes.
"""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scaling
from launch import cli
from scaling.table.runs import check, read_runs

ROWS, HURT = 16, [3, 6, 9, 12]
LAW_COLUMNS = ["n_params", "n_tokens", "loss"]


def sound_table(seed: int) -> pd.DataFrame:
    """A grid of four sizes and four ratios, from a Chinchilla law with noise."""
    n = np.tile(np.geomspace(1e7, 1e9, 4), 4)
    d = np.repeat([5.0, 20.0, 60.0, 200.0], 4) * n
    noise = np.exp(0.003 * np.random.default_rng(seed).standard_normal(ROWS))
    return pd.DataFrame(
        {"n_params": n, "n_tokens": d, "loss": (1.8 + 480 / n**0.35 + 2100 / d**0.37) * noise}
    )


def is_one_clear_line(error: ValueError) -> bool:
    said = str(error)
    return "\n" not in said and 20 < len(said) < 600


def outcome(make) -> scaling.Fit | None:
    """The fit, checked; None where the input was refused in one clear line."""
    try:
        fit = make()
    except ValueError as error:
        assert is_one_clear_line(error), error
        return None
    numbers = [*fit.params.values(), *fit.exponents.values(), fit.objective]
    assert np.isfinite(numbers).all() or fit.status != "converged", (fit.params, fit.status)
    if fit.status == "converged":
        assert np.isfinite(fit.predict(**{c: 1e10 for c in scaling.laws.find(fit.law).columns}).loss)
    json.dumps(fit.to_json(), allow_nan=False)
    return fit


# ---- cells -------------------------------------------------------------------------------------------------

BAD = [np.nan, np.inf, -np.inf, 0, -1.0, -1e30, 1e30, 1e-30, 10**400, "many", "", "1,000", "NaN", None,
       True, [1.0], {"a": 1}, 1j, pd.Timestamp("2024-01-01"), "1e9999"]  # fmt: skip
cell = st.one_of(st.floats(), st.integers(-(10**40), 10**40), st.text(max_size=5), st.sampled_from(BAD))


ROWS_OF_CELLS = st.lists(st.tuples(cell, cell, cell), min_size=0, max_size=7)


def check_cells(rows):
    table = pd.DataFrame(rows, columns=LAW_COLUMNS, dtype=object)
    fit = outcome(lambda: scaling.fit(check(table, {}), n_bootstrap=0))
    assert fit is None or fit.n_points >= 6


@settings(max_examples=100)
@given(ROWS_OF_CELLS)
def test_any_cells(rows):
    check_cells(rows)


@pytest.mark.slow
@settings(max_examples=300)
@given(ROWS_OF_CELLS)
def test_many_tables_of_any_cells(rows):
    check_cells(rows)


@pytest.mark.slow
@settings(max_examples=10)
@given(
    st.lists(st.sampled_from(BAD), min_size=4, max_size=4), st.sampled_from(LAW_COLUMNS), st.integers(0, 2)
)
def test_bad_cells_are_dropped_and_the_rest_is_fitted_as_if_they_had_never_been(values, column, seed):
    table = sound_table(seed)
    hurt = table.astype(object)
    for row, value in zip(HURT, values):
        hurt.at[row, column] = value
    runs = check(hurt, {})
    assert runs.dropped + len(runs.table) == ROWS
    fit, plain = outcome(lambda: scaling.fit(runs, n_bootstrap=0)), fit_without_the_hurt(seed)
    assert fit is not None and fit.n_points == 12 and fit.dropped == 4
    assert fit.params == plain.params and fit.status == plain.status


@functools.cache
def fit_without_the_hurt(seed: int) -> scaling.Fit:
    return scaling.fit(check(sound_table(seed).drop(index=HURT), {}), n_bootstrap=0)


# ---- whole tables ------------------------------------------------------------------------------------------

LADDER = np.geomspace(1e7, 1e10, ROWS)
NOISE = np.exp(np.random.default_rng(0).normal(1, 1, ROWS))
VALUES = {
    "constant loss": lambda t: t.assign(loss=3.0),
    "loss rising": lambda t: t.assign(loss=10 / t.loss),
    "loss of noise": lambda t: t.assign(loss=NOISE),
    "loss tiny": lambda t: t.assign(loss=t.loss * 1e-30),
    "loss huge": lambda t: t.assign(loss=t.loss * 1e30),
    "one loss huge": lambda t: t.assign(loss=t.loss.where(t.index != 5, 1e5)),
    "one size off": lambda t: t.assign(n_params=t.n_params.where(t.index != 5, 1e14)),
    "sizes tiny": lambda t: t.assign(n_params=t.n_params * 1e-30),
    "sizes huge": lambda t: t.assign(n_params=t.n_params * 1e30),
    "sizes absurd": lambda t: t.assign(n_params=t.n_params * 1e295),
    "tokens in billions": lambda t: t.assign(n_tokens=t.n_tokens / 1e9),
    "swapped": lambda t: t.assign(n_params=t.n_tokens, n_tokens=t.n_params),
    "one size": lambda t: t.assign(n_params=1e8),
    "two sizes": lambda t: t.assign(n_params=[1e7, 1e9] * 8),
    "collinear": lambda t: t.assign(n_params=LADDER, n_tokens=20 * LADDER, loss=t.loss + 1e3 / LADDER**0.4),
    "one budget": lambda t: t.assign(n_tokens=1e19 / t.n_params),
    "one run": lambda t: t.assign(run_id="a", n_params=1e8),
    "two runs": lambda t: t.assign(run_id=["a", "b"] * 8, n_params=[1e8, 1e9] * 8),
    "twice": lambda t: t.assign(**{c: np.tile(t[c][:8], 2) for c in ("n_params", "n_tokens")}),
    "hidden rows": lambda t: t.assign(loss=t.loss.mask(t.index.isin(HURT))),
    "repeated rows": lambda t: t.iloc[[0 if i in HURT else i for i in range(ROWS)]].reset_index(drop=True),
    "flops of another world": lambda t: t.assign(flops=1.0),
    "flops with holes": lambda t: t.assign(flops=[None, "x", 1e20, np.inf] * 4),
}
TYPES = {
    "floats": lambda t: t,
    "text": lambda t: t.astype(str),
    "small floats": lambda t: t.astype({c: "float32" for c in LAW_COLUMNS}),
    "categories": lambda t: t.astype("category"),
    "objects": lambda t: t.astype(object),
    "missing numbers": lambda t: t.convert_dtypes(),
    "an odd index": lambda t: t.set_index(pd.Index([7] * ROWS, name="loss")),
    "junk beside": lambda t: t.assign(junk=[[i] for i in range(ROWS)], status=np.nan, seed=["a", 1] * 8),
    "names that are no text": lambda t: t.assign(**{"x": 1}).rename(columns={"x": 3}),
    "shuffled": lambda t: t.sample(frac=1, random_state=1),
}


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True),
    st.sampled_from(sorted(TYPES)),
    st.integers(0, 99),
    st.sampled_from([0, 0, 0, 4]),
)
def test_any_injuries_of_a_table(names, kind, seed, n_bootstrap):
    table = sound_table(seed)
    for name in names:
        table = VALUES[name](table)
    outcome(lambda: scaling.fit(check(TYPES[kind](table), {}), n_bootstrap=n_bootstrap))


SMALL_FLOATS = sound_table(0).astype("float32")


@functools.cache
def fit_of_small_floats() -> scaling.Fit:
    return scaling.fit(check(SMALL_FLOATS, {}), n_bootstrap=0)


@pytest.mark.parametrize("kind", TYPES)
def test_the_type_of_the_cells_changes_nothing(kind):
    fit = scaling.fit(check(TYPES[kind](SMALL_FLOATS), {}), n_bootstrap=0)
    plain = fit_of_small_floats()
    assert fit.status == plain.status == "converged"
    np.testing.assert_allclose(list(fit.params.values()), list(plain.params.values()), rtol=1e-3)


@pytest.mark.parametrize(
    "name", ["constant loss", "one size", "one run", "collinear", "two sizes", "two runs"]
)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_what_the_runs_do_not_determine_is_never_called_converged(name, seed):
    fit = outcome(lambda: scaling.fit(check(VALUES[name](sound_table(seed)), {}), n_bootstrap=0))
    assert fit is None or fit.status != "converged"


# ---- files -------------------------------------------------------------------------------------------------


@functools.cache
def whole_files() -> dict[str, bytes]:
    """The same table in every format."""
    table = sound_table(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table.to_csv(folder / "runs.csv")
        table.to_csv(folder / "runs.tsv", sep="\t", index=False)
        table.to_json(folder / "runs.jsonl", orient="records", lines=True, double_precision=15)
        table.to_json(folder / "runs.json")
        table.to_parquet(folder / "runs.parquet")
        table.to_csv(folder / "runs.csv.gz", index=False)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


PIECES = (",", ";", "\t", '"', "\n", "\r", "{", "}", "[", "]", ":", "\x00", "1e30", "-", "NaN", "Infinity",
          "null", "loss", "n_params", "1,000", "\ufeff", "\u2028")  # fmt: skip


DAMAGES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from([0, 1, 3, 10**6]),
        st.one_of(st.binary(max_size=3), st.sampled_from(PIECES).map(str.encode)),
    ),
    min_size=1,
    max_size=4,
)
FILES = st.sampled_from(["runs.csv", "runs.tsv", "runs.jsonl", "runs.json", "runs.parquet", "runs.csv.gz"])


def check_damage(tmp_path, name, damages):
    content = bytearray(whole_files()[name])
    for where, length, piece in damages:
        at = round(where * len(content))
        content[at : at + length] = piece
    path = tmp_path / name
    path.write_bytes(content)
    try:
        runs = read_runs(path)
    except ValueError as error:
        assert is_one_clear_line(error) and name in str(error)
        return
    usable = runs.usable().table
    numbers = usable[[*LAW_COLUMNS, "flops"]].to_numpy(float)
    assert np.isfinite(numbers).all() and (numbers > 0).all()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, DAMAGES)
def test_any_damage_to_a_file(tmp_path, name, damages):
    check_damage(tmp_path, name, damages)


@pytest.mark.slow
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, DAMAGES)
def test_many_damages_to_files(tmp_path, name, damages):
    check_damage(tmp_path, name, damages)


BROKEN = {
    "empty.csv": b"",
    "header.csv": b"n_params,n_tokens,loss\n",
    "one.csv": b"n_params,n_tokens,loss\n1e8,2e9,3\n",
    "no_header.csv": b"1e8,2e9,3.0\n2e8,4e9,2.8\n",
    "picture.csv": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "ragged.csv": b"n_params,n_tokens,loss\n1,000,000,2,000,3.1\n",
    "quote.csv": b'n_params,n_tokens,loss\n"1e8,2e9,3\n',
    "text.csv": b"n_params,n_tokens,loss\n7B,1T,low\n13B,1T,lower\n",
    "twice.csv": b"n_params,loss,n_tokens,loss\n1e8,3,2e9,3\n",
    "unclear.csv": b"N,params,D,loss\n1e8,1e8,2e9,3\n",
    "other.csv": b"city,rain\nBergen,2250\n",
    "zeros.csv": b"n_params,n_tokens,loss\n" + b"0,0,0\n" * 9,
    "cut.jsonl": b'{"n_params": 1e8, "n_tokens": 2e9, "loss": 3}\n{"n_par',
    "list.json": b"[1, 2, 3]",
    "deep.json": b"[" * 10_000,
    "cut.parquet": b"PAR1\x15\x04",
    "not.gz.csv.gz": b"n_params,n_tokens,loss\n",
    "notes.txt": b"n_params,n_tokens,loss\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_on_the_command_line_a_broken_file_is_one_line_and_exit_2(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    (tmp_path / name).write_bytes(BROKEN[name])
    assert cli.main(["fit", str(tmp_path / name)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "Traceback" not in said.err


WRONG_NUMBERS = (
    ("fit", "--seed=-1"),
    ("fit", "--delta=inf"),
    ("hparams", "--seed=-1"),
    ("forecast", "--seed=-1"),
    ("compare", "--level=0"),
    ("compare", "--level=1e-320"),
    ("compare", "--cuts=1e18"),
)


@pytest.mark.parametrize("verb, flag", WRONG_NUMBERS)
def test_numbers_that_nothing_can_be_computed_with_are_one_line_and_exit_2(verb, flag, tmp_path, capsys):
    table = tmp_path / "runs.csv"
    sound_table(0).to_csv(table, index=False)
    assert cli.main([verb, *([] if verb == "forecast" else [str(table)]), flag]) == 2
    said = capsys.readouterr()
    assert said.out == "" and flag.rpartition("=")[2] in said.err and "Traceback" not in said.err

"""The appendix: what it states, and that foreign text stays text in LaTeX and Markdown."""

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import scaling
from scaling import laws
from scaling.fitting.fit import held_out
from scaling.report.data import ReportData
from scaling.report.sections.snippet import _symbols, appendix, latex_text, markdown_text
from tests.scaling.report.synthetic_study import make_runs

EVIL = r"100% of $x_1$ & {y} | #2 ^ ~ \input{/etc/passwd} <b>*n*</b> [a](b) `c`" + "\n\n# head"


@pytest.fixture(scope="module")
def data():
    table = make_runs()
    grid = table[table["stage"].isin(["grid", "extend"])].drop(columns="stage").reset_index(drop=True)
    runs = scaling.Runs(grid, {"n_params": "without embedding", "loss": EVIL})
    fit = scaling.fit(runs.without(grid["loss"].to_numpy() > grid["loss"].max() * 0.98, "the highest losses"))
    return ReportData("t", "t.csv", runs, runs, held_out(fit, runs), "")


def test_everything_on_the_checklist_is_said(data):
    fit, made = data.fit, appendix(data)
    table = data.runs.table.nsmallest(fit.n_points, "loss")
    for text in (made.latex, made.markdown):
        assert r"$L = E + A / N^{\alpha} + B / D^{\beta}$" in text and "2203.15556" in text
        assert f"{fit.n_points} points of" in text and "without embedding" in text
        low, high = (f"{value:.2e}".split("e")[0].rstrip("0").rstrip(".") for value in
                     (table["n_params"].min(), table["n_params"].max()))  # fmt: skip
        assert rf"$N$ from ${low} \times 10^" in text and rf"to ${high} \times 10^" in text
        assert r"\delta = 0.001" in text and "9 starting points" in text and "1,000 bootstrap refits" in text
        assert "the highest losses" in text and "Median error" in text and "isoflop" in text
        assert r"N^* \propto C^{" in text
        for name, value in fit.params.items():
            assert f"{value:.0f}" in text or f"{value:.4g}" in text, name


def test_ranges_are_of_the_rows_that_were_fitted(data):
    """The fit left out the runs of the highest losses; among them is the fewest tokens."""
    held = replace(data, fit=scaling.fit(data.runs))
    assert appendix(data).latex.split("$D$ from")[1][:20] != appendix(held).latex.split("$D$ from")[1][:20]


def number_after(text: str, name: str) -> float:
    return float(re.search(rf"{re.escape(name)} = (-?[\d.]+)", text)[1])


def test_the_predicted_loss_follows_from_what_is_printed(study):
    """The parameters of the plain fit, which stood there alone, give another loss."""
    text = appendix(study).markdown
    E, K, gamma, p, q, g, a = (
        float(re.search(rf"\| \${re.escape(name)} .*forecast.*?\| (\S+) \|", text)[1])
        for name in ("E", "K", r"\gamma", "p", "q", "g", "a")
    )
    log_n, log_nd = np.log(number_after(text, "N")), np.log(number_after(text, "N") * number_after(text, "D"))
    u = log_n - g - a * log_nd
    f = E + K * np.exp(-gamma * log_nd) * (q * np.exp(-p * u) + p * np.exp(q * u)) / (p + q)
    assert f == pytest.approx(number_after(text, "f"), abs=2e-6)
    predicted = f * np.exp(number_after(text, "c"))
    assert predicted == pytest.approx(study.verify["predicted"], rel=2e-6)
    assert f"{predicted:.4f} (90% interval" in text
    other = replace(study, verify=study.verify | {"predicted": 1.0})
    assert "by another fit than this" in appendix(other).markdown


def test_no_law_no_appendix(data):
    assert appendix(replace(data, fit=None)) is None


def test_latex_specials_are_escaped():
    assert latex_text("50% & $5_a {b}") == r"50\% \& \$5\_a \{b\}"
    assert "\\input" not in latex_text(EVIL) and "\n" not in latex_text(EVIL)
    assert latex_text("a\\b") == r"a\textbackslash{}b"


def test_markdown_specials_are_escaped():
    assert markdown_text("a | b *c* <d>") == r"a \| b \*c\* \<d\>"
    assert "\n" not in markdown_text(EVIL)


@pytest.mark.parametrize("name", laws.LAWS)
def test_formulas_of_all_laws_have_balanced_braces_and_known_commands(name):
    law = laws.LAWS[name]
    for text in (law.formula.partition(", ")[0], *law.params):
        made = _symbols(text)
        assert made.count("{") == made.count("}") and "^(" not in made
        allowed = {
            "mathrm",
            "alpha",
            "beta",
            "gamma",
            "delta",
            "zeta",
            "eta",
            "kappa",
            "omega",
            "log",
            "exp",
            "sum",
            "cdot",
        }
        assert set(re.findall(r"\\([a-z]+)", made)) <= allowed


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
def test_latex_compiles(data, tmp_path):
    page = r"\documentclass{article}\begin{document}" + appendix(data).latex + r"\end{document}"
    (tmp_path / "a.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)

"""The fit and its conventions as a paragraph and a table for a paper's appendix, in LaTeX and in Markdown.

What is said follows the reporting checklist of Li et al. 2025, "(Mis)Fitting: A Survey of Scaling Laws"
(arXiv 2502.18969): form, what was counted, runs and their ranges, objective and solver, starts, intervals.
"""

import re
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from scaling import laws
from scaling.fitting.result import Fit
from scaling.laws.law import values
from scaling.report import tables
from scaling.report.data import ReportData
from scaling.report.sections.headline import n_runs
from scaling.report.theme import four

GREEK = ("alpha", "beta", "gamma", "delta", "zeta", "eta", "theta", "kappa", "lambda", "omega")
COMMANDS = (*GREEK, "log", "exp", "sum", "min", "max")
SYMBOLS = {"n_params": "N", "n_tokens": "D", "flops": "C"}
COUNTED = {**SYMBOLS, "loss": "Loss"}
UNSTATED = {
    "n_params": "not stated",
    "n_tokens": "training tokens, as the table has them",
    "flops": "as the table has them; how they were counted is not stated",
    "loss": "not stated",
}
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "×": r"$\times$",
    "−": "$-$",
    **{letter: f"\\{letter}" for letter in "{}$&#%_"},
}


class Math(str):
    """LaTeX mathematics without its dollar signs; Markdown takes the same."""


Sentence = list[str]  # pieces, some of them Math


@dataclass(frozen=True)
class Appendix:
    latex: str
    markdown: str


def appendix(data: ReportData) -> Appendix | None:
    """Nothing where there is no one law."""
    if data.fit is None:
        return None
    sentences = _sentences(data, data.fit)
    rows = _rows(data.fit)
    head = ("Parameter", "Value", f"{data.fit.level:.0%} interval")
    caption = ["Fit of ", *_formula(data.fit), f" to {data.fit.n_points:,} points."]
    return Appendix(_latex(sentences, head, rows, caption), _markdown(sentences, head, rows))


# ---- what is said ------------------------------------------------------------------------------------------


def _sentences(data: ReportData, fit: Fit) -> list[Sentence]:
    law = laws.find(fit.law)
    said = [
        [
            "We fit ",
            *_formula(fit),
            f" to {fit.n_points:,} points of {_n_runs(data)}",
            *_ranges(data, fit),
            ".",
        ],
        [f"The form is that of {law.source}."],
        *_conventions(data),
        _method(fit, law),
    ]
    if len(fit.samples):
        n = f"{len(fit.samples):,}"
        said.append([f"Intervals: central {fit.level:.0%} of {n} bootstrap refits, runs resampled whole."])
    left_out = [
        note.removeprefix("left out ") for note in fit.notes if "left out" in note or "dropped" in note
    ]
    said.append([f"Data left out: {'; '.join(left_out)}." if left_out else "No data were left out."])
    if fit.exponents:
        how = "the closed form" if fit.approach == 3 else "the minima of IsoFLOP profiles (approach 2)"
        a, b = (four(fit.exponents[name]) for name in ("a", "b"))
        said.append([
            "The compute-optimal frontier has ", Math(f"N^* \\propto C^{{{a}}}"), " and ",
            Math(f"D^* \\propto C^{{{b}}}"), f", by {how}.",
        ])  # fmt: skip
    return [*said, *_forecast(fit), *_held_out(data, fit), [_made_with(data)]]


def _n_runs(data: ReportData) -> str:
    """Points of one curve share a run_id."""
    n = n_runs(data.law_runs.usable().table)
    return f"{n:,} training runs" if n > 1 else "one training run"


def _ranges(data: ReportData, fit: Fit) -> Sentence:
    """Of N, D and C among the rows that were fitted."""
    usable = data.law_runs.usable().table
    if len(usable) != fit.n_points:  # some were held back when the fit was made; it remembers what it saw
        usable = {name: column * fit.forecast.units[name] for name, column in fit.forecast.x.items()}
    pieces: Sentence = []
    for name, symbol in SYMBOLS.items():
        if name in usable:
            values = np.asarray(usable[name], float)
            ends = _power(values.min()), _power(values.max())
            pieces += [", ", Math(symbol), " from ", Math(ends[0]), " to ", Math(ends[1])]
    return pieces


def _conventions(data: ReportData) -> list[Sentence]:
    """What N, D, C and the loss count, a sentence each."""
    said = []
    for name, subject in COUNTED.items():
        stated = data.runs.conventions.get(name)
        what = stated if isinstance(stated, str) else UNSTATED[name]
        said.append([f"{subject}: {what.rstrip('.')}."])
    return said


def _method(fit: Fit, law: laws.Law) -> Sentence:
    errors = f"{'log ' if law.scale == 'log' else ''}{law.target}"
    return [
        f"Parameters minimise the summed Huber loss of {errors} (",
        Math(f"\\delta = {fit.delta:g}"),
        "; Hoffmann et al. 2022, arXiv 2203.15556, appendix D.3) without prior, by damped Gauss-Newton steps "
        f"in double precision from {len(law.starts)} starting points, of which the best is kept. "
        f"Objective {fit.objective:.8g}; {fit.status}.",
    ]


def _forecast(fit: Fit) -> list[Sentence]:
    """What predictions are made with: not the parameters above, but others, and what the runs say beside."""
    form = laws.find(fit.forecast.law)
    known = [
        (name, mean, spread) for name, (mean, spread) in zip(form.params, form.prior) if np.isfinite(spread)
    ]
    prior: Sentence = []
    for name, mean, spread in known:
        prior += [", " if prior else "", Math(f"{_symbols(name)} = {mean:g} \\pm {spread:g}")]
    of_data = "in units of the data: the geometric means of the columns, the smallest of the target"
    how = [" under a normal prior (", *prior, f"; {of_data})"] if prior else [" without prior"]
    error = "log loss" if form.scale == "log" else form.target
    said: list[Sentence] = [[
        "Predictions are made with ", *_equation(form, "f"), ", by generalised least squares", *how,
        f"; its parameters are those called “forecast”. To its {error} comes ", Math("c"),
        ", what it is off by at nearby runs (a Gaussian process over size and tokens)"
        f"{_mixed_in(fit)}.",
    ]]  # fmt: skip
    return said


def _mixed_in(fit: Fit) -> str:
    """What else is part of the correction: other forms, by their weights."""
    if fit.forms is None:
        return ""
    shares = [f"{known.law} {share:.2f}" for known, share in zip(fit.forms.forecasts, fit.forms.weights)]
    return f", and what is mixed in of other forms (weights by runs held out: {', '.join(shares)})"


def _correction(fit: Fit, n_params: float, n_tokens: float) -> Sentence:
    """The sum that gives the predicted loss of one run from the printed parameters."""
    form = laws.find(fit.forecast.law)
    at = {"n_params": np.array([n_params]), "n_tokens": np.array([n_tokens])}
    plain = float(values(form, fit.forecast.theta[None], at)[0, 0])
    predicted = float(fit.predict(n_params, n_tokens).loss)
    return [
        Math(f"f = {plain:.6f}"), ", ", Math(f"c = {np.log(predicted / plain):.6f}"), ", ",
        Math(f"f e^c = {predicted:.6f}"),
    ]  # fmt: skip


def _held_out(data: ReportData, fit: Fit) -> list[Sentence]:
    """Errors on runs that the fit has not seen, if any."""
    said: list[Sentence] = []
    if fit.holdout:
        inside = f"; {fit.holdout['coverage']:.0%} inside the interval" if "coverage" in fit.holdout else ""
        error = f"{fit.holdout['median_abs_error']:.2%}"
        said.append([f"Median error of the loss of {fit.holdout['n']:.0f} held-out runs: {error}{inside}."])
    verify = data.verify or {}
    if verify.get("measured") is not None:
        error = verify["measured"] / verify["predicted"] - 1
        inside = "inside" if verify["lo"] <= verify["measured"] <= verify["hi"] else "outside"
        between = f"{verify['level']:.0%} interval {verify['lo']:.4f} to {verify['hi']:.4f}"
        size, tokens = verify["n_params"], verify["n_tokens"]
        own = tables.splits_budgets(fit) and np.isclose(fit.predict(size, tokens).loss, verify["predicted"])
        said.append([
            "A larger run, ", Math(f"C = {_power(verify['flops'])}"), ", ", Math(f"N = {size:.0f}"), " and ",
            Math(f"D = {tokens:.0f}"), ", was predicted before it trained",
            *([" (", *_correction(fit, size, tokens), ")"] if own else [" by another fit than this"]), ": "
            f"{verify['predicted']:.4f} ({between}), measured {verify['measured']:.4f}, {error:+.2%}, "
            f"{inside} the interval.",
        ])  # fmt: skip
    return said


def _made_with(data: ReportData) -> str:
    version = data.versions.get("isoflop")
    try:
        version = version or metadata.version("isoflop")
    except metadata.PackageNotFoundError:  # run from a checkout
        version = ""
    return f"Fitted with isoflop{f' {version}' if version else ''}."


def _rows(fit: Fit) -> list[tuple[Math, str, str]]:
    """Name, value and interval of each parameter and exponent."""
    exponents = {"a": "a \\; (N^* \\propto C^a)", "b": "b \\; (D^* \\propto C^b)"}
    found = [(_symbols(name), value, fit.ci.get(name)) for name, value in fit.params.items()]
    found += [(exponents[name], value, fit.exponents_ci.get(name)) for name, value in fit.exponents.items()]
    rows = [
        (Math(name), four(value), f"[{four(ends[0])}, {four(ends[1])}]" if ends else "")
        for name, value, ends in found
    ]
    form = laws.find(fit.forecast.law)
    used = [(Math(_symbols(name)), f"{value:.10g}") for name, value in zip(form.params, fit.forecast.theta)]
    return [*rows, *[(Math(f"{name} \\; \\mathrm{{(forecast)}}"), value, "") for name, value in used]]


# ---- mathematics -------------------------------------------------------------------------------------------


def _formula(fit: Fit) -> Sentence:
    """Up to its first comma a law's formula is mathematics, what follows are words."""
    law = laws.find(fit.law)
    return _equation(law, "L" if law.target == "loss" else _symbols(law.target))


def _equation(law: laws.Law, target: str) -> Sentence:
    formula, comma, words = law.formula.partition(", ")
    return [Math(f"{target} = {_symbols(formula)}"), comma + words]


def _symbols(text: str) -> str:
    """A formula or a name as LaTeX: exponents in braces, Greek letters, subscripts, words upright."""
    text = re.sub(r"\^\(((?:[^()]|\([^()]*\))*)\)", r"^{\1}", text)
    text = re.sub(r"\^(-?[\w.]+)", r"^{\1}", text).replace("*", r"\cdot ")
    return re.sub(r"(?<!\\)[A-Za-z]\w*", lambda word: _symbol(word[0]), text)


def _symbol(word: str) -> str:
    letter, _, below = word.partition("_")
    if not below and re.fullmatch(r"[A-Za-z]\d+", word):
        letter, below = word[0], word[1:]
    if len(letter) > 1:
        letter = f"\\{letter}" if letter in COMMANDS else f"\\mathrm{{{letter}}}"
    below = below.replace("_", r"\_")
    return f"{letter}_{{{below if len(below) == 1 else f'{chr(92)}mathrm{{{below}}}'}}}" if below else letter


def _power(value: float) -> str:
    """6.8e9 as 6.8 \\times 10^{9}."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g} \\times 10^{{{int(exponent)}}}"


# ---- the two forms -----------------------------------------------------------------------------------------


def _latex(sentences: list[Sentence], head: tuple[str, ...], rows, caption: Sentence) -> str:
    paragraph = "\n".join(_joined(sentence, latex_text) for sentence in sentences)
    lines = [" & ".join(_joined([cell], latex_text) for cell in row) + r" \\" for row in rows]
    return "\n".join([
        paragraph, "",
        r"\begin{table}[h]", r"\centering",
        rf"\caption{{{_joined(caption, latex_text)}}}",
        r"\begin{tabular}{lrr}", r"\hline",
        " & ".join(map(latex_text, head)) + r" \\", r"\hline",
        *lines,
        r"\hline", r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def _markdown(sentences: list[Sentence], head: tuple[str, ...], rows) -> str:
    paragraph = "\n".join(_joined(sentence, markdown_text) for sentence in sentences)
    lines = ["| " + " | ".join(_joined([cell], markdown_text) for cell in row) + " |" for row in rows]
    return "\n".join([paragraph, "", f"| {' | '.join(head)} |", "|:--|--:|--:|", *lines, ""])


def _joined(pieces: Sentence, escape) -> str:
    return "".join(f"${piece}$" if isinstance(piece, Math) else escape(piece) for piece in pieces)


def latex_text(text: str) -> str:
    """Plain text as LaTeX, on one line; no character of it is a command."""
    return "".join(LATEX.get(letter, letter) for letter in _one_line(text))


def markdown_text(text: str) -> str:
    """Plain text as Markdown, on one line: no character of it is markup or ends a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>|$#~])", r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    """Without line ends and other control characters; a blank at either end is kept."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text)

"""The page of a study, or of any table of runs with a law: report.html, and what a paper takes beside it.

That is figures/*.png and *.pdf, and appendix.tex and appendix.md: the fit and its conventions to paste.

The law is DIR/fit.json, or the one given by --fit, or is fitted on the spot (Chinchilla). Sections with
nothing to show are left out. The page is one file, loads nothing from anywhere and can be mailed.

Example: isoflop report out/quickstart
Example: isoflop report runs.csv --columns n_params=N,n_tokens=D,flops=C --out report.html
"""

from pathlib import Path

from absl import flags

from launch.commands.fit import check_out, parse_columns
from launch.worker import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop report DIR|TABLE [flags]"
flags.DEFINE_string("out", None, "the page; default: report.html in DIR, or beside TABLE", flag_values=FLAGS)
flags.DEFINE_string("fit", None, "a fit.json to show instead of the directory's own", flag_values=FLAGS)
flags.DEFINE_list(
    "columns", [], "names in the table, for example n_params=N,n_tokens=D,loss=L", flag_values=FLAGS
)
flags.DEFINE_bool(
    "forecast", False, "add when text, power and money run short, see `isoflop forecast`", flag_values=FLAGS
)


def run(args: list[str], flags) -> int:
    """Writes the page and its figures, and prints where it is."""
    if len(args) != 1:
        raise ValueError(f"expected one study directory or table of runs, got {args}; usage: {USAGE}")
    check_out(flags.out)
    columns = parse_columns(flags.columns)
    prepare_process()  # before anything imports jax
    from scaling.report import write_report

    source = Path(args[0])
    out = Path(flags.out) if flags.out else (source if source.is_dir() else source.parent) / "report.html"
    print(write_report(source, out, Path(flags.fit) if flags.fit else None, columns, flags.forecast))
    return 0

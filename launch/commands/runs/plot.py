"""Draw any two columns of a study's runs, or of any table, coloured by a third: PNG, SVG or a page.

A setting may be named by its last part, as for `isoflop runs`. Numbers that span a decade have a logarithmic
axis, texts are categories. Rows without a finite value, of runs that diverged, are left out and counted.

Example: isoflop plot out/quickstart x=flops y=loss color=n_params --out loss.png
Example: isoflop plot out/sweep x=lr y=loss color=optimizer --where "n_params < 1e6" --out sweep.html
"""

from pathlib import Path

from absl import flags

from experiments.files import write_atomic
from launch.arguments.tables_and_fits import check_out, parse_columns

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "the figure: .png, .svg or .html", flag_values=FLAGS)
flags.DEFINE_string("where", None, "only rows of which this holds, such as 'lr < 0.01'", flag_values=FLAGS)
USAGE = "isoflop plot DIR|TABLE [x=flops] [y=loss] [color=COLUMN] --out FILE [--where EXPR]"
KINDS = (".png", ".svg", ".html")
AXES = ("x", "y", "color")


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Writes the figure and prints where it is."""
    sources = [word for word in args if word.partition("=")[0] not in AXES]
    if len(sources) != 1 or not flags.out:
        raise ValueError(f"expected one study folder or table and --out, got {args}; usage: {USAGE}")
    out = Path(flags.out)
    if out.suffix not in KINDS:
        raise ValueError(f"--out {out}: cannot draw {out.suffix!r}; allowed are {', '.join(KINDS)}")
    check_out(flags.out)
    asked = {"x": "flops", "y": "loss"} | parse_columns([word for word in args if word not in sources])
    from launch.driver.rows import column, read_rows, where
    from scaling.report.scatter import scatter

    rows = where(read_rows(Path(sources[0])), flags.where)
    found = {axis: column(rows, name) for axis, name in asked.items()}
    table = rows.table.assign(**dict(found.values()))
    names = {axis: name for axis, (name, _) in found.items()}
    figure = scatter(table, names["x"], names["y"], names.get("color"))
    write_atomic(out, _drawn(figure, out.suffix, sources[0]))
    print(f"{out}: {figure.caption}")
    return 0


def _drawn(figure, kind: str, source: str) -> bytes | str:
    from scaling.report import page, theme

    if kind != ".html":
        return theme.png(figure.spec) if kind == ".png" else theme.svg(figure.spec)
    head = page.PageHead(figure.title, "isoflop plot", [(Path(source).resolve().name, False)], "", [], "")
    with page.start_bundling() as bundling:
        return page.render(head, [page.Section("plot", "Figure", figures=[figure])], page.bundled(bundling))

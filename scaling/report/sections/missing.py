"""What of a study is not there yet, said on the page of an unfinished one."""

from typing import Any

from scaling.report.data import MissingRuns
from scaling.report.page import Cell, Column, Section, Table, TableRow

# A run is in one of these states; the heading of each, and what a reader calls a run in it.
STATES = {
    "finished": ("Finished", "finished"),
    "running": ("Running", "running"),
    "left": ("Left", "not begun"),
    "failed": ("Failed", "failed"),
    "cancelled": ("Cancelled", "cancelled"),
}


def notice(missing: MissingRuns, verify: dict[str, Any] | None) -> str:
    """Top of the page: how many runs it is without, and whether its prediction was tested."""
    n_runs = sum(sum(counts.values()) for counts in missing.runs.values())
    n_left = n_runs - missing.count("finished")
    parts = [f"{missing.count(state)} {STATES[state][1]}" for state in STATES if state != "finished"]
    parts = [part for part in parts if not part.startswith("0 ")]
    said = f"{n_left} of {n_runs} planned runs are missing ({', '.join(parts)})." if n_left else ""
    if unplanned := [stage for stage, counts in missing.runs.items() if not counts]:
        said += f" Stages that wait for these: {', '.join(unplanned)}."
    if "verify" in missing.runs and not (verify and verify.get("measured") is not None):
        said += " No prediction has been tested by a verification run yet."
    return f"This study is not finished. {said} All else here is of the runs finished by {missing.when}."


def section(missing: MissingRuns) -> Section:
    """Runs by stage and state."""
    columns = [Column("Stage", text=True), *(Column(heading) for heading, _ in STATES.values())]
    rows = []
    for stage, counts in missing.runs.items():
        numbers = [counts.get(state, 0) for state in STATES]
        cells = [Cell(str(n), n) if n else Cell("" if counts else "–", 0) for n in numbers]
        rows.append(TableRow([Cell(stage, kind="text"), *cells], mark="" if counts else "waits"))
    text = "Failed runs have used up their attempts; isoflop status says why. A dash: not planned yet."
    table = Table("Runs by stage", columns, rows)
    return Section("missing", "What is missing", text, tables=[table], said="\n".join(missing.now))

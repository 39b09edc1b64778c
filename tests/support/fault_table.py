"""What became of many faults, as a table for docs/reliability.md."""

COLUMNS = (
    "fault", "faults", "scans", "lines sent", "lines in logs", "images expected", "images received",
    "ended in words", "duplicates", "lost",
)  # fmt: skip
BEGIN, END = "<!-- faults: written by tests/faults/run.py -->", "<!-- faults: end -->"


def table(outcomes):
    """One row for each kind of fault, and one for all."""
    kinds = dict.fromkeys(outcome.plan.kind for outcome in outcomes)
    rows = [row(kind, [outcome for outcome in outcomes if outcome.plan.kind == kind]) for kind in kinds]
    rows.sort()
    rows.append(row("**all**", outcomes))
    lines = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def row(name, outcomes):
    return (
        name,
        sum(outcome.faults for outcome in outcomes),
        len(outcomes),
        sum(outcome.lines_sent for outcome in outcomes),
        sum(outcome.lines_held for outcome in outcomes),
        sum(outcome.images_wanted for outcome in outcomes),
        sum(outcome.images for outcome in outcomes),
        sum(outcome.ended_in_words for outcome in outcomes),
        sum(outcome.duplicates for outcome in outcomes),
        sum(outcome.losses for outcome in outcomes),
    )


def write_table(path, text, seed):
    """Replace what stands between the two marks."""
    page = path.read_text()
    if BEGIN not in page:
        raise SystemExit(f"{path} has no place for the table: {BEGIN}")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\nSeed {seed}:\n\n{text}\n\n{END}{after}")

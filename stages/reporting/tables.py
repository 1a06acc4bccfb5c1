"""Table 1 and Table 2 in the paper's form, and the table of every score; as CSV, LaTeX and Markdown."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from stages.reporting import paper
from stages.reporting.claims import Claim
from stages.reporting.documents import SPLIT_TITLES, Score
from stages.reporting.results import Method, Results
from stages.scoring import catalogue

COLUMNS = ("fd_video", "fd_frame", "blinks_per_s", "blink_duration_s", "sync_confidence")  # in the order of the paper's
OURS, FLOORS, PAPERS = "this run", "this run, truth against truth", "paper (not comparable)"


@dataclass(frozen=True)
class Table:
    """A table in the paper's form: this run's rows under our column names, the paper's rows under its own."""

    name: str
    caption: str
    scores: tuple[str, ...]  # names of the columns' scores
    rows: list[tuple[str, list[Score | None]]]
    keys: list[str]  # the MLflow key of each row
    floors: list[tuple[str, list[Score | None]]]  # the truth's distance from itself
    paper_rows: tuple[tuple[str, ...], ...]
    apart: str  # the reason not to compare the two

    @property
    def headings(self) -> list[str]:
        return [catalogue.kind(name).heading for name in self.scores]

    def cells(self, *, counted: bool = True) -> list[list[str]]:
        """This run's rows and the floors below them as text, each score with its interval and, where ``counted``, its n."""
        digits = [catalogue.kind(name).digits for name in self.scores]

        def cell(score: Score | None, places: int) -> str:
            return catalogue.with_interval(score, places) + (f", n = {score.n}" if score and counted else "")

        return [[title, *map(cell, scores, digits)] for title, scores in (*self.rows, *self.floors)]


def columns(results: Results) -> tuple[str, ...]:
    """The scores of Tables 1 and 2: the paper's own where networks with public weights made them, else the corpus's for them."""
    return tuple(catalogue.instead(name, results.measured) for name in COLUMNS)


def in_papers_form(results: Results) -> list[Table]:
    """Tables 1 and 2 of this run."""
    captions = {"table1": "Comparison of methods", "table2": "Ablation of the inputs"}
    rows_of_paper = {"table1": paper.TABLE1, "table2": paper.TABLE2}
    names, apart = columns(results), paper.apart(results.params)
    tables = []
    for name, caption in captions.items():
        shown = [m for m in results.methods.values() if name in m.entry.tables]
        rows = [(m.entry.title, [m.score(score) for score in names]) for m in shown]
        tables.append(
            Table(
                name, caption, names, rows, [m.key for m in shown], floors(results, names), rows_of_paper[name], apart
            )
        )
    return tables


def floors(results: Results, names: tuple[str, ...]) -> list[tuple[str, list[Score | None]]]:
    """Rows of truth against truth for the distances among some scores: other moments of the same people, and other people."""
    titles = {"_floor": "truth, other moments", "_speakers": "truth, other speakers"}
    truth = results.methods["truth"]
    rows = [(title, [truth.score(name + suffix) for name in names]) for suffix, title in titles.items()]
    return [row for row in rows if any(row[1])]


def to_csv(table: Table) -> str:
    """One line a row: ``source`` names the number's origin, ``features`` the networks behind it; a score of ours has its
    interval and n beside it."""
    names = [f"{name}{part}" for name in table.scores for part in ("", "_low", "_high", "_n")]
    own = "; ".join(f"{name}: {kind}" for by in catalogue.families(table.scores).values() for name, kind in by.items())
    lines = [["source", "method", *names, *paper.COLUMNS, "features", "mlflow_key"]]
    sources = [OURS] * len(table.rows) + [FLOORS] * len(table.floors)
    keys = [*table.keys, *[""] * len(table.floors)]
    for source, (title, scores), key in zip(sources, (*table.rows, *table.floors), keys, strict=True):
        cells = [exact(x) for s in scores for x in ((s.value, s.low, s.high, s.n) if s else (None,) * 4)]
        lines.append([source, title, *cells, *[""] * len(paper.COLUMNS), own, key])
    for title, *values in table.paper_rows:
        lines.append(
            [PAPERS, title, *[""] * len(names), *("" if v == "–" else v for v in values), "I3D, Inception, SyncNet", ""]
        )
    return csv_text(lines)


def to_markdown(table: Table) -> str:
    """Two tables one below the other, ours first."""
    ours = markdown(["method", *table.headings], table.cells())
    theirs = markdown(["paper’s table", *paper.COLUMNS], [list(row) for row in table.paper_rows])
    return f"{ours}\n*{table.apart}*\n\n{theirs}"


def to_latex(table: Table) -> str:
    """A ``table`` environment with two tabulars, which needs the package ``booktabs``."""

    def tabular(head: list[str], rows: list[list[str]]) -> str:
        body = "\n".join("  " + " & ".join(_tex(c) for c in row) + r" \\" for row in rows)
        first = "  " + " & ".join(_tex(c) for c in head) + r" \\"
        columns = "l" + "c" * (len(head) - 1)
        return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{first}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}"

    ours = tabular(["Method", *table.headings], table.cells(counted=False))
    theirs = tabular(["Paper", *paper.COLUMNS], [list(row) for row in table.paper_rows])
    return (
        "\\begin{table}\n\\centering\n\\footnotesize\n"
        f"\\caption{{{_tex(table.caption)}, this run; intervals in brackets.}}\n{ours}\n\n"
        f"\\medskip\n\\emph{{{_tex(table.apart)}}}\n\n{theirs}\n\\end{{table}}\n"
    )


def every_score(results: Results) -> list[tuple[str, catalogue.Metric, list[list[str]]]]:
    """For each score measured: its name, how it is shown, and a row a method with a cell a split.

    The cells of a study are left out: ``figures/samplers.csv`` has them.
    """
    splits, methods = results.splits(), results.apart()
    known = [metric.name + suffix for metric in catalogue.METRICS for suffix in ("", *catalogue.SUFFIXES)]
    others = sorted({s for m in methods for s in m.document["scores"]} - set(known))
    measured = []
    for name in [*known, *others]:
        kind = catalogue.kind(name)
        shown = [m for m in methods if any(m.score(name, split) for split in splits)]
        rows = [[m.entry.title, *_cells(m, name, kind.digits, splits)] for m in shown]
        if rows:
            measured.append((name, kind, rows))
    return measured


def _cells(method: Method, name: str, digits: int, splits: tuple[str, ...]) -> list[str]:
    scores = [method.score(name, split) for split in splits]
    return [catalogue.with_interval(s, digits) + (f" (n = {s.n})" if s else "") for s in scores]


def score_columns(results: Results) -> list[str]:
    """The heads of :func:`every_score`'s tables."""
    return ["method", *(SPLIT_TITLES[split] for split in results.splits())]


def claims_csv(claims: list[Claim]) -> str:
    head = ["claim", "rule", "command", "expected", "measured", "holds"]
    lines = [[c.claim, c.rule, c.command, c.expected, c.measured, "yes" if c.holds else "no"] for c in claims]
    return csv_text([head, *lines])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table of a code host's Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |\n" for line in lines)


def exact(value: float | int | None) -> str:
    return "" if value is None else repr(value)


def csv_text(lines: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%_#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--", "−": "$-$", "×": r"$\times$", "²": "$^2$", "’": "'"}
)


def _tex(text: str) -> str:
    return text.translate(TEX)

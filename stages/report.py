"""Write a run's report: pages, tables, claims, figures and videos.

    python -m stages.report --data data/demo --out reports/demo

Every number comes from data/<run>/metrics/*.json, which the metrics stage writes as it records in MLflow; the report fails
where a recorded run of the same key disagrees. The same inputs give the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.base import params
from stages.base.errors import HifiDiffError, ParameterError, run
from stages.reporting import claims, drawing, figures, files, pages, results, stills, study, tables, videos
from stages.reporting.results import Results
from stages.store.atomic import whole_file

LARGEST = 1_000_000  # bytes of a file: reports are kept in git


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default=params.PARAMS_FILE, help="settings (default: %(default)s)")
    parser.add_argument("--data", type=Path, required=True, help="folder of the run, such as data/demo")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, such as reports/demo")
    args = parser.parse_args()
    found = results.read(args.data, params.load(args.params))
    print(results.check_recorded(found))
    write(found, args.out)
    print((args.out / "headline.txt").read_text(encoding="utf-8"), end="")
    print(f"report: {args.out / 'index.html'}")


def write(found: Results, out: Path) -> None:
    """Write the whole report into ``out``; ``claims.csv`` comes last, so that it stands only beside the rest.

    Raises:
        ParameterError: more videos are to be shown than there are test clips.
        HifiDiffError: a file would be larger than a repository should hold.
    """
    judged = claims.evaluate(found)
    wanted = found.params.report.videos
    shown = figures.shown_clips(found, wanted)
    if found.params.report.faces and len(shown) < wanted:
        raise ParameterError(f"report.videos is {wanted}, but the test has {len(shown)} clips; lower it")
    draw(found, shown, out / "figures")
    page = pages.content(found, judged, shown)
    for name in {*files.faces(found.params), files.NO_VIDEOS}.difference(files.files(found.params)):
        (out / name).unlink(missing_ok=True)  # of a report with, or without, faces
    for number, clip in enumerate(page.videos, 1):
        videos.side_by_side(found, clip, out / "videos" / f"{number}.mp4")
    if page.videos:
        videos.moving(found, page.videos[0], out / files.MOVING)
    else:
        _text(out / files.NO_VIDEOS, pages.FACELESS + "\n")
    for table in tables.in_papers_form(found):
        _text(out / f"tables/{table.name}.csv", tables.to_csv(table))
        _text(out / f"tables/{table.name}.md", tables.to_markdown(table))
        _text(out / f"tables/{table.name}.tex", tables.to_latex(table))
    for path in sorted((out / "figures").glob("*.png")):
        drawing.bounded(path, LARGEST)
    _text(out / "index.md", pages.markdown(page))
    _text(out / "index.html", pages.html(page, out, LARGEST))
    _text(out / "headline.txt", pages.headline(found, judged))
    _text(out / "claims.csv", tables.claims_csv(judged))
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.stat().st_size > LARGEST:
            raise HifiDiffError(
                f"{path}: {path.stat().st_size} bytes, over {LARGEST}; lower report.videos or report.frames"
            )


def draw(found: Results, shown: list[str], folder: Path) -> None:
    """All figures of the report: the charts, and with ``report.faces`` the pictures of faces."""
    if found.params.report.faces:
        figures.frames(found, shown[0], folder / "frames.png")
        figures.frames(found, shown[1 % len(shown)], folder / "frames_seen.png")
        figures.inputs(found, shown[:3], folder / "inputs.png")
        figures.speakers(found, folder / "speakers.png")
        figures.worst_frames(found, pages.worst_clips(found), folder / "worst.png")
        if films := stills.pictures(found):
            figures.stacked(films, folder.parent / files.TALKING)
    figures.traces(found, shown[:2], folder / "traces")
    figures.curves(found, folder / "curves")
    if found.params.baselines:
        figures.curves_of_baselines(found, folder / "curves_baselines")
    figures.spectrogram(found, shown[0], folder / "spectrogram")
    figures.intervals(found, pages.plotted(found), folder / "intervals")
    if cells := study.groups(found):
        figures.samplers(cells, folder / "samplers")
        _text(folder / "samplers.csv", study.to_csv(cells))
    if found.long():
        figures.long(found, folder / "long")


def _text(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main)

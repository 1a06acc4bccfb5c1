"""The files of a run's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.base.params import Params

CHARTS = ("traces", "curves", "spectrogram", "intervals")  # PNG for a code host, SVG for the page
PICTURES = ("frames", "frames_seen", "inputs", "speakers", "worst")
TEXTS = ("index.html", "index.md", "headline.txt", "claims.csv")
TABLES = ("table1", "table2")
MOVING, TALKING = "figures/moving.webp", "figures/talking.jpg"
NO_VIDEOS = "videos/README.md"  # in their place where the report has no faces


def faces(params: Params) -> list[str]:
    """The files that show faces, those of :func:`files` with ``report.faces``."""
    return [
        *(f"figures/{name}.png" for name in PICTURES),
        MOVING,
        *[TALKING] * bool(params.talking),
        *(f"videos/{number}.mp4" for number in range(1, params.report.videos + 1)),
    ]


def files(params: Params) -> list[str]:
    """Everything that a run's report is made of, relative to its folder. A study's files lie with the figures."""
    study, long = params.has_study, bool(params.sampled_on("test_long"))
    charts = [*CHARTS, *["curves_baselines"] * bool(params.baselines), *["samplers"] * study, *["long"] * long]
    return [
        *TEXTS,
        *(f"tables/{name}.{kind}" for name in TABLES for kind in ("csv", "tex", "md")),
        *(f"figures/{name}.{kind}" for name in charts for kind in ("png", "svg")),
        *["figures/samplers.csv"] * study,
        *(faces(params) if params.report.faces else [NO_VIDEOS]),
    ]

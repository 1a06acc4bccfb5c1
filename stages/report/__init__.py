"""The report of a run: tables, claims, figures, videos and pages, made from files that the other stages wrote."""

CHARTS = ("traces", "curves", "spectrogram", "intervals")  # PNG for a code host, SVG for the page
PICTURES = ("frames", "frames_seen", "inputs", "speakers", "worst")
TEXTS = ("index.html", "index.md", "headline.txt", "claims.csv")
TABLES = ("table1", "table2")


def files(videos: int) -> list[str]:
    """Everything that a report with so many videos writes, relative to its folder."""
    return [
        *TEXTS,
        *(f"{name}.{kind}" for name in TABLES for kind in ("csv", "tex", "md")),
        *(f"figures/{name}.{kind}" for name in CHARTS for kind in ("png", "svg")),
        *(f"figures/{name}.png" for name in PICTURES),
        *(f"videos/{number}.mp4" for number in range(1, videos + 1)),
    ]

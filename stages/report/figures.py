"""The figures of the report: each function reads a run's results and writes one file (a chart: PNG and SVG)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages import catalogue, conditions
from stages.report import drawing
from stages.report.drawing import Picture
from stages.report.results import SPLIT_TITLES, Method, Results

GREY = 148  # of what the network does not see
SIDE = 112  # pixels of a face in a sheet


def enlarge(frame_HWC: Picture, side: int = SIDE) -> Picture:
    """A frame at ``side`` pixels; enlarged with Lanczos, so that no pixel grid shows that the video does not have."""
    filter_ = cv2.INTER_LANCZOS4 if side > frame_HWC.shape[0] else cv2.INTER_AREA
    return cv2.resize(frame_HWC, (side, side), interpolation=filter_).astype(np.uint8)


def shown_clips(results: Results, count: int) -> list[str]:
    """Clips to show, chosen by order and not by merit: unseen and seen speakers in turn, speakers as varied as may be."""
    chosen: list[str] = []
    pools = [_by_turns(results, split) for split in ("test_unseen", "test_seen")]
    while len(chosen) < count and any(pools):
        for pool in pools:
            if pool and len(chosen) < count:
                chosen.append(pool.pop(0))
    return chosen


def _by_turns(results: Results, split: str) -> list[str]:
    """The clips of a split, first each speaker's first."""
    rows = results.index[results.index["split"] == split].sort_values("clip")
    turn = rows.groupby("speaker").cumcount()
    return list(rows.assign(turn=turn).sort_values(["turn", "speaker"])["clip"])


def moments(results: Results, clip: str, count: int) -> list[int]:
    """Frame numbers to show: spread evenly, the nearest to the deepest blink moved onto it."""
    ear = results.clip(clip).ear_T2.mean(-1)
    frames = np.linspace(2, len(ear) - 3, count).round().astype(int)
    closed = int(ear.argmin())
    frames[np.abs(frames - closed).argmin()] = closed
    return sorted(int(f) for f in frames)


def frame_rows(results: Results, clip: str) -> tuple[list[tuple[str, list[Picture]]], list[str]]:
    """The same frames of the truth and of each setting: rows (title, pictures), and the time above each column."""
    numbers = moments(results, clip, results.params.report.frames)
    shown = [results.methods["truth"], *results.settings()]
    rows = [(m.entry.title, [enlarge(f) for f in results.frames(m.name, clip)[numbers]]) for m in shown]
    return rows, [f"{n / results.params.mask.fps:.2f} s" for n in numbers]


def frames(results: Results, clip: str, path: Path) -> None:
    """Frames of the truth and of each setting, one sheet."""
    rows, heads = frame_rows(results, clip)
    drawing.save_picture(drawing.sheet(rows, heads), path)


def inputs(results: Results, clips: list[str], path: Path) -> None:
    """What the network sees and makes: the reference, the masked frame, the generated and the true frame; a row a clip."""
    rows = []
    for name in clips:
        clip = results.clip(name)
        number = int(np.argmax(np.nan_to_num(results.methods["truth"].trace(name, "mouth_measured"))))
        number = min(number, len(clip.frames_THWC) - 1)
        frame = clip.frames_THWC[number]
        masked = np.where(clip.masks_THW[number][..., None], np.uint8(GREY), frame)
        made = results.frames("full", name)[number]
        reference = clip.frames_THWC[0]
        if results.params.network.reference == "aligned":
            reference = conditions.aligned(clip, [number], 0)[0]
        rows.append((name, [enlarge(p) for p in (reference, masked, made, frame)]))
    drawing.save_picture(drawing.sheet(rows, ["reference", "masked face", "generated", "truth"]), path)


def speakers(results: Results, path: Path) -> None:
    """One frame of each speaker, with the name and whether training saw the speaker."""
    usable = results.index[results.index["status"] == "ok"].sort_values("clip")
    unseen = set(results.params.index.unseen_speakers)
    tiles, names = [], []
    for speaker in sorted(usable["speaker"].unique()):
        rows = usable[usable["speaker"] == speaker]
        clip = results.clip(str(rows["clip"].iloc[0]))
        tiles.append(enlarge(clip.frames_THWC[len(clip.frames_THWC) // 2]))
        names.append(f"{speaker}, unseen" if speaker in unseen else speaker)
    across = min(6, len(tiles))
    starts = range(0, len(tiles), across)
    parts = [drawing.sheet([("", tiles[i : i + across])], names[i : i + across]) for i in starts]
    width = max(part.shape[1] for part in parts)
    parts = [np.pad(part, ((0, 6), (0, width - part.shape[1]), (0, 0))) for part in parts]
    drawing.save_picture(np.concatenate(parts), path)


def traces(results: Results, clips: list[str], path: Path) -> None:
    """Eyelids as requested and mouth as on the true video, against the generated video, by dlib; a column a clip."""
    with drawing.style():
        figure = Figure(figsize=(3.6 * len(clips), 4.2), layout="constrained")
        axes = figure.subplots(2, len(clips), squeeze=False, sharey="row")
        for column, clip in enumerate(clips):
            eye, mouth = axes[:, column]
            _lines(eye, results, clip, "ear", results.methods["full"].trace(clip, "ear_requested"), "requested")
            _lines(mouth, results, clip, "mouth", results.methods["truth"].trace(clip, "mouth_measured"), "true video")
            eye.set_title(clip)
            mouth.set_xlabel("seconds")
        axes[0, 0].set_ylabel("eye aspect ratio")
        axes[1, 0].set_ylabel("mouth opening")
        for row in axes[:, -1]:
            row.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        drawing.save(figure, path)


def _lines(axis: Axes, results: Results, clip: str, signal: str, wanted: NDArray[np.float64], name: str) -> None:
    """What is wanted, and what is measured on the videos of the full model and of the one without the blink signal."""
    fps = results.params.mask.fps
    axis.plot(np.arange(len(wanted)) / fps, wanted, color=drawing.colour("truth"), lw=2.0, label=name)
    for method in ("full", "no_blink") if signal == "ear" else ("full",):
        if method in results.methods:
            measured = results.methods[method].trace(clip, f"{signal}_measured")
            title = results.methods[method].entry.title
            axis.plot(np.arange(len(measured)) / fps, measured, color=drawing.colour(method), lw=1.1, label=title)


def curves(results: Results, path: Path) -> None:
    """Each loss term over the training steps, a line a setting; logarithmic where all values are positive."""
    trained = [m for m in results.methods.values() if m.curves is not None]
    terms = [c for c in trained[0].curves.columns if c != "step"]  # type: ignore[union-attr]
    with drawing.style():
        across = min(3, len(terms))
        down = -(-len(terms) // across)
        figure = Figure(figsize=(7.4, 1.9 * down + 0.5), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for axis, term in zip(axes, terms, strict=False):
            positive = all((m.curves[term] > 0).all() for m in trained if m.curves is not None)
            for method in trained:
                assert method.curves is not None
                values = method.curves[term]
                axis.plot(
                    method.curves["step"], values, color=drawing.colour(method.name), lw=1.1, label=method.entry.title
                )
            axis.set_title(term.replace("_", " "))
            axis.set_yscale("log" if positive else "linear")
        for axis in axes[len(terms) :]:
            axis.set_axis_off()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(trained))
        figure.supxlabel("training step", fontsize=8.5)
        drawing.save(figure, path)


def spectrogram(results: Results, clip: str, path: Path) -> None:
    """A clip's mel spectrogram, as the network hears it, above the mouth opening of its video."""
    sound = results.clip(clip)
    opening = results.methods["truth"].trace(clip, "mouth_measured")
    with drawing.style():
        figure = Figure(figsize=(7.4, 3.2), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        seconds = len(sound.mel_SM) / 80
        top.imshow(
            sound.mel_SM.T, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, sound.mel_SM.shape[1])
        )
        top.set(ylabel="mel band")
        top.grid(False)
        bottom.plot(np.arange(len(opening)) / results.params.mask.fps, opening, color=drawing.colour("full"), lw=1.2)
        bottom.set(ylabel="mouth opening", xlabel="seconds")
        drawing.save(figure, path)


def intervals(results: Results, names: list[str], path: Path) -> None:
    """Scores with their intervals: a panel a score, a line a method, seen speakers as dots and unseen ones as rings."""
    methods = list(results.methods.values())
    names = [n for n in names if any(m.score(n) for m in methods)]
    with drawing.style():
        across = min(3, len(names))
        down = -(-len(names) // across)
        figure = Figure(figsize=(7.4, 0.9 + (0.42 + 0.2 * len(methods)) * down), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False, sharey=True)
        for axis, name in zip(axes.ravel(), names, strict=False):
            for row, method in enumerate(methods):
                for split, offset, fill in (("test_seen", 0.16, True), ("test_unseen", -0.16, False)):
                    _dot(axis, method, name, split, len(methods) - 1 - row + offset, fill)
            axis.set_title(catalogue.kind(name).heading)
        for axis in axes.ravel()[len(names) :]:
            axis.set_axis_off()
        axes[0, 0].set_yticks(range(len(methods)), [m.entry.title for m in reversed(methods)])
        figure.supxlabel(f"filled: {SPLIT_TITLES['test_seen']}; open: {SPLIT_TITLES['test_unseen']}", fontsize=8.5)
        drawing.save(figure, path)


def _dot(axis: Axes, method: Method, name: str, split: str, y: float, fill: bool) -> None:
    score = method.score(name, split)
    if score is None:
        return
    hue = drawing.colour(method.name)
    if score.low is not None and score.high is not None:
        axis.plot([score.low, score.high], [y, y], color=hue, lw=1.2, solid_capstyle="round")
    axis.plot(score.value, y, "o", ms=4.2, mec=hue, mfc=hue if fill else "none", mew=1.2)


def worst(results: Results, name: str, count: int) -> list[tuple[str, float]]:
    """The full model's worst clips by a per-clip score where more is better: (clip, value), worst first."""
    table = results.methods["full"].clips
    if name not in table:
        return []
    ordered = table[name].dropna().sort_values(kind="stable")
    return [(str(clip), float(value)) for clip, value in ordered.head(count).items()]


def worst_frames(results: Results, clips: list[str], path: Path) -> None:
    """Truth above generated for the worst clips."""
    rows = []
    for clip in clips:
        numbers = moments(results, clip, results.params.report.frames)
        for method in ("truth", "full"):
            made: NDArray[np.uint8] = results.frames(method, clip)[numbers]
            rows.append((f"{clip}, {results.methods[method].entry.title}", [enlarge(f, 96) for f in made]))
    drawing.save_picture(drawing.sheet(rows, []), path)

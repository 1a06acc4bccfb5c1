"""The figures of the report: each function reads a run's results and writes one file (a chart: PNG and SVG)."""

from __future__ import annotations

import io
import itertools
import textwrap
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray
from PIL import Image

from stages.clips import conditions
from stages.measures import drift
from stages.reporting import drawing, study
from stages.reporting.documents import SPLIT_TITLES, Score
from stages.reporting.drawing import Picture
from stages.reporting.results import Method, Results
from stages.scoring import catalogue
from stages.store.atomic import whole_file

GREY = 148  # of pixels that the network does not see
SIDE = 112  # pixels of a face in a sheet
SHEET = 1200  # width of a sheet of whole pictures


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
    """Draws the network's input and output: the reference, the masked frame, the generated and the true frame; a row a clip."""
    rows = []
    for name in clips:
        clip = results.clip(name)
        number = int(np.argmax(np.nan_to_num(results.methods["truth"].trace(name, "mouth_measured"))))
        number = min(number, len(clip.frames_THWC) - 1)
        frame = clip.frames_THWC[number]
        masked = np.where(clip.masks_THW[number][..., None], np.uint8(GREY), frame)
        made = results.frames(results.main.name, name)[number]
        reference = clip.frames_THWC[0]
        if results.params.network.reference == "aligned":
            reference = conditions.aligned(clip, [number], 0)[0]
        rows.append((name, [enlarge(p) for p in (reference, masked, made, frame)]))
    drawing.save_picture(drawing.sheet(rows, ["reference", "masked face", "generated", "truth"]), path)


def stacked(jpegs: list[bytes], path: Path) -> None:
    """JPEGs below one another, all brought to one width."""
    rows = [np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in jpegs]
    sizes = [(SHEET, round(row.shape[0] * SHEET / row.shape[1])) for row in rows]
    scaled = [cv2.resize(row, size, interpolation=cv2.INTER_AREA) for row, size in zip(rows, sizes, strict=True)]
    with whole_file(path) as part:
        Image.fromarray(np.concatenate(scaled).astype(np.uint8)).save(part, format="JPEG", quality=90, subsampling=0)


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
            _lines(eye, results, clip, "ear", results.main.trace(clip, "ear_requested"), "requested")
            _lines(mouth, results, clip, "mouth", results.methods["truth"].trace(clip, "mouth_measured"), "true video")
            eye.set_title(clip)
            mouth.set_xlabel("seconds")
        axes[0, 0].set_ylabel("eye aspect ratio")
        axes[1, 0].set_ylabel("mouth opening")
        for row in axes[:, -1]:
            row.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        drawing.save(figure, path)


def _lines(axis: Axes, results: Results, clip: str, signal: str, wanted: NDArray[np.float64], name: str) -> None:
    """Draws the wanted signal, and the one measured on the videos of the full model and of the one without the blink signal."""
    fps = results.params.mask.fps
    axis.plot(np.arange(len(wanted)) / fps, wanted, color=drawing.colour("truth"), lw=2.0, label=name)
    for method in (results.main, results.without("blink") if signal == "ear" else None):
        if method is not None:
            measured, hue = method.trace(clip, f"{signal}_measured"), drawing.colour(results.part(method))
            axis.plot(np.arange(len(measured)) / fps, measured, color=hue, lw=1.1, label=method.entry.title)


def curves(results: Results, path: Path) -> None:
    """Each loss term over the training steps, a line a setting; logarithmic where all values are positive."""
    trained = [method for name in results.params.trained if (method := results.methods[name]).curves is not None]
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
                hue = drawing.colour(results.part(method))
                axis.plot(method.curves["step"], values, color=hue, lw=1.1, label=method.entry.title)
            axis.set_title(term.replace("_", " "))
            axis.set_yscale("log" if positive else "linear")
        for axis in axes[len(terms) :]:
            axis.set_axis_off()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(trained))
        figure.supxlabel("training step", fontsize=8.5)
        drawing.save(figure, path)


def curves_of_baselines(results: Results, path: Path) -> None:
    """Each term of the systems that HifiDiff is compared with over the training steps, a row a system."""
    trained = [results.methods[name] for name in results.params.baselines]
    tables = [m.curves.set_index("step") for m in trained if m.curves is not None]
    across = max(len(table.columns) for table in tables)
    with drawing.style():
        figure = Figure(figsize=(max(1.5 * across, 4.0), 1.7 * len(tables) + 0.3), layout="constrained")
        axes = figure.subplots(len(tables), across, squeeze=False)
        for row, method, table in zip(axes, trained, tables, strict=True):
            for axis, term in zip(row, table.columns, strict=False):
                axis.plot(table.index, table[term], color=drawing.colour("main"), lw=1.1)
                axis.set_title(term.replace("_", " "))
                axis.set_yscale("log" if (table[term] > 0).all() else "linear")
                axis.tick_params(labelsize=6.5)
            for axis in row[len(table.columns) :]:
                axis.set_axis_off()
            row[0].set_ylabel(method.entry.title)
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
        bottom.plot(np.arange(len(opening)) / results.params.mask.fps, opening, color=drawing.colour("main"), lw=1.2)
        bottom.set(ylabel="mouth opening", xlabel="seconds")
        drawing.save(figure, path)


def intervals(results: Results, names: list[str], path: Path) -> None:
    """Scores with their intervals: a panel a score, a line a method, seen speakers as dots and unseen ones as rings."""
    methods = [m for m in results.apart() if {"test_seen", "test_unseen"} & set(m.entry.splits)]
    names = [n for n in names if any(m.score(n) for m in methods)]
    with drawing.style():
        across = min(3, len(names))
        down = -(-len(names) // across)
        figure = Figure(figsize=(7.4, 0.9 + (0.55 + 0.2 * len(methods)) * down), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False, sharey=True)
        for axis, name in zip(axes.ravel(), names, strict=False):
            for row, method in enumerate(methods):
                hue = drawing.colour(results.part(method))
                for split, offset, fill in (("test_seen", 0.16, True), ("test_unseen", -0.16, False)):
                    _dot(axis, method.score(name, split), hue, len(methods) - 1 - row + offset, fill)
            axis.set_title(textwrap.fill(catalogue.kind(name).heading, 24))
        for axis in axes.ravel()[len(names) :]:
            axis.set_axis_off()
        axes[0, 0].set_yticks(range(len(methods)), [m.entry.title for m in reversed(methods)])
        figure.supxlabel(f"filled: {SPLIT_TITLES['test_seen']}; open: {SPLIT_TITLES['test_unseen']}", fontsize=8.5)
        drawing.save(figure, path)


def _dot(axis: Axes, score: Score | None, hue: str, y: float, fill: bool) -> None:
    if score is None:
        return
    if score.low is not None and score.high is not None:
        axis.plot([score.low, score.high], [y, y], color=hue, lw=1.2, solid_capstyle="round")
    axis.plot(score.value, y, "o", ms=4.2, mec=hue, mfc=hue if fill else "none", mew=1.2)


def worst(results: Results, name: str, count: int) -> list[tuple[str, float]]:
    """The full model's worst clips by a per-clip score where more is better: (clip, value), worst first."""
    table = results.main.clips
    if name not in table:
        return []
    ordered = table[name].dropna().sort_values(kind="stable")
    return [(str(clip), float(value)) for clip, value in ordered.head(count).items()]


def worst_frames(results: Results, clips: list[str], path: Path) -> None:
    """Truth above generated for the worst clips."""
    rows = []
    for clip in clips:
        numbers = moments(results, clip, results.params.report.frames)
        for method in (results.methods["truth"], results.main):
            made: NDArray[np.uint8] = results.frames(method.name, clip)[numbers]
            rows.append((f"{clip}, {method.entry.title}", [enlarge(f, 96) for f in made]))
    drawing.save_picture(drawing.sheet(rows, []), path)


def samplers(found: list[study.Group], path: Path) -> None:
    """Quality against network calls, a line a sampler and a column a group; below, smoothness against the shared noise."""
    with drawing.style():
        figure = Figure(figsize=(7.4, 8.4), layout="constrained")
        above, below = np.ravel(figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 1.15)))
        axes = above.subplots(len(study.SAID), len(found), squeeze=False, sharex="col")
        for column, group in enumerate(found):
            for axis, name in zip(axes[:, column], study.SAID, strict=True):
                _quality(axis, group, name)
                axis.set_title(catalogue.kind(name).heading)
            axes[-1, column].set_xlabel(f"network calls a frame\n({group.title})")
        handles = _legend(found)
        above.legend(handles=handles, loc="outside upper left", ncols=len(handles) // 2)
        widest = max(found, key=lambda group: len({row.noise for row in group.cells}))
        for axis, name in zip(below.subplots(1, 2), ("f_mse_ratio", "warp_error"), strict=True):
            _smoothness(axis, widest, name)
            axis.set_title(catalogue.kind(name).heading)
        drawing.save(figure, path)


HUES = {"ddim": "#0f7fbf", "ancestral": "#d98200", "dpm_solver++": "#0a9b74"}
MARKS = ("o", "s", "^", "D")  # one a noise, in the order of the rows


def _quality(axis: Axes, group: study.Group, name: str) -> None:
    """A score against calls; the noise that a line has is its mark."""
    noises = list(dict.fromkeys(row.noise for row in group.cells))
    for (sampler, noise), rows in study.lines(group).items():
        scored = [(row.calls, score) for row in rows if (score := row.method.score(name))]
        if not scored:
            continue
        assert rows[0].sampling is not None
        hue, number = HUES[rows[0].sampling.sampler], noises.index(noise)
        x = np.array([calls for calls, _ in scored], float) * (1 + 0.05 * (number - (len(noises) - 1) / 2))
        y = np.array([score.value for _, score in scored])
        ends = [[s.value if e is None else e for e in (s.low, s.high)] for _, s in scored]
        guided = "guided" in sampler
        axis.vlines(x, *np.transpose(ends), color=hue, lw=0.8, alpha=0.35)
        axis.plot(x, y, "-" if number == 0 else ":", marker="*" if guided else MARKS[number % len(MARKS)], color=hue, lw=1.1,
                  ms=3.6 + 3 * guided, mfc=hue if number == 0 else "none", mew=0.9)  # fmt: skip
    axis.set_xscale("log")
    values = sorted({row.calls for row in group.cells if row.calls})
    axis.set_xticks(values, [str(v) for v in values])
    axis.minorticks_off()
    axis.margins(x=0.1)


def _legend(found: list[study.Group]) -> list[Line2D]:
    """Handles for columns of two: above a colour a sampler, below a mark a noise, and a star for guidance."""
    cells = [row for group in found for row in group.cells]
    names = dict.fromkeys(row.sampling.sampler for row in cells if row.sampling)
    above = [Line2D([], [], color=HUES[name], lw=2, label=study.TITLES[name]) for name in names]
    below = []
    noises = max(([*dict.fromkeys(row.noise for row in group.cells)] for group in found), key=len)
    for number, noise in enumerate(noises):
        below.append(Line2D([], [], ls="-" if number == 0 else ":", lw=1.1, marker=MARKS[number % len(MARKS)], ms=4, mew=0.9,
                            color=drawing.FAINT, mfc=drawing.FAINT if number == 0 else "none", label=noise))  # fmt: skip
    if any("guided" in row.sampler for row in cells):
        below.append(Line2D([], [], ls="", marker="*", ms=7, color=drawing.FAINT, label="guided"))
    blank = Line2D([], [], ls="", label=" ")
    return [handle for pair in itertools.zip_longest(above, below, fillvalue=blank) for handle in pair]


def _smoothness(axis: Axes, group: study.Group, name: str) -> None:
    """A score for each noise: a dot a sampler and number of steps, more steps larger."""
    noises = list(dict.fromkeys(row.noise for row in group.cells))
    names = list(dict.fromkeys(row.sampling.sampler for row in group.cells if row.sampling))
    steps = sorted({row.steps for row in group.cells})
    for row in group.cells:
        score = row.method.score(name)
        if score is None or row.sampling is None or "guided" in row.sampler:
            continue
        across = 0.24 * (names.index(row.sampling.sampler) - (len(names) - 1) / 2)
        x = noises.index(row.noise) + across + 0.05 * (steps.index(row.steps) - (len(steps) - 1) / 2)
        hue = HUES[row.sampling.sampler]
        if score.low is not None and score.high is not None:
            axis.plot([x, x], [score.low, score.high], color=hue, lw=0.9, alpha=0.5)
        axis.plot(x, score.value, "o", color=hue, ms=2.8 + 1.2 * steps.index(row.steps), alpha=0.85)
    truth = group.truth.method.score(name) if group.truth else None
    if truth:
        axis.axhline(truth.value, color=drawing.colour("truth"), lw=1.2, ls="--")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_xticks(range(len(noises)), noises)
    axis.set_xlim(-0.6, len(noises) - 0.4)


def long(results: Results, path: Path) -> None:
    """PSNR in the mask a second, and the mouth's correlation a window, along the first long clip of each method."""
    fps, window = results.params.mask.fps, results.params.metrics.drift_s
    methods = results.long()
    with drawing.style():
        figure = Figure(figsize=(7.4, 4.2), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True)
        for position, method in enumerate(methods):
            clip = long_clip(method)
            hue = drawing.colour(results.part(method), position)
            values = method.trace(clip, "psnr_frame")
            time, psnr = by_second(values, fps)
            top.plot(time, psnr, color=hue, lw=1.1, label=method.entry.title)
            seconds = len(values) / fps
            for start in (0.0, seconds - window):
                part = values[round(start * fps) : round((start + window) * fps)]
                top.plot([start, start + window], [np.nanmean(part)] * 2, color=hue, lw=2.6, solid_capstyle="butt")
            _correlations(bottom, method, clip, fps, window, hue)
            for axis in (top, bottom):
                axis.axvspan(0, window, color=drawing.FAINT, alpha=0.12, lw=0)
                axis.axvspan(seconds - window, seconds, color=drawing.FAINT, alpha=0.12, lw=0)
        for method in results.methods.values():
            if method.entry.kind == "truth" and "test_long" in method.entry.splits:
                _correlations(bottom, method, long_clip(method), fps, window, drawing.colour("truth"))
                bottom.get_lines()[-1].set_label(method.entry.title)
                bottom.legend(loc="lower left")
        top.set(ylabel="PSNR in mask, dB")
        bottom.set(ylabel="mouth r", xlabel="seconds", ylim=(None, 1))
        if len(methods) > 1:
            top.legend(loc="lower left")
        drawing.save(figure, path)


def long_clip(method: Method) -> str:
    """The first of a method's long clips."""
    return str(sorted(method.clips.index[method.clips["split"] == "test_long"])[0])


def by_second(values_T: NDArray[np.float64], fps: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(middle of each second, mean of the finite values in it); the last second may be a part of one."""
    count = int(np.ceil(len(values_T) / fps))
    edges = np.append(np.round(np.arange(count) * fps).astype(int), len(values_T))
    finite = np.where(np.isfinite(values_T), values_T, np.nan)
    means = np.full(count, np.nan)
    for second, (a, b) in enumerate(itertools.pairwise(edges)):
        if np.isfinite(finite[a:b]).any():
            means[second] = np.nanmean(finite[a:b])
    return (edges[:-1] + edges[1:]) / (2 * fps), means


def _correlations(axis: Axes, method: Method, clip: str, fps: float, window: float, hue: str) -> None:
    """The mouth's correlation with the one requested, in windows side by side and in the last, which the claim compares."""
    wanted, measured = (method.trace(clip, f"mouth_{name}") for name in ("requested", "measured"))
    size = round(window * fps)
    starts = sorted({*range(0, len(measured) - size + 1, size), max(len(measured) - size, 0)})
    parts = [drift.moments(wanted[a : a + size], measured[a : a + size]) for a in starts]
    r = [float(drift.correlation(drift.finite_rows(part).sum(0))) for part in parts]
    axis.plot([(a + size / 2) / fps for a in starts], r, "o-", color=hue, lw=1.1, ms=4)

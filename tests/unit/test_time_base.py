"""The common time base of sound and picture, held by flashes and clicks in every container and rate that people film in.

A flash swells and fades as a Hann window does, and a click sounds at its middle. The middle of a flash is its centroid, which
may be measured to a fraction of a frame; the mean over many at random phases is the offset between sound and picture, and the
slope over the clip their drift.
"""

from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
import pytest

from stages import media
from stages.base.errors import ClipError
from stages.media.sound import _Track

RATE = 16000
FLASHES = 75
WIDTH = 0.4  # seconds of a flash
CLICK = 0.02  # seconds of a click
TOLERANCE = 0.001  # seconds; what may lie between sound and picture
SIDE = 32


@dataclass
class Film:
    """The format of a clip of flashes and clicks."""

    container: str
    picture: str
    sound: str
    fps: Fraction
    rate: int = 48000  # Hz
    late: float = 0.0  # seconds that the audio stream starts after the video
    early: float = 0.0  # or before it
    variable: bool = False  # pictures come when they come
    options: dict[str, str] = field(default_factory=dict)


def flash_times() -> np.ndarray:
    """Middles of the flashes, seconds: a golden step from a random start, whose phases on every grid are spread evenly."""
    return 1.0 + np.random.default_rng(25).uniform() + 0.618034 * np.arange(FLASHES)


def hann(distance: np.ndarray, width: float) -> np.ndarray:
    return np.where(np.abs(distance) < width / 2, np.cos(np.pi * distance / width) ** 2, 0)


def swell(times: np.ndarray, width: float) -> np.ndarray:
    """Brightness 0 to 1 at these times."""
    middles = flash_times()
    nearest = middles[np.searchsorted((middles[1:] + middles[:-1]) / 2, times)]
    return hann(times - nearest, width)


def write(path, film: Film) -> None:
    """Write a film; picture and sound packets interleave as a muxer writes them."""
    end = flash_times()[-1] + 1.0
    if film.variable:
        rng = np.random.default_rng(1)
        stamps = np.cumsum(rng.choice([16, 17, 33, 34, 50, 67], int(end / 0.03))) / 1000
        stamps = stamps[stamps < end] - stamps[0]
        base = Fraction(1, 1000)
    else:
        stamps = np.arange(int(end * film.fps)) / float(film.fps)
        base = 1 / film.fps
    times = np.arange(int((end + film.early - film.late) * film.rate)) / film.rate + film.late - film.early
    sound = 0.8 * swell(times, CLICK) * np.sin(2 * np.pi * 1500 * times)
    with av.open(str(path), "w", format=film.container, options=film.options) as out:
        video = out.add_stream(film.picture, rate=film.fps)
        video.width, video.height, video.pix_fmt = SIDE, SIDE, "yuv420p"
        video.time_base = video.codec_context.time_base = base
        video.bit_rate, video.codec_context.thread_count = 2_000_000, 1
        if film.picture == "libx264":
            video.options = {"preset": "veryfast"}
        audio = out.add_stream(film.sound, rate=film.rate, layout="mono")
        audio.codec_context.time_base = Fraction(1, film.rate)
        if film.picture == "libvpx":
            video.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
        shift = film.early  # no stamp is below zero
        step, given = 1024, 0
        format_ = audio.codec_context.format.name if film.sound != "libmp3lame" else "fltp"
        resampler = av.AudioResampler(format=format_, layout="mono", rate=film.rate)

        def speak(until: float) -> None:
            nonlocal given
            while given < len(sound) and times[given] <= until:
                part = sound[None, given : given + step].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.time_base = film.rate, Fraction(1, film.rate)
                frame.pts = given + round((film.late - film.early + shift) * film.rate)
                for made in resampler.resample(frame):
                    out.mux(audio.encode(made))
                given += part.shape[1]

        for stamp, level in zip(stamps, swell(stamps, WIDTH), strict=True):
            speak(stamp)
            grey = np.full((SIDE, SIDE), 20 + round(200 * level), np.uint8)
            frame = av.VideoFrame.from_ndarray(
                np.concatenate([grey, np.full((SIDE // 2, SIDE), 128, np.uint8)]), "yuv420p"
            )
            frame.pts, frame.time_base = round((stamp + shift) / base), base
            out.mux(video.encode(frame))
        speak(np.inf)
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def centroids(values: np.ndarray, times: np.ndarray, width: float) -> np.ndarray:
    """The middle of each flash or click by the values at these times, seconds."""
    found = []
    for middle in flash_times():
        near = np.abs(times - middle) < 0.65 * width
        found.append((values[near] * times[near]).sum() / values[near].sum())
    return np.array(found)


def offsets(path) -> np.ndarray:
    """Click minus flash, seconds, of each flash."""
    converter = media.Converter()
    shown = list(media.pictures(path, fps=25))
    grey = np.array([converter.luma(picture).mean() for picture in shown]) - 20
    flash = centroids(np.clip(grey, 0, None), np.array([picture.number for picture in shown]) / 25, WIDTH)
    heard = media.decode_audio(path, RATE).astype(np.float64) ** 2
    click = centroids(heard, np.arange(len(heard)) / RATE, 5 * CLICK)
    return click - flash


FILMS = {
    "flv-mp3": Film("flv", "flv", "libmp3lame", Fraction(30000, 1001), 44100),
    "mp4-aac": Film("mp4", "libx264", "aac", Fraction(25)),
    "mp4-aac-44100": Film("mp4", "libx264", "aac", Fraction(30), 44100),
    "mkv-opus": Film("matroska", "libx264", "libopus", Fraction(30)),
    "mov": Film("mov", "libx264", "pcm_s16le", Fraction(30000, 1001)),
    "webm": Film("webm", "libvpx", "libopus", Fraction(30)),
    "fragmented": Film("mp4", "libx264", "aac", Fraction(30), options={"movflags": "frag_keyframe+delay_moov"}),
    "transport": Film("mpegts", "libx264", "aac", Fraction(25)),
    "variable": Film("matroska", "libx264", "libopus", Fraction(30), variable=True),
    "variable-mp4": Film("mp4", "libx264", "aac", Fraction(30), variable=True),
    "late-mkv": Film("matroska", "libx264", "libopus", Fraction(30), late=0.483),
    "late-mp4": Film("mp4", "libx264", "aac", Fraction(30), late=0.483),
    "late-flv": Film("flv", "flv", "libmp3lame", Fraction(30), 44100, late=0.483),
    "early-mkv": Film("matroska", "libx264", "libopus", Fraction(30), early=0.3),
    "late-transport": Film("mpegts", "libx264", "aac", Fraction(25), late=0.483),
    "early-mp4": Film("mp4", "libx264", "aac", Fraction(30), early=0.3),
    "23.976": Film("mp4", "libx264", "aac", Fraction(24000, 1001)),
    "24": Film("matroska", "libx264", "libopus", Fraction(24)),
    "50": Film("mp4", "libx264", "aac", Fraction(50)),
    "59.94": Film("mov", "libx264", "aac", Fraction(60000, 1001)),
    "60": Film("webm", "libvpx", "libopus", Fraction(60)),
}


@pytest.mark.parametrize("name", FILMS)
def test_flash_and_click_stay_within_a_millisecond(tmp_path, name):
    write(tmp_path / name, FILMS[name])
    found = offsets(tmp_path / name)
    assert len(found) == FLASHES
    assert abs(found.mean()) <= TOLERANCE
    slope = np.polyfit(flash_times(), found, 1)[0]
    chance = found.std() / (np.std(flash_times()) * np.sqrt(FLASHES))
    assert abs(slope) <= max(3 * chance, 1e-6)
    assert abs(found).max() < 0.02  # no flash goes astray


def clip_with_sound_at(path, *starts: float) -> None:
    """One second of picture, and a second of a tone from each of these times on."""
    with av.open(str(path), "w", format="matroska") as out:
        video, sound = out.add_stream("libx264", rate=25), out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        video.width, video.height, video.pix_fmt = SIDE, SIDE, "yuv420p"
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((SIDE, SIDE, 3), 90, np.uint8), format="rgb24")
            frame.pts = number
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        tone = (8000 * np.sin(np.arange(RATE) / 5)).astype(np.int16)
        for start in starts:
            for first in range(0, RATE, 1600):
                frame = av.AudioFrame.from_ndarray(tone[None, first : first + 1600], format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, round(start * RATE) + first
                out.mux(sound.encode(frame))


def test_a_gap_in_the_sound_becomes_silence(tmp_path):
    clip_with_sound_at(tmp_path / "gap.mkv", 0, 2.5)
    heard = media.decode_audio(tmp_path / "gap.mkv", RATE)
    assert len(heard) == pytest.approx(3.5 * RATE, abs=20)
    assert not heard[RATE + 20 : round(2.5 * RATE) - 20].any()
    assert heard[round(2.5 * RATE) :].std() == pytest.approx(heard[:RATE].std(), rel=0.01)


def test_sound_that_comes_twice_is_cut():
    track = _Track("a")
    tone = np.sin(np.arange(2 * RATE) / 5).astype(np.float32)
    for first in (0, 3200, 6400, 1600, 4800, 8000, 11200):  # after 9600 samples the stream goes back to the 1600th
        frame = av.AudioFrame.from_ndarray(tone[None, first : first + 3200], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
        track.add(frame)
    assert np.concatenate(list(track.pieces(0.0, at_once=1000))) == pytest.approx(tone[:14400], abs=1e-6)


@pytest.mark.parametrize(
    ("starts", "reason"), [((100,), "the sound starts 100 s after"), ((0, 30), "timestamps jump by 29 s")]
)
def test_sound_far_from_the_picture_is_named_and_fills_no_memory(tmp_path, starts, reason):
    clip_with_sound_at(tmp_path / "far.mkv", *starts)
    with pytest.raises(ClipError, match=reason):
        media.decode_audio(tmp_path / "far.mkv", RATE)

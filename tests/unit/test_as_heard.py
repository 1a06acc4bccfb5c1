"""Sound as people hear it, and time as it is: a rendered clip as programs store and join it, against the plain clip."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from stages import media
from stages.base.errors import ClipError
from stages.media import sound as heard
from stages.media import video
from tests.unit.variants import FPS, FRAMES, RATE, correlation, film, level, psnr, rendered

NONE, DEFAULT, COMMENT = Disposition(0), Disposition.default, Disposition.comment
LEVEL_DB = 0.5  # that a level may differ from FFmpeg's own
SECOND = RATE * FRAMES // FPS


@pytest.fixture(scope="module")
def speech():
    """Speech of as long as the pictures, 48 kHz, (N,)."""
    return rendered()[1][:SECOND]


def tone(samples: int) -> np.ndarray:
    return 0.3 * np.sin(np.arange(samples) * 2 * np.pi * 330 / RATE)


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ([(NONE, "commentary"), (DEFAULT, "")], 1),
        ([(DEFAULT, ""), (NONE, "commentary")], 0),
        ([(COMMENT, "commentary"), (NONE, "")], 1),
        ([(Disposition.visual_impaired, "described"), (NONE, "")], 1),
        ([(DEFAULT | COMMENT, "commentary"), (DEFAULT, "")], 1),
        ([(NONE, ""), (NONE, "second")], 0),
        ([(DEFAULT, ""), (DEFAULT, "second")], 0),
    ],
)
@pytest.mark.parametrize("pictures", [True, False], ids=["with pictures", "sound alone"])
def test_the_default_track_is_taken_and_it_is_said(speech, said, taken, pictures):
    tracks = [tone(SECOND)[None], speech[None]]
    file = io.BytesIO()
    film(file, rendered()[0] if pictures else (), tracks if taken else tracks[::-1], container="matroska", said=said)
    found = media.hear(file, RATE)
    assert correlation(found.samples, speech) > 0.999
    first = 1 if pictures else 0
    titles = [f"{first + number}" + (f" ({title})" if title else "") for number, (_, title) in enumerate(said)]
    assert found.remarks == (f"of several audio tracks, {titles[taken]} is taken, not {titles[1 - taken]}",)


def test_one_track_needs_no_remark_and_a_silent_one_names_the_others(speech):
    file = io.BytesIO()
    film(file, rendered()[0], [speech[None]], container="matroska")
    assert media.hear(file, RATE).remarks == ()
    film(file := io.BytesIO(), rendered()[0], [np.zeros((1, SECOND)), speech[None]], container="matroska",
         said=[(DEFAULT, ""), (NONE, "speech")])  # fmt: skip
    found = media.hear(file, RATE)
    assert found.silent
    assert found.remarks == ("of several audio tracks, 1 is taken, not 2 (speech)",)


@pytest.mark.parametrize("layout", ["stereo", "2.1", "quad", "5.1", "5.1(side)", "7.1"])
def test_channels_are_mixed_as_ffmpeg_mixes_them(speech, layout):
    """Speech in each channel in turn, and in all; against swresample's own mix into 16 bits."""
    count = av.AudioLayout(layout).nb_channels
    noise = np.random.default_rng(0).normal(scale=0.001, size=(count, SECOND))
    for loud in [*np.eye(count), np.ones(count)]:
        channels = loud[:, None] * speech * 0.5 + noise
        film(file := io.BytesIO(), (), [channels], container="matroska", layout=layout)
        own = av.AudioResampler(format="s16", layout="mono")
        file.seek(0)
        with av.open(file) as container:
            parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in own.resample(frame)]
        expected = np.concatenate(parts) / 32768
        found = media.decode_audio(file, RATE)
        assert len(found) == len(expected)
        assert abs(level(found) - level(expected)) < LEVEL_DB
        assert np.abs(found - expected).max() < 1e-3


def test_more_channels_than_eight_are_mixed_or_named(speech):
    film(file := io.BytesIO(), (), [np.repeat(speech[None], 16, 0) / 2], container="matroska", layout="hexadecagonal")
    assert correlation(media.decode_audio(file, RATE), speech) > 0.99
    frame = av.AudioFrame(format="flt", layout="9 channels", samples=100)
    frame.sample_rate, track = RATE, heard._Track("a")
    with pytest.raises(ClipError, match="sound of 9 channels, which FFmpeg can't mix"):
        track.add(frame)


@pytest.mark.parametrize(("layout", "pair"), [("stereo", (0, 1)), ("5.1", (0, 1))])
def test_opposite_phases_are_no_silence(speech, layout, pair):
    count = av.AudioLayout(layout).nb_channels
    channels = np.random.default_rng(0).normal(scale=0.0005, size=(count, SECOND))
    same = channels.copy()
    channels[pair[0]] += speech / 2
    channels[pair[1]] -= speech / 2
    same[list(pair)] += speech / 2
    sounds = []
    for given in (channels, same):
        film(file := io.BytesIO(), rendered()[0], [given], container="matroska", layout=layout)
        sounds.append(media.hear(file, RATE))
    (remark,) = sounds[0].remarks
    assert remark in (f"channels in opposite phase ({name}) are turned" for name in (layout, f"{count} channels"))
    assert sounds[1].remarks == ()
    assert correlation(sounds[0].samples, speech) > 0.99
    assert level(sounds[0].samples) == pytest.approx(level(sounds[1].samples), abs=0.1)


def test_unrelated_channels_are_left_as_they_are(speech):
    other = np.random.default_rng(0).normal(scale=speech.std(), size=SECOND).clip(-1, 1)
    film(file := io.BytesIO(), (), [np.stack([speech, other])], container="matroska", layout="stereo")
    found = media.hear(file, RATE)
    assert found.remarks == ()
    assert np.abs(found.samples - (speech + other) / 2).max() < 1e-3


@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_a_change_of_the_samples_format_is_not_heard(speech, layout):
    """Frames of 16-bit samples, then planar real ones, of one rate and layout, as a decoder may give them of one stream."""
    track, count, middle = heard._Track("a"), av.AudioLayout(layout).nb_channels, SECOND // 2
    channels = np.repeat(speech[None], count, 0).astype(np.float32)
    for start in range(0, SECOND, 960):
        part = channels[:, start : start + 960]
        samples = part if start >= middle else media.to_int16(part).T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format="fltp" if start >= middle else "s16", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        assert track.takes(frame)
        track.add(frame)
    found = np.concatenate(list(track.pieces(0.0, RATE)))
    assert found.shape == speech.shape
    assert np.abs(found - speech).max() <= 0.501 / 32768
    for half in (slice(middle), slice(middle, None)):
        assert level(found[half]) == pytest.approx(level(speech[half]), abs=0.01)


def stream_of(frames, sound, rate=RATE, layout="mono", first=0.0) -> bytes:
    """A transport stream of H.264 and AAC whose timestamps start at ``first`` seconds."""
    step = RATE // rate if rate != 44100 else None
    given = sound[::step] if step else np.interp(np.arange(0, len(sound), RATE / rate), np.arange(len(sound)), sound)
    channels = np.repeat(given[None], av.AudioLayout(layout).nb_channels, 0)
    file = io.BytesIO()
    film(file, frames, [channels], container="mpegts", sound_codec="aac", layout=layout, rate=rate, first=first)
    return file.getvalue()


HALF = FRAMES // 2
CHANGES = {
    "nothing": (RATE, "mono"),
    "layout": (RATE, "stereo"),
    "rate": (44100, "mono"),
    "rate and layout": (24000, "stereo"),
}


@pytest.mark.parametrize(
    ("change", "starts"),
    [
        (change, starts)
        for change in CHANGES
        for starts in ("again", "on", "later")
        if (change, starts) != ("nothing", "on")
    ],
)
def test_joined_streams_are_whole_and_in_step(speech, change, starts):
    """Two transport streams, one behind the other: both halves are there, and their sound stands at their pictures."""
    pictures, middle = rendered()[0], SECOND // 2
    rate, layout = CHANGES[change]
    first = 1.0 + {"again": 0.0, "on": HALF / FPS, "later": HALF / FPS + 2.0}[starts]
    joined = stream_of(pictures[:HALF], speech[:middle], first=1.0) + stream_of(
        pictures[HALF:], speech[middle:], rate, layout, first
    )
    wait = 2 * FPS if starts == "later" else 0
    frames, sound = media.decode(joined, fps=FPS), media.decode_audio(joined, RATE)
    assert len(frames) == FRAMES + wait
    kept = np.concatenate([frames[:HALF], frames[-HALF:]])
    assert psnr(kept, pictures) > 35
    for start, true in ((0, speech[:middle]), (middle + wait * RATE // FPS, speech[middle:])):
        edge = RATE // 20  # AAC's own transients at the seam, left out
        part = slice(edge, middle - edge)
        lags = {lag: correlation(sound[start + lag + edge :], true[part]) for lag in range(-60, 61, 4)}
        best = max(lags, key=lags.__getitem__)
        assert abs(best) / RATE <= 0.001
        assert lags[best] > 0.97
        assert abs(level(sound[start:][part]) - level(true[part])) < LEVEL_DB


def test_timestamps_that_start_again_where_they_may_not_are_named(speech, monkeypatch):
    half = stream_of(rendered()[0][:HALF], speech[: SECOND // 2])
    for module in (video, heard):
        monkeypatch.setattr(module, "starts_again", lambda container: False)
    with pytest.raises(ClipError, match=r"clip a: damaged: timestamps go back by 0.4 s at 0.44 s"):
        media.decode(half + half, fps=FPS, clip="a")


def test_a_sound_that_starts_again_alone_is_named():
    parts = [heard._Track("a", None, run) for run in range(2)]
    for part in parts:
        frame = av.AudioFrame.from_ndarray(tone(RATE)[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        part.add(frame)

    def joined(zeros: list[float]) -> np.ndarray:
        return np.concatenate(list(heard.Heard("a", parts, zeros, ()).pieces(RATE, RATE)))

    with pytest.raises(ClipError, match="the sound's timestamps start again and the pictures' do not"):
        joined([0.0])
    assert len(joined([0.0, -1.0])) == 2 * RATE
    assert len(joined([])) == 2 * RATE  # without pictures


def test_joined_files_whose_sound_begins_anew_are_whole_or_named(speech):
    """Matroska, which is not made to be joined; with pictures, theirs would have to begin anew as well."""
    half, pictures = SECOND // 2, rendered()[0]

    def joined(frames) -> bytes:
        both = b""
        for part, shown in ((speech[:half], frames[:HALF]), (speech[half : 2 * half], frames[HALF:])):
            film(file := io.BytesIO(), shown, [part[None]], container="matroska")
            both += file.getvalue()
        return both

    found = media.hear(joined(()), RATE).samples
    assert abs(len(found) - 2 * half) <= RATE // 1000
    assert correlation(found, speech[: 2 * half]) > 0.99
    with pytest.raises(ClipError, match="the sound's timestamps start again and the pictures' do not"):
        media.hear(joined(pictures), RATE)


@pytest.mark.parametrize("held", [0.4, 2.0])
@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_last_picture_is_shown_for_as_long_as_it_says(container, held):
    pictures = rendered()[0]
    film(file := io.BytesIO(), pictures, container=container, held=held)
    found = media.decode(file, fps=FPS)
    assert len(found) == FRAMES + round(held * FPS)
    assert psnr(found[:FRAMES], pictures) > 35
    assert (found[FRAMES:] == found[FRAMES - 1]).all()


def test_a_picture_that_lasts_too_long_is_named():
    film(file := io.BytesIO(), rendered()[0], container="mp4", held=30)
    with pytest.raises(ClipError, match="a picture lasts 30 s"):
        media.decode(file, fps=FPS)


@pytest.mark.parametrize("first", [0.0, 0.4, 7.2])
@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts", "nut"])
def test_a_start_of_the_file_moves_neither_sound_nor_picture(speech, container, first):
    """Both streams start late, which is the container's start: sample 0 still stands at the first picture, within 1 ms."""
    film(file := io.BytesIO(), rendered()[0], [speech[None]], container=container, sound_codec="aac", first=first)
    assert psnr(media.decode(file, fps=FPS), rendered()[0]) > 35
    found = media.decode_audio(file, RATE)
    lags = {lag: correlation(found[RATE // 10 + lag :], speech[RATE // 10 :]) for lag in range(-200, 201, 4)}
    assert abs(max(lags, key=lags.__getitem__)) / RATE <= 0.001

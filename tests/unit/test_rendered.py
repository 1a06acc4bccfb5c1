"""The embedded corpus: sentences, motion, speech, and the tar with its truth."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages import media
from stages.base import params
from stages.corpora.rendered import identity, motion, paths, sentences, speech
from stages.corpora.rendered import speaker as rendered
from stages.corpora.rendered.phones import PARTS, PHONES
from stages.store import schemas, tars

SETTINGS = params.load("presets/demo.yaml").corpus.rendered
SPEAKERS = params.load("presets/demo.yaml").corpus.shards


@pytest.fixture(scope="module")
def performance():
    """(who, timeline, motion, times, sound) of a sentence."""
    who = identity.draw(SETTINGS.seed, "ada")
    moves, times, sound = rendered.perform(SETTINGS, who, 1)
    return who, sentences.timeline(sentences.SENTENCES[1], who.voice.rate), moves, times, sound


def test_every_word_is_spelt_in_known_phones():
    words = {word for sentence in sentences.SENTENCES for word in sentence.split()}
    assert words <= set(sentences.LEXICON)
    spelled = {phone.rstrip("1") for phones in sentences.LEXICON.values() for phone in phones}
    assert {part for phone in spelled for part in PARTS.get(phone, (phone,))} <= set(PHONES)


def test_sentences_last_about_two_seconds_and_differ():
    assert len(set(sentences.SENTENCES)) == len(sentences.SENTENCES) >= 24
    for sentence in sentences.SENTENCES:
        assert 1.7 < sentences.timeline(sentence, 1.0)[-1].start - sentences.SILENCE_S < 2.5


def test_the_test_sentences_use_phones_that_the_others_have():
    def phones(number: int) -> set[str]:
        return {segment.phone for segment in sentences.timeline(sentences.SENTENCES[number], 1.0)}

    seen = set().union(*(phones(number) for number in range(8)))
    assert phones(8) | phones(9) <= seen


def test_timeline_has_no_gaps_and_follows_the_rate():
    slow, fast = (sentences.timeline(sentences.SENTENCES[0], rate) for rate in (1.0, 1.25))
    assert all(a.end == b.start for a, b in pairwise(slow))
    assert (fast[-1].start - 0.15) * 1.25 == pytest.approx(slow[-1].start - 0.15)


def test_lips_touch_on_every_bilabial_and_in_silence(performance):
    who, timeline, *_ = performance
    grid = np.arange(0, timeline[-1].end, 0.001)
    gap = motion.mouth(timeline, grid, who.effort)["gap"]
    closed = [segment for segment in timeline if PHONES[segment.phone].closed]
    assert len(closed) >= 4
    for segment in closed:
        assert gap[int(segment.centre * 1000)] == pytest.approx(0, abs=1e-6)
    assert gap[0] == gap[-1] == 0
    assert gap.max() > 0.6


def test_mouth_opens_most_on_open_vowels(performance):
    _, timeline, moves, times, _ = performance
    inside = np.zeros(len(times), bool)
    for segment in timeline:
        if segment.phone in ("AA", "AO", "AE"):
            inside |= (times >= segment.start) & (times < segment.end)
    assert moves.mouth_open[inside].mean() > 2 * moves.mouth_open[~inside].mean()


def test_jaw_and_first_formant_rise_together():
    vowels = [phone for phone in PHONES.values() if phone.vowel]
    assert np.corrcoef([v.jaw for v in vowels], [v.f1 for v in vowels])[0, 1] > 0.85


def test_blinks_last_as_long_as_people_s_and_keep_apart():
    rng = np.random.default_rng(0)
    times = np.arange(0, 400, 0.002)
    onsets = paths.blink_times(400, 0.7, rng)
    assert len(onsets) / 400 == pytest.approx(0.7, rel=0.15)
    assert np.diff(onsets).min() >= paths.REFRACTORY_S
    closed = paths.eyelid(onsets, times, rng).mean(1) < 0.5
    edges = np.flatnonzero(np.diff(closed.astype(int)))
    lengths = np.diff(edges)[::2] * 0.002
    assert len(lengths) == pytest.approx(len(onsets), abs=1)
    assert lengths.min() > 0.10  # half closed, from half to half
    assert lengths.max() < 0.24


def test_both_eyes_close_nearly_together():
    rng = np.random.default_rng(1)
    times = np.arange(0, 60, 0.001)
    opening = paths.eyelid(paths.blink_times(60, 0.7, rng), times, rng)
    assert np.corrcoef(opening.T)[0, 1] > 0.98
    assert opening.min() == 0
    assert opening.max() == 1


def test_head_stays_where_the_frontal_detector_follows(performance):
    moves = performance[2]
    for angle, limit in ((moves.yaw, 12), (moves.pitch, 6), (moves.roll, 6)):
        assert np.abs(angle).max() <= limit
        assert np.abs(np.diff(angle)).max() < 2.5  # degrees a frame: smooth


def test_speech_is_silent_at_the_ends_and_loud_in_vowels(performance):
    _, timeline, _, _, sound = performance
    rate = speech.SAMPLE_RATE

    def level(start: float, end: float) -> float:
        return float(np.sqrt(np.mean(sound[int(start * rate) : int(end * rate)] ** 2)))

    assert np.abs(sound).max() == pytest.approx(speech.PEAK)
    vowels = np.median([level(s.start, s.end) for s in timeline if PHONES[s.phone].vowel and s.stressed])
    closures = np.median(
        [level(s.start + 0.02, s.end - 0.015) for s in timeline if s.phone in ("P-", "T-", "K-")] or [0]
    )
    assert level(0, 0.12) < vowels / 100
    assert closures < vowels / 4


def test_sound_and_mouth_are_in_step():
    """The envelope of the sound below 4 kHz follows the mouth best at no delay (within 40 ms), averaged over sentences."""
    lags = np.arange(-6, 7)
    scores = np.zeros(len(lags))
    for speaker in ("ada", "levi"):
        who = identity.draw(SETTINGS.seed, speaker)
        for number in range(8):
            moves, times, sound = rendered.perform(SETTINGS, who, number)
            power = np.convolve(sound.astype(np.float64) ** 2, np.hanning(1920), mode="same")
            envelope = np.sqrt(np.interp(times, np.arange(len(sound)) / speech.SAMPLE_RATE, power))
            scores += [np.corrcoef(np.roll(envelope, lag)[8:-8], moves.mouth_open[8:-8])[0, 1] for lag in lags]
    assert abs(lags[scores.argmax()]) <= 1
    assert scores.max() / 16 > 0.55


def test_speakers_differ_and_any_name_is_drawn():
    people = [identity.draw(SETTINGS.seed, name) for name in SPEAKERS]
    assert len({who.skin for who in people}) == len({who.voice.pitch for who in people}) == len(SPEAKERS)
    assert len({who.cast.hair for who in people}) >= 6
    assert identity.draw(7, "somebody-else") == identity.draw(7, "somebody-else") != identity.draw(8, "somebody-else")


def test_frame_times_are_exact_at_29_97():
    times = rendered.frame_times(2.0, 29.97)
    assert times[30] == pytest.approx(30 * 1001 / 30000, abs=1e-12)
    assert len(times) == 60


def test_tar_is_whole_and_the_same_each_time(tmp_path):
    small = SETTINGS.model_copy(update={"sentences": 1, "width": 240, "height": 180})
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    rendered.take(small, "gaia", first)
    rendered.take(small, "gaia", second)
    assert first.read_bytes() == second.read_bytes()
    (clip,) = tars.listing(first)
    assert (clip["clip"], clip["file"], clip["sentence"]) == ("gaia_s01", "gaia_s01.mp4", "s01")
    video = tars.read(first, clip["file"])
    table = pq.read_table(io.BytesIO(tars.read(first, "truth.parquet")))
    assert table.schema.equals(schemas.TRUTH)
    (row,) = table.to_pylist()
    frames = sum(1 for _ in media.decode(video, fps=30000 / 1001))
    assert {len(row[name]) for name in table.column_names if name != "clip"} == {frames}
    for name in ("mouth_open", "jaw_open", "eyelid_left", "eyelid_right"):
        assert min(row[name]) >= 0
        assert max(row[name]) <= 1
    sound = media.decode_audio(video, 16000)
    assert len(sound) / 16000 == pytest.approx(frames * 1001 / 30000, abs=0.04)


LONG = SETTINGS.model_copy(update={"long_s": 25.0, "long_speakers": ["kira"]})


@pytest.fixture(scope="module")
def long_performance():
    """(text, motion, times, sound) of a long clip."""
    text, (moves, times, sound) = rendered.perform_long(LONG, identity.draw(LONG.seed, "kira"))
    return text, moves, times, sound


def test_a_long_clip_says_only_sentences_that_no_other_clip_does(long_performance):
    text, moves, times, sound = long_performance
    said = text.split(". ")
    assert not set(said) & set(sentences.SENTENCES[: LONG.sentences])
    assert set(said) <= set(sentences.SENTENCES)
    assert len(set(said)) == len(said), "none comes again before all were said"
    assert 25 <= times[-1] + 1001 / 30000 < 29
    assert len(moves.yaw) == len(times)
    assert len(sound) == pytest.approx((times[-1] + 1001 / 30000) * speech.SAMPLE_RATE, abs=2)
    other, _ = rendered.perform_long(LONG, identity.draw(LONG.seed, "levi"))
    assert other != text


def test_a_long_clip_speaks_moves_and_blinks_throughout(long_performance):
    _, moves, times, sound = long_performance
    power = np.convolve(sound.astype(np.float64) ** 2, np.hanning(1920), mode="same")
    envelope = np.sqrt(np.interp(times, np.arange(len(sound)) / speech.SAMPLE_RATE, power))
    for part in np.array_split(np.arange(len(times)), 5):
        assert np.corrcoef(envelope[part], moves.mouth_open[part])[0, 1] > 0.5
        assert moves.eyelid_T2[part].min() < 0.1
        assert np.ptp(moves.yaw[part]) > 0.2
    for track in (moves.mouth_open, moves.yaw, moves.pitch, moves.roll):
        assert np.abs(np.diff(track)).max() < 2.5, "nothing jumps where a sentence ends"


def test_sentences_strung_together_leave_no_gap():
    parts = [sentences.timeline(sentences.SENTENCES[number], 1.0) for number in (3, 4, 5)]
    starts = [0.0, parts[0][-1].end + 0.4, parts[0][-1].end + parts[1][-1].end + 0.4]
    whole = sentences.strung(parts, starts)
    assert all(a.end == b.start for a, b in pairwise(whole))
    assert [s.phone for s in whole].count("SIL") == 4
    assert whole[-1].end == pytest.approx(starts[2] + parts[2][-1].end)
    silence = [s for s in whole if s.phone == "SIL"][1]
    assert silence.end - silence.start == pytest.approx(2 * sentences.SILENCE_S + 0.4)


def test_a_long_speaker_gives_one_clip_more(tmp_path):
    small = LONG.model_copy(update={"sentences": 1, "width": 160, "height": 120, "long_s": 4.0})
    for speaker, names in (("kira", ["s01", "long"]), ("levi", ["s01"])):
        rendered.take(small, speaker, tmp_path / f"{speaker}.tar")
        clips = tars.listing(tmp_path / f"{speaker}.tar")
        assert [clip["sentence"] for clip in clips] == names
        truth = pq.read_table(io.BytesIO(tars.read(tmp_path / f"{speaker}.tar", "truth.parquet")))
        assert truth["clip"].to_pylist() == [f"{speaker}_{name}" for name in names]
    frames = sum(1 for _ in media.pictures(tars.read(tmp_path / "kira.tar", "kira_long.mp4"), fps=25))
    assert 4 <= frames / 25 < 8

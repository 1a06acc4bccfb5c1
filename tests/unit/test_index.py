"""stages/index.py: the split and its errors."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.base import params
from stages.base.errors import InputError
from stages.index import check, digest, draw, split
from stages.store import schemas, tables


def rows(speakers=("ada", "bela", "kira"), sentences=10, bad=()):
    made = [
        {
            "clip": f"{speaker}_s{number:02d}",
            "speaker": speaker,
            "sentence": f"s{number:02d}",
            "status": "ok",
            "seconds": 2.0,
        }
        for speaker in speakers
        for number in range(1, sentences + 1)
    ]
    for row in made:
        if row["clip"] in bad:
            row["status"] = "no face found"
    return made


def settings(**changes):
    given = {
        "unseen_speakers": ["kira"], "test_sentences": ["s09", "s10"], "test_fraction": 0.0, "validation_fraction": 0.1,
        "max_test_clips": 3, "min_frames": 25, "long_min_s": 0, "seed": 7,
    }  # fmt: skip
    return params.Index(**(given | changes))


def test_no_speaker_or_sentence_of_the_test_is_trained_on():
    splits = split(rows(), settings())
    for clip, name in splits.items():
        speaker, sentence = clip.split("_")
        if name in ("train", "validation"):
            assert speaker != "kira"
            assert sentence not in ("s09", "s10")
        elif name == "test_unseen":
            assert speaker == "kira"
        elif name == "test_seen":
            assert speaker != "kira"
            assert sentence in ("s09", "s10")
    assert Counter(splits.values()) == {"train": 14, "validation": 2, "test_unseen": 3, "test_seen": 3, "held_out": 8}


def test_a_share_by_chance_is_of_the_seen_speakers_other_clips():
    splits = split(rows(), settings(test_fraction=0.25, max_test_clips=20))
    counts = Counter(splits.values())
    assert counts == {"train": 11, "validation": 1, "test_unseen": 10, "test_seen": 8}
    drawn = {clip for clip, name in splits.items() if name == "test_seen" and not clip.endswith(("09", "10"))}
    assert len(drawn) == 4
    assert all(splits[f"kira_s{number:02d}"] == "test_unseen" for number in range(1, 11))


def test_bad_clips_are_out_and_take_no_place():
    splits = split(rows(bad=["kira_s01", "ada_s01"]), settings(max_test_clips=10))
    assert splits["kira_s01"] == splits["ada_s01"] == "out"
    assert Counter(splits.values())["test_unseen"] == 9


def test_split_depends_on_the_seed_and_not_on_the_order():
    assert split(rows(), settings()) == split(rows()[::-1], settings())
    assert any(split(rows(), settings()) != split(rows(), settings(seed=seed)) for seed in range(5))


def test_draw_is_even_over_speakers_and_sentences():
    drawn = draw(rows(speakers=("ada", "bela", "cleo", "dara")), 8, np.random.default_rng(0))
    assert set(Counter(clip.split("_")[0] for clip in drawn).values()) == {2}
    assert max(Counter(clip.split("_")[1] for clip in drawn).values()) == 1


def test_long_clips_are_for_the_test_whoever_speaks():
    made = rows()
    for row in made:
        if row["clip"] in ("ada_s01", "bela_s09", "kira_s05", "kira_s06"):
            row["seconds"] = 60.0
    made[3] |= {"seconds": 90.0, "status": "no face found"}
    assert "test_long" not in split(made, settings()).values()
    splits = split(made, settings(long_min_s=60.0, max_test_clips=1))
    assert {clip for clip, name in splits.items() if name == "test_long"} == {
        "ada_s01",
        "bela_s09",
        "kira_s05",
        "kira_s06",
    }
    assert splits[made[3]["clip"]] == "out"
    assert Counter(splits.values())["test_unseen"] == Counter(splits.values())["test_seen"] == 1
    assert "test_long" not in split(made, settings(long_min_s=60.1)).values()


@pytest.mark.parametrize(("fraction", "validation"), [(0.0, 0), (0.001, 1), (0.5, 8), (1.0, 15)])
def test_validation_is_at_least_one_and_leaves_one_to_train(fraction, validation):
    counts = Counter(split(rows(), settings(validation_fraction=fraction)).values())
    assert counts["validation"] == validation
    assert counts["train"] == 16 - validation


@pytest.mark.parametrize(
    ("changes", "bad", "message"),
    [
        (
            {"test_sentences": ["s99"]},
            [],
            "no usable clip for the split test_seen; name sentences in index.test_sentences",
        ),
        ({}, [f"kira_s{n:02d}" for n in range(1, 11)], r"test_unseen \(10 clips left out, most often: no face found\)"),
        ({"unseen_speakers": ["ada", "bela", "kira"], "test_sentences": []}, [], "split train; give more clips"),
        ({"unseen_speakers": [], "test_sentences": []}, [], "no clip to test on; name speakers"),
        ({"long_min_s": 60}, [], "no usable clip for the split test_long; lower index.long_min_s"),
    ],
)
def test_an_empty_split_names_the_fix(changes, bad, message):
    made = rows(bad=bad)
    splits = split(made, settings(**changes))
    with pytest.raises(InputError, match=message):
        check([row | {"split": splits[row["clip"]]} for row in made], settings(**changes), Path("data/demo"))


def test_the_same_clip_twice_is_refused():
    made = [row | {"split": "train"} for row in rows()]
    with pytest.raises(InputError, match="clip ada_s01 stands in several places"):
        check([*made, made[0]], settings(), Path("data/demo"))


def test_the_tables_split_comes_first():
    made = rows()
    given = {"ada_s01": "test_unseen", "ada_s09": "train", "kira_s01": "validation", "bela_s02": "test_long"}
    for row in made:
        row["given"] = given.get(row["clip"], "")
    splits = split(made, settings())
    assert {clip: splits[clip] for clip in given} == given
    made[0]["status"] = "no face found"
    assert split(made, settings())["ada_s01"] == "out"


def test_a_speaker_that_is_tested_as_unseen_is_not_trained_on():
    made = [row | {"split": "train"} for row in rows()]
    made[4]["split"] = "test_unseen"
    with pytest.raises(InputError, match=r"clip ada_s05 is test_unseen, but ada_s10 of the same speaker is trained on"):
        check(made, settings(), Path("data/own"))


def drawn_one_by_one(rows, count, rng):
    """What :func:`draw` gives, by looking at every clip that is left each time."""
    left = sorted(rows, key=lambda row: row["clip"])
    left = [left[i] for i in rng.permutation(len(left))]
    speakers, sentences, drawn = Counter(), Counter(), []
    while left and len(drawn) < count:
        row = min(left, key=lambda row: (speakers[row["speaker"]], sentences[row["sentence"]]))
        left.remove(row)
        speakers[row["speaker"]] += 1
        sentences[row["sentence"]] += 1
        drawn.append(row["clip"])
    return drawn


@pytest.mark.parametrize("seed", range(40))
def test_heaps_draw_what_a_look_at_every_clip_would(seed):
    rng = np.random.default_rng(seed)
    people, sentences, count = rng.integers(1, 12), rng.integers(1, 12), int(rng.integers(60))
    made = [
        {"clip": f"c{i:02d}", "speaker": f"p{rng.integers(people)}", "sentence": f"s{rng.integers(sentences)}"}
        for i in range(count)
    ]
    wanted = int(rng.integers(count + 3))
    expected = drawn_one_by_one(made, wanted, np.random.default_rng(seed))
    assert draw(made, wanted, np.random.default_rng(seed)) == expected


def test_the_digest_changes_with_each_of_the_files_and_with_where_one_ends(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    found = set()
    for contents in (("ab", "c"), ("a", "bc"), ("ab", "d"), ("abc", "")):
        one.write_text(contents[0])
        two.write_text(contents[1])
        found.add(digest([one, two]))
    assert len(found) == 4


def test_a_table_in_parts_has_the_bytes_of_its_rows(tmp_path: Path) -> None:
    made = [{"clip": f"c{i}", "shard": "ada", "frames": i, "open_ear": i / 3, "split": "train"} for i in range(50)]
    tables.write(tmp_path / "rows", schemas.INDEX, made)
    parts = [pa.Table.from_pylist(made[i : i + 9], schema=schemas.INDEX) for i in range(0, 50, 9)]
    order = [*reversed(schemas.INDEX.names)]
    tables.write_table(tmp_path / "parts", schemas.INDEX, pa.concat_tables(parts).select(order))
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "rows").read_bytes()

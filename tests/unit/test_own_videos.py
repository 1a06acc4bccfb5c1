"""A folder of the user's own videos: any layout and names, a table of speakers and splits, and what is refused."""

import os
import re
import sys
from pathlib import Path

import pytest
import ruamel.yaml
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages import download
from stages.base import params
from stages.base.errors import InputError, shown
from stages.corpora import folder
from stages.store import tars
from workflow import checks

DEMO = "presets/demo.yaml"


def settings(root, table=""):
    return params.Folder(path=str(root), table=table)


def lay(root, *files):
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.encode())


def found(root, table=""):
    return {shard: [video.file for video in videos] for shard, videos in folder.speakers(settings(root, table)).items()}


def taken(root, shard, table=""):
    folder.take(settings(root, table), shard, root.parent / "out.tar")
    return tars.listing(root.parent / "out.tar")


def test_any_layout(tmp_path):
    lay(
        tmp_path, "solo.mp4", "Ada/one.mov", "Ada/2024/May/two.webm", "Ada/a.jpg", "Ada/.x.mp4", ".git/y.mp4", "read.me"
    )
    assert found(tmp_path) == {"ada": ["Ada/2024/May/two.webm", "Ada/one.mov"], "solo": ["solo.mp4"]}


def test_names_of_all_kinds_become_safe_slugs_that_differ(tmp_path):
    names = ["Zoë Müller", "Zoe Muller", "😀", "🎬🎬", "李雷", "Иван 2", "Анна 2", "con", "-x-", "a" * 200]
    lay(tmp_path, *(f"{name}/clip 1 😀.mp4" for name in names if len(name) < 100), f"{names[-1]}/b.mp4")
    shards = found(tmp_path)
    assert len(shards) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]*", shard) and len(shard) <= 40 for shard in shards)
    raw = yaml.safe_load(Path(DEMO).read_text())
    raw["corpus"] |= {"source": "folder", "shards": list(shards)}
    raw["index"]["unseen_speakers"] = []
    assert params.validate(raw, DEMO).corpus.shards == list(shards)
    for shard in shards:
        clip = taken(tmp_path, shard)[0]
        assert re.fullmatch(r"[a-z0-9_-]+", clip["clip"])
        assert tars.read(tmp_path.parent / "out.tar", clip["file"]).decode() == clip["source"]


def test_a_slug_does_not_depend_on_the_other_names_order():
    assert folder.slugs(["Zoë", "Zoe", "Ada"]) == folder.slugs(["Ada", "Zoe", "Zoë"])
    assert folder.slugs(["Ada", "ADA", "ada "]) == {"Ada": "ada", "ADA": "ada", "ada ": "ada"}
    composed, apart = "Zo\u00eb", "Zoe\u0308"
    assert folder.slugs([composed, apart]) == {composed: "zoe", apart: "zoe"}


def test_clips_of_one_speaker_never_share_a_name(tmp_path):
    root = tmp_path / "videos"
    lay(root, "a/x/take.mp4", "a/y/take.mp4", "a/take-2.mp4", "a/z/take.mov", "a/" + "long " * 40 + ".mp4")
    names = [clip["clip"] for clip in taken(root, "a")]
    assert len(set(names)) == 5
    assert len(set(tars.names(tmp_path / "out.tar"))) == 6


def test_a_file_name_that_is_no_utf8_is_taken(tmp_path):
    root = tmp_path / "videos"
    lay(root, "a/b.mp4")
    (root / "a" / "b.mp4").rename(os.fsdecode(bytes(root / "a") + b"/\xff\xfe.mp4"))
    clip = taken(root, "a")[0]
    assert clip["source"] == "a/\ufffd\ufffd.mp4"
    assert clip["source"].encode()


def test_the_table_overrides(tmp_path):
    root = tmp_path / "videos"
    lay(root, "one.mp4", "two.mp4", "Café/three 😀.mp4")
    text = (
        "file,speaker,split,sentence,emotion,level\r\none.mp4,Zoë,train,Hello there,happy,high\r\n./two.mp4,zoë,,,,\r\n"
    )
    (root / "who.csv").write_bytes(b"\xef\xbb\xbf" + (text + "Cafe\u0301/three 😀.mp4,,test_unseen,,,\r\n").encode())
    assert found(root, "who.csv") == {"cafe": ["Café/three 😀.mp4"], "zoe": ["one.mp4", "two.mp4"]}
    one, two = taken(root, "zoe", "who.csv")
    assert [one[key] for key in ("sentence", "emotion", "level", "split")] == ["Hello there", "happy", "high", "train"]
    assert [two[key] for key in ("sentence", "emotion", "level", "split")] == ["two", "", "", ""]
    assert taken(root, "cafe", "who.csv")[0]["split"] == "test_unseen"


def test_semicolons_will_do(tmp_path):
    lay(tmp_path, "a, b.mp4")
    (tmp_path / "who.csv").write_text("File;Speaker\na, b.mp4;Ada\n")
    assert found(tmp_path, "who.csv") == {"ada": ["a, b.mp4"]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("speaker\nada\n", r"who\.csv: columns are speaker; give file, and any of speaker"),
        ("", r"columns are missing"),
        ("file,mood\na.mp4,x\n", r"columns are file, mood"),
        ("file,split\na.mp4,test\n", r"who\.csv: line 2: split is 'test'; give one of train, .*, or nothing"),
        ("file,split\na.mp4\n", r"line 2: has not as many cells"),
        ("file\na.mp4,b\n", r"line 2: has not as many cells"),
        ("file,split\na.mp4,\na.mp4,train\n", r"line 3: a\.mp4 stands twice"),
        ("file\nb.mp4\n", r"no video 'b\.mp4', which the table names; give its path within the folder"),
        ("file\n../secret.mp4\n", r"no video '\.\./secret\.mp4'"),
        ("file\n/etc/passwd\n", r"no video '/etc/passwd'"),
        ("file\nx/../a.mp4\n", r"no video 'x/\.\./a\.mp4'"),
        ("file\n..\\secret.mp4\n", r"no video '\.\./secret\.mp4'"),
        ("file\n" + "a" * 200000 + "\n", r"line 1: not CSV"),
        (b"file\n\xff.mp4\n", r"who\.csv: not UTF-8 \(byte 5\); save it as CSV UTF-8"),
    ],
)
def test_a_table_that_is_wrong_is_named(tmp_path, table, message):
    root = tmp_path / "videos"
    lay(root, "a.mp4")
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (root / "who.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(InputError, match=message):
        folder.take(settings(root, "who.csv"), "a", tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()


@pytest.mark.parametrize("name", ["../who.csv", "/etc/passwd"])
def test_the_table_lies_in_the_folder(tmp_path, name):
    root = tmp_path / "videos"
    lay(root, "a.mp4")
    (tmp_path / "who.csv").write_text("file\na.mp4\n")
    with pytest.raises(InputError, match=r"lies outside the corpus's folder; put it there"):
        folder.speakers(settings(root, name))


def test_a_folder_without_a_video(tmp_path):
    lay(tmp_path, "a.jpg")
    with pytest.raises(InputError, match=r"no video in it \(\.3gp, .*\); put videos there"):
        folder.speakers(settings(tmp_path))


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["download", *map(str, arguments)])
    download.main()


def test_the_command_prints_what_to_paste(tmp_path, monkeypatch, capsys):
    lay(tmp_path / "videos", "Zoë/1.mp4", "Zoë/2.mp4", "Ada #1/x\ny.mp4", "cover.jpg")
    raw = yaml.safe_load(Path(DEMO).read_text())
    raw["corpus"]["folder"] = {"path": str(tmp_path / "videos"), "table": ""}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    command(monkeypatch, "--params", tmp_path / "params.yaml", "--shards")
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == {"shards": ["ada-1", "zoe"]}
    assert "# zoe: 2 videos of Zoë\n" in printed
    assert "# ignored, no video by its ending: cover.jpg\n" in printed
    with pytest.raises(SystemExit):
        command(monkeypatch, "--params", tmp_path / "params.yaml")
    assert "give --shard and --out, or --shards" in capsys.readouterr().err


WORDS = [
    "1001",
    "no",
    "null",
    "y",
    "n",
    "on",
    "True",
    "2024-01-01",
    "0x1f",
    "0o17",
    "1_000",
    "1e5",
    "12:30",
    "3",
    "nan",
    "zoe",
]


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=30)), min_size=1, max_size=20))
def test_the_shards_that_are_printed_are_read_as_they_are(names):
    shards = sorted(set(folder.slugs(names).values()))
    printed = f"# {shown(' '.join(' '.join(names).split()))}\n" + folder.line(shards)
    assert yaml.safe_load(printed) == {"shards": shards}
    assert ruamel.yaml.YAML(typ="safe").load(printed) == {"shards": shards}  # as DVC reads it


def test_linked_folders_are_speakers_and_a_circle_is_named(tmp_path):
    lay(tmp_path / "videos", "Ada/1.mp4")
    lay(tmp_path / "elsewhere", "2.mp4")
    (tmp_path / "videos/Bela").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos/Ada/all").symlink_to("..")
    (tmp_path / "videos/Bela/lost.mp4").symlink_to("nowhere")
    assert found(tmp_path / "videos") == {"ada": ["Ada/1.mp4"], "bela": ["Bela/2.mp4", "Bela/lost.mp4"]}
    printed = folder.listing(settings(tmp_path / "videos"))
    assert "# ignored, a link to a folder that is listed: Ada/all\n" in printed
    clips = taken(tmp_path / "videos", "bela")
    assert [tars.read(tmp_path / "out.tar", clip["file"]) for clip in clips] == [b"2.mp4", b""]


def test_the_rule_sees_the_videos_and_the_table(tmp_path):
    lay(tmp_path, "ada/1.mp4", "bela/2.mp4")
    (tmp_path / "who.csv").write_text("file,speaker\nbela/2.mp4,Ada\n")
    raw = yaml.safe_load(Path(DEMO).read_text())
    raw["corpus"] |= {"source": "folder", "shards": ["ada"], "folder": {"path": str(tmp_path), "table": "who.csv"}}
    raw["index"]["unseen_speakers"] = []
    checked = params.validate(raw, DEMO)
    before = checks.videos(checked)
    assert before.keys() == {"ada"}
    assert checks.videos(checked) == before

    old = (tmp_path / "ada/1.mp4").stat()
    (tmp_path / "ada/1.mp4").write_bytes(b"another")
    os.utime(tmp_path / "ada/1.mp4", ns=(old.st_atime_ns, old.st_mtime_ns - 10**12))
    replaced = checks.videos(checked)
    assert replaced != before, "by one with an older date"
    (tmp_path / "who.csv").write_text("file,speaker,emotion\nbela/2.mp4,Ada,happy\n")
    assert checks.videos(checked) != replaced
    (tmp_path / "who.csv").unlink()
    assert checks.videos(checked) == {}  # the stage says what is missing

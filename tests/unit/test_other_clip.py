"""The sound given to a clip by a method that takes another clip's."""

from __future__ import annotations

import pandas as pd
import pytest

from stages.base.errors import ParameterError
from stages.sample import other_clip


def listed(*names: str) -> pd.DataFrame:
    parts = [name.split("_") for name in names]
    return pd.DataFrame({"clip": names, "speaker": [p[0] for p in parts], "sentence": [p[1] for p in parts]})


def test_the_next_clip_of_another_speaker_and_sentence_is_taken() -> None:
    assert other_clip(listed("ada_s1", "ada_s2", "bela_s1", "bela_s2"), "ada_s1") == "bela_s2"
    assert other_clip(listed("ada_s1", "bela_s2", "cleo_s2"), "cleo_s2") == "ada_s1"


def test_another_sentence_of_the_same_speaker_will_do() -> None:
    assert other_clip(listed("ada_s1", "ada_s2"), "ada_s1") == "ada_s2"


def test_where_all_clips_say_the_same_the_error_names_the_fix() -> None:
    with pytest.raises(
        ParameterError, match="no other test clip says another sentence than ada_s1; give the test more"
    ):
        other_clip(listed("ada_s1", "bela_s1"), "ada_s1")

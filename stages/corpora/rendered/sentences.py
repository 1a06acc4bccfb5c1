"""The text of the rendered speakers: 24 short sentences, a pronouncing lexicon (ARPAbet), and the timeline of phones.

Speech and mouth are both made from one timeline, so they are in true synchrony.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stages.corpora.rendered.phones import PARTS, PHONES

SILENCE_S = 0.15  # before and after the sentence
WORDS_PER_PHRASE_END = 1  # the last word is lengthened, as speakers do
FINAL_LENGTHENING = 1.35
UNSTRESSED = 0.72  # of a vowel's duration

SENTENCES = (
    "the moon came up above the farm",
    "my father bought a big brown box",
    "she saw a blue bird by the window",
    "open the map and show me the way",
    "five warm loaves were on the table",
    "he put the paper back in my room",
    "you may have a bath before supper",
    "bob and emma walk home at four",
    "the old man bought a puppy for me",
    "please move the big blue lamp over",
    "a happy baby plays with the ball",
    "what time does the show begin",
    "our family moved to the farm in may",
    "pour some water over the apples",
    "the boys found a path up the hill",
    "mother made a pot of pea soup",
    "every morning i feed the sheep",
    "jump over the puddle and go home",
    "both of the vases are empty now",
    "wash your hands before we begin",
    "i hope you remember my name",
    "the summer months were very warm",
    "maybe the bus will stop for us",
    "good food and music help people",
)

# 1 marks the stressed vowel of a word; words without one are unstressed.
LEXICON = {
    word: phones.split()
    for word, phones in {
        "a": "AH", "above": "AH B AH1 V", "and": "AE N D", "apples": "AE1 P AH L Z", "are": "AA R", "at": "AE T",
        "baby": "B EY1 B IY", "back": "B AE1 K", "ball": "B AO1 L", "bath": "B AE1 TH", "before": "B IH F AO1 R",
        "begin": "B IH G IH1 N", "big": "B IH1 G", "bird": "B ER1 D", "blue": "B L UW1", "bob": "B AA1 B",
        "both": "B OW1 TH", "bought": "B AO1 T", "box": "B AA1 K S", "boys": "B OY1 Z", "brown": "B R AW1 N",
        "bus": "B AH1 S", "by": "B AY1", "came": "K EY1 M", "does": "D AH Z", "emma": "EH1 M AH",
        "empty": "EH1 M P T IY", "every": "EH1 V R IY", "family": "F AE1 M AH L IY", "farm": "F AA1 R M",
        "father": "F AA1 DH ER", "feed": "F IY1 D", "five": "F AY1 V", "food": "F UW1 D", "for": "F AO R",
        "found": "F AW1 N D", "four": "F AO1 R", "go": "G OW1", "good": "G UH1 D", "hands": "HH AE1 N D Z",
        "happy": "HH AE1 P IY", "have": "HH AE V", "he": "HH IY", "help": "HH EH1 L P", "hill": "HH IH1 L",
        "home": "HH OW1 M", "hope": "HH OW1 P", "i": "AY", "in": "IH N", "jump": "JH AH1 M P", "lamp": "L AE1 M P",
        "loaves": "L OW1 V Z", "made": "M EY1 D", "man": "M AE1 N", "map": "M AE1 P", "may": "M EY1",
        "maybe": "M EY1 B IY", "me": "M IY", "months": "M AH1 N TH S", "moon": "M UW1 N", "morning": "M AO1 R N IH NG",
        "mother": "M AH1 DH ER", "move": "M UW1 V", "moved": "M UW1 V D", "music": "M Y UW1 Z IH K", "my": "M AY",
        "name": "N EY1 M", "now": "N AW1", "of": "AH V", "old": "OW1 L D", "on": "AA N", "open": "OW1 P AH N",
        "our": "AW ER", "over": "OW1 V ER", "paper": "P EY1 P ER", "path": "P AE1 TH", "pea": "P IY1",
        "people": "P IY1 P AH L", "plays": "P L EY1 Z", "please": "P L IY1 Z", "pot": "P AA1 T", "pour": "P AO1 R",
        "puddle": "P AH1 D AH L", "puppy": "P AH1 P IY", "put": "P UH1 T", "remember": "R IH M EH1 M B ER",
        "room": "R UW1 M", "saw": "S AO1", "she": "SH IY", "sheep": "SH IY1 P", "show": "SH OW1", "some": "S AH M",
        "soup": "S UW1 P", "stop": "S T AA1 P", "summer": "S AH1 M ER", "supper": "S AH1 P ER", "table": "T EY1 B AH L",
        "the": "DH AH", "time": "T AY1 M", "to": "T UW", "today": "T UW D EY1", "up": "AH1 P", "us": "AH1 S",
        "vases": "V EY1 S IH Z", "very": "V EH1 R IY", "walk": "W AO1 K", "warm": "W AO1 R M", "was": "W AH Z",
        "wash": "W AA1 SH", "water": "W AO1 T ER", "way": "W EY1", "we": "W IY", "were": "W ER", "what": "W AH1 T",
        "will": "W IH L", "window": "W IH1 N D OW", "with": "W IH TH", "you": "Y UW", "your": "Y AO R",
    }.items()
}  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """One phone, or one part of a diphthong, plosive or affricate."""

    phone: str  # a key of phones.PHONES
    start: float  # seconds from the clip's beginning
    end: float
    stressed: bool

    @property
    def centre(self) -> float:
        return (self.start + self.end) / 2


def sentence_name(number: int) -> str:
    """``s01`` for the first sentence."""
    return f"s{number + 1:02d}"


def timeline(text: str, rate: float) -> list[Segment]:
    """Phones of a sentence with their times, silence at both ends; ``rate`` is the speaking rate, 1 for normal."""
    segments = [Segment("SIL", 0.0, SILENCE_S, False)]
    words = text.split()
    for number, word in enumerate(words):
        stretch = FINAL_LENGTHENING if number >= len(words) - WORDS_PER_PHRASE_END else 1.0
        for spelled in LEXICON[word]:
            base, stressed = spelled.rstrip("1"), spelled.endswith("1")
            for part in PARTS.get(base, (base,)):
                phone = PHONES[part]
                duration = phone.duration_ms / 1000 * stretch / rate
                if phone.vowel and not stressed:
                    duration *= UNSTRESSED
                start = segments[-1].end
                segments.append(Segment(part, start, start + duration, stressed))
    end = segments[-1].end
    return [*segments, Segment("SIL", end, end + SILENCE_S, False)]


def strung(timelines: Sequence[list[Segment]], starts: Sequence[float]) -> list[Segment]:
    """Several sentences as one timeline, each beginning at its start; one silence lies between two."""
    segments: list[Segment] = []
    for timeline, start in zip(timelines, starts, strict=True):
        moved = [replace(segment, start=segment.start + start, end=segment.end + start) for segment in timeline]
        if segments:
            moved[0] = replace(moved[0], start=segments.pop().start)
        segments += moved
    return segments

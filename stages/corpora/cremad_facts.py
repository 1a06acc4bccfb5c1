"""CREMA-D, the paper's corpus: what it is called, whose it is and on what terms. Facts alone; the stage download fetches it."""

from __future__ import annotations

UPSTREAM = "https://github.com/CheyneyComputerScience/CREMA-D"
COMMIT = "1658cd342dff90010aa843eaeebd53610a08b1dc"  # whose objects the manifest lists
SPEAKERS = tuple(str(number) for number in range(1001, 1092))  # shards, too
LICENCE = (
    "CREMA-D is under the Open Database License 1.0 (https://opendatacommons.org/licenses/odbl/1-0/), its contents under the "
    "Database Contents License 1.0 (https://opendatacommons.org/licenses/dbcl/1-0/)."
)
CITATION = (
    "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma: CREMA-D: Crowd-sourced Emotional Multimodal "
    "Actors Dataset. IEEE Transactions on Affective Computing 5(4), 377–390, 2014. doi:10.1109/TAFFC.2014.2336244"
)
TERMS = (LICENCE, f"To be cited as: {CITATION}", f"Taken from {UPSTREAM}, commit {COMMIT}.")
SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
LEVELS = ("LO", "MD", "HI", "XX")

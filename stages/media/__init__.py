"""Media files: deterministic writing, decoding on one time base for sound and picture.

**Time base.** Zero is the first picture's timestamp. Output frame k stands at k / fps and is the source frame nearest
in time; the audio is placed by its own timestamps on the same zero, trimmed or padded with silence, and so are its gaps.
Counting frames instead, as ``ffmpeg -r 25`` does, puts sound and picture 50 to 80 ms apart on 29.97 fps material.

**As people see and hear it.** :mod:`stages.media.display` turns, mirrors, deinterlaces, squares pixels and brings HDR to a plain
screen's colours; :mod:`stages.media.sound` takes the default track and mixes its channels as FFmpeg does. Joined streams, whose
timestamps start again, go on where the one before ended.

**Foreign files.** Only :data:`stages.media.container.FORMATS` are opened: a playlist, a list of images or an SDP would make
FFmpeg open other files and addresses. What a damaged header may ask for is bounded: pixels, sample rate, length, gaps.

T frames, H height, W width, C = 3 channels (RGB), N audio samples.
"""

from stages.media.container import Source
from stages.media.long import StoredSound, store_audio
from stages.media.sound import Sound, decode_audio, hear, resampled, to_float, to_int16
from stages.media.video import Converter, Picture, Planes, cut, decode, frame_rate, pictures
from stages.media.writing import rate, write_video

__all__ = [
    "Converter", "Picture", "Planes", "Sound", "Source", "StoredSound", "cut", "decode", "decode_audio",
    "frame_rate", "hear", "pictures", "rate", "resampled", "store_audio", "to_float", "to_int16", "write_video",
]  # fmt: skip

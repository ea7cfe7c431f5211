"""Words about a video, taken from its title and transcript only."""

import re
from collections import Counter
from pathlib import PurePath
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_][\w'\u2019-]*", re.UNICODE)
_SENTENCE: Final = re.compile(r"(?<=[.!?…])\s+")
_COMMON_WORDS: Final = """
a about after again all also am an and any are as at be because been before being but by can clip could did do does
doing down final for from get go going got had has have he her here hers him his how i if in into is it its just know
let like made make me more most mov mp4 much my new no not now of off on once one only or other our out over really
said same say see she should so some such take than that the their them then there these they thing things think this
those through to too under until up us use very video want was we well were what when where which while who why will
with would yes you your
"""
_COMMON: Final = frozenset(_COMMON_WORDS.split())


def keywords(*texts: str, count: int) -> list[str]:
    """The words that say what it is about: the most frequent first, then in the order they come."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(word for word in (word.lower() for word in _WORD.findall(text)) if _tells(word))
    return [word for word, _ in found.most_common(count)]


def sentences(text: str) -> list[str]:
    """A text sentence by sentence, without the empty ones."""
    return [sentence.strip() for sentence in _SENTENCE.split(text) if sentence.strip()]


def title(given: str, file_name: str) -> str:
    """What to call a video: its given title, else its file name made readable, else `Untitled video`."""
    if given.strip():
        return " ".join(given.split())
    readable = re.sub(r"[_\-.]+", " ", PurePath(file_name).stem).strip()
    return readable[:1].upper() + readable[1:] if keywords(readable, count=1) else "Untitled video"


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters, ended at a word with an ellipsis if it was longer."""
    if len(text) <= most:
        return text
    cut = text[: most - 1].rsplit(" ", 1)[0].rstrip(" ,;:-")
    return f"{cut or text[: most - 1]}…"


def clock(seconds: float) -> str:
    """A time as people write it, e.g. `1:05`."""
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"


def _tells(word: str) -> bool:
    return len(word) > 2 and re.split("['\u2019]", word)[0] not in _COMMON

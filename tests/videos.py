"""Small real videos for the tests, good and bad, each made once per folder."""

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from workers.media import sample

RATE = 24


class Videos:
    """Makes videos in a folder when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def talking(self, seconds: float = 12.0) -> Path:
        """Six scenes with faces, a voice, music, black and silence; 640x360."""
        return self._made(f"talking-{seconds:g}.mp4", lambda path: sample.write_sample(str(path), seconds))

    def silent(self, seconds: float = 4.0) -> Path:
        """The same pictures, without an audio stream; 320x180."""
        return self._made(
            f"silent-{seconds:g}.mp4",
            lambda path: sample.write_sample(str(path), seconds, width=320, height=180, sound=False),
        )

    def still(self, seconds: float = 3.0) -> Path:
        """One grey picture all the time, no sound."""
        return self._made("still.mp4", lambda path: _write(path, _grey(320, 180, seconds)))

    def odd(self) -> Path:
        """321x241 pixels, two seconds, with a tone."""
        return self._made("odd.mkv", lambda path: _write(path, _moving(321, 241, 2.0), tone_s=2.0))

    def turned(self, degrees: int = -90) -> Path:
        """320x180 as stored, to be turned (counter-clockwise if above zero); its stored left third is white."""
        return self._made(f"turned{degrees}.mp4", lambda path: _write(path, _left_third_white(), turn=degrees))

    def without_pictures(self) -> Path:
        """A tone and nothing else."""
        return self._made("tone.mp4", lambda path: _write(path, iter(()), tone_s=2.0))

    def declared_long(self) -> Path:
        """Two seconds of pictures that call themselves four hours."""
        return self._made("long.mkv", lambda path: _write_declaring(path, hours=4))

    def far_apart(self) -> Path:
        """Two seconds of pictures and one more, four hours later."""
        return self._made("apart.mkv", lambda path: _write(path, _moving(64, 48, 2.0), last_at_s=4 * 3600))

    def cut_off(self) -> Path:
        """The first 60 % of a file whose index comes first: its beginning can be read."""
        whole = self.talking(6.0).read_bytes()
        return self._made("cut-off.mp4", lambda path: _put(path, whole[: len(whole) * 6 // 10]))

    def without_index(self) -> Path:
        """The first half of a file whose index came last."""
        return self._made("no-index.mp4", _write_without_index)

    def text(self) -> Path:
        """Not a video at all."""
        return self._made("notes.mp4", lambda path: _put(path, b"this is a shopping list\n- milk\n- bread\n" * 20))

    def noise(self) -> Path:
        """Bytes without any meaning."""
        return self._made("noise.mp4", lambda path: _put(path, np.random.default_rng(3).bytes(20_000)))

    def playlist(self) -> Path:
        """A playlist that names another file of this machine."""
        content = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:4,\n{self.silent(4.0)}\n#EXT-X-ENDLIST\n"
        return self._made("list.mp4", lambda path: _put(path, content.encode()))

    def empty(self) -> Path:
        return self._made("empty.mp4", lambda path: _put(path, b""))

    def _made(self, name: str, write: Callable[[Path], object]) -> Path:
        path = self._folder / name
        if not path.exists():
            part = path.with_name(f"part-{name}")
            write(part)
            part.rename(path)
        return path


def decoded(path: Path) -> tuple[int, int, int]:
    """How many pictures a file really holds, and how many pixels across and down."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return len(frames), frames[0].width, frames[0].height


def _write(
    path: Path,
    pictures: Iterator[VideoFrame],
    *,
    tone_s: float = 0.0,
    turn: int = 0,
    last_at_s: int | None = None,
) -> None:
    with av.open(str(path), "w") as container:
        first = next(pictures, None)
        if first is not None:
            stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "qp": "20"})
            stream.width, stream.height = first.width, first.height
            stream.pix_fmt = "yuv444p" if first.width % 2 else "yuv420p"
            if turn:
                stream.set_display_rotation(turn)
        sound = container.add_stream("aac", rate=48_000, layout="mono") if tone_s else None
        if first is not None:
            frames = [first, *pictures]
            for number, frame in enumerate(frames):
                late = last_at_s is not None and number == len(frames) - 1
                frame.pts = last_at_s * RATE if late and last_at_s else number
                frame.time_base = Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if sound is not None:
            wave = np.sin(2 * np.pi * 440 * np.arange(round(48_000 * tone_s)) / 48_000)
            tone = AudioFrame.from_ndarray((0.2 * wave).astype(np.float32)[None, :], format="fltp", layout="mono")
            tone.sample_rate = 48_000
            tone.pts = 0
            container.mux(sound.encode(tone))
            container.mux(sound.encode(None))


def _moving(width: int, height: int, seconds: float) -> Iterator[VideoFrame]:
    for number in range(round(seconds * RATE)):
        picture = np.full((height, width, 3), 60, dtype=np.uint8)
        at = number * 2 % (width - 20)
        picture[height // 3 : height // 2, at : at + 20] = 220
        yield VideoFrame.from_ndarray(picture, format="rgb24")


def _grey(width: int, height: int, seconds: float) -> Iterator[VideoFrame]:
    for _ in range(round(seconds * RATE)):
        yield VideoFrame.from_ndarray(np.full((height, width, 3), 128, dtype=np.uint8), format="rgb24")


def _left_third_white() -> Iterator[VideoFrame]:
    for number in range(RATE * 2):
        picture = np.full((180, 320, 3), 40, dtype=np.uint8)
        picture[:, :106] = 235
        picture[80:100, 150 + number : 170 + number] = 140
        yield VideoFrame.from_ndarray(picture, format="rgb24")


def _write_declaring(path: Path, *, hours: int) -> None:
    """Write two seconds and put another length into the head of the file."""
    _write(path, _moving(160, 120, 2.0))
    content = bytearray(path.read_bytes())
    length = content.index(b"\x44\x89\x88") + 3
    struct.pack_into(">d", content, length, hours * 3_600_000.0)
    path.write_bytes(content)


def _write_without_index(path: Path) -> None:
    _write(path, _moving(160, 120, 2.0))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)

"""What earlier agents would have found, for tests of the agent after them."""

from pathlib import Path

from workers.agents.audio_transcriber import Transcript
from workers.agents.clipper import Clips
from workers.agents.contract import MadeClip, Reason
from workers.agents.moment_detector import Moments
from workers.agents.video_analyzer import Analysis
from workers.agents.video_downloader import Download
from workers.media import moments
from workers.media.analysis import Findings, Loudness, Motion, Stretch
from workers.media.moments import Moment
from workers.media.probe import Facts
from workers.media.speech import Segment, Speech


def download(path: Path | str = "/nowhere.mp4", *, duration_s: float = 12.0, has_audio: bool = True) -> Download:
    """A 640x360 video at 24 pictures a second."""
    return Download(
        path=str(path),
        title="Garden tour",
        facts=Facts(
            container="mp4",
            duration_s=duration_s,
            width=640,
            height=360,
            rotation=0,
            fps=24.0,
            frames=round(duration_s * 24),
            video_codec="h264",
            audio_codec="aac" if has_audio else None,
            has_audio=has_audio,
            size_bytes=1,
            sha256="0" * 64,
            warnings=[],
        ),
    )


def analysis(duration_s: float = 12.0) -> Analysis:
    """Two scenes of equal length, something moving on the right in the second."""
    seconds = round(duration_s)
    half = seconds // 2
    return Analysis(
        findings=Findings(
            scenes=[Stretch(start_s=0.0, end_s=half), Stretch(start_s=half, end_s=duration_s)],
            black=[],
            silent=[],
            loudness=Loudness(integrated_lufs=-20.0, range_lu=3.0, per_second=[-20.0] * seconds),
            motion=Motion(
                level=[0.0] * half + [0.1] * (seconds - half),
                centre_x=[0.5] * half + [0.9] * (seconds - half),
                centre_y=[0.5] * seconds,
            ),
        )
    )


def chosen(*spans: tuple[float, float]) -> Moments:
    """Moments at the given times, best first."""
    reasons = [moments.Reason(kind="motion", text="very lively for this video", points=60.0)]
    return Moments(moments=[Moment(start_s=start, end_s=end, score=60.0, reasons=reasons) for start, end in spans])


def transcript(*said: tuple[float, float, str]) -> Transcript:
    """What is said from when to when."""
    segments = [Segment(start_s=start, end_s=end, text=text, words=[]) for start, end, text in said]
    return Transcript(speech=Speech(engine="faster-whisper", language="en", segments=segments, share=0.5))


def clips(*spans: tuple[float, float]) -> Clips:
    """Finished clips of the given stretches, best first."""
    return Clips(
        clips=tuple(
            MadeClip(
                path=f"clip-{number:02}.mp4",
                thumbnail=f"clip-{number:02}.jpg",
                title=f"Garden tour (clip {number})",
                start_s=start,
                end_s=end,
                duration_s=end - start,
                width=202,
                height=360,
                score=60.0,
                reasons=(Reason(reason="very lively for this video", points=60.0),),
            )
            for number, (start, end) in enumerate(spans, start=1)
        ),
        finished=[],
    )

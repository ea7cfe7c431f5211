"""Who the eleven agents are, and the chain a job goes through unless it asks for another.

Plain facts, so that whoever only needs to name an agent does not load a codec; what they do is in `registry`.
"""

from typing import Final

from db.agents import Known
from db.models.work import AgentCategory

VIDEO_DOWNLOADER: Final = Known(
    id="video-downloader",
    name="Video downloader",
    category=AgentCategory.INPUT,
    description="Brings the video in from an upload or an address and measures what it holds",
    version="1.0.0",
    timeout_s=900,
    capabilities=("fetch", "probe"),
)

VIDEO_ANALYZER: Final = Known(
    id="video-analyzer",
    name="Video analyzer",
    category=AgentCategory.ANALYSIS,
    description="Finds scenes, black and silent stretches, loudness and motion",
    version="1.0.0",
    timeout_s=3600,
    capabilities=("scenes", "black", "silence", "loudness", "motion"),
)

AUDIO_TRANSCRIBER: Final = Known(
    id="audio-transcriber",
    name="Audio transcriber",
    category=AgentCategory.AUDIO,
    description="Writes down what is said with its times, or finds where somebody speaks",
    version="1.0.0",
    timeout_s=3600,
    capabilities=("transcription", "voice-activity"),
)

MOMENT_DETECTOR: Final = Known(
    id="moment-detector",
    name="Moment detector",
    category=AgentCategory.ANALYSIS,
    description="Ranks the stretches worth a clip and explains each score",
    version="1.0.0",
    timeout_s=900,
    capabilities=("ranking", "explained-scores"),
)

FACE_DETECTOR: Final = Known(
    id="face-detector",
    name="Face detector",
    category=AgentCategory.ANALYSIS,
    description="Finds faces and follows them over time",
    version="1.0.0",
    timeout_s=1800,
    capabilities=("faces", "tracks"),
)

INTELLIGENT_CROPPER: Final = Known(
    id="intelligent-cropper",
    name="Intelligent cropper",
    category=AgentCategory.EDITING,
    description="Plans a calm crop that keeps faces, else motion, in the frame",
    version="1.0.0",
    timeout_s=900,
    capabilities=("crop-path", "reframing"),
)

VIDEO_CUTTER: Final = Known(
    id="video-cutter",
    name="Video cutter",
    category=AgentCategory.EDITING,
    description="Cuts the moments out, exact to the picture, as H.264 and AAC",
    version="1.0.0",
    timeout_s=3600,
    capabilities=("cutting", "encoding"),
)

CLIPPER: Final = Known(
    id="clipper",
    name="Clipper",
    category=AgentCategory.EDITING,
    description="Finishes the clips: crop, loudness, thumbnail",
    version="1.0.0",
    timeout_s=3600,
    capabilities=("clips", "loudness-normalisation", "thumbnails"),
)

SCRIPT_GENERATOR: Final = Known(
    id="script-generator",
    name="Script generator",
    category=AgentCategory.CONTENT,
    description="Writes a hook, an outline and captions from what was found",
    version="1.0.0",
    timeout_s=900,
    capabilities=("hook", "outline", "captions"),
)

SOCIAL_POST_GENERATOR: Final = Known(
    id="social-post-generator",
    name="Social post generator",
    category=AgentCategory.CONTENT,
    description="Writes a post per platform within its limits, with hashtags",
    version="1.0.0",
    timeout_s=900,
    capabilities=("posts", "hashtags"),
)

VOICEOVER_CREATOR: Final = Known(
    id="voiceover-creator",
    name="Voiceover creator",
    category=AgentCategory.AUDIO,
    description="Reads the script aloud with a voice engine of this machine",
    version="1.0.0",
    timeout_s=900,
    capabilities=("voiceover",),
)

DEFAULT: Final = (
    VIDEO_DOWNLOADER,
    VIDEO_ANALYZER,
    AUDIO_TRANSCRIBER,
    MOMENT_DETECTOR,
    FACE_DETECTOR,
    INTELLIGENT_CROPPER,
    VIDEO_CUTTER,
    CLIPPER,
    SCRIPT_GENERATOR,
    SOCIAL_POST_GENERATOR,
)
"""The agents of a job that asks for no others, in the order of their turns."""

DEFAULT_CHAIN: Final = tuple(agent.id for agent in DEFAULT)

ROSTER: Final = (*DEFAULT, VOICEOVER_CREATOR)
"""All eleven; the voiceover creator is there for those who ask for it."""

CAPABILITIES: Final = {agent.id: agent.capabilities for agent in ROSTER}
"""What each of them can do, in words that programs compare."""

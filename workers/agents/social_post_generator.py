"""Writes a post for each platform, within its limits, from the script and the clips."""

import itertools
import json
import unicodedata
from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec

from db.models.work import ArtifactKind
from workers.agents import roster, words
from workers.agents.clipper import Clips
from workers.agents.contract import Agent, MadeFile, Output, Step, Tools
from workers.agents.script_generator import Script


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What a platform takes."""

    id: str
    most: int
    """Characters of a post, its hashtags among them."""

    hashtags: int
    """How many are usual; more are taken for spam."""

    own_tag: str | None = None
    """A hashtag without which the platform does not see what it is."""

    one_line: bool = False
    """Whether it is a title rather than a text."""


PLATFORMS: Final = (
    Platform(id="tiktok", most=2200, hashtags=5),
    Platform(id="instagram", most=2200, hashtags=10),
    Platform(id="youtube-shorts", most=100, hashtags=3, own_tag="Shorts", one_line=True),
    Platform(id="x", most=280, hashtags=2),
    Platform(id="linkedin", most=3000, hashtags=3),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What there is to post."""

    title: str
    hook: str
    points: list[str]
    """What the clips show."""

    keywords: list[str]
    clip: str
    """File name of the best clip."""

    @classmethod
    def of(cls, step: Step) -> "Input":
        script = step.needs(Script)
        return cls(
            title=script.title,
            hook=script.hook,
            points=[beat.text for beat in script.outline],
            keywords=script.keywords,
            clip=step.needs(Clips).clips[0].path,
        )


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """A post, ready to be sent."""

    platform: str
    text: str
    """With its hashtags."""

    hashtags: list[str]
    """Without the sign."""

    length: int
    """Characters as the platform counts them."""

    limit: int
    clip: str
    """File name of the clip that goes with it."""


class Posts(Output, frozen=True, kw_only=True):
    """One post per platform."""

    agent: ClassVar[str] = roster.SOCIAL_POST_GENERATOR.id

    posts: list[Post]


async def run(step: Step, tools: Tools) -> Posts:
    """Write a post for each platform."""
    asked = Input.of(step)
    posts = [_post(asked, platform) for platform in PLATFORMS]
    page = json.dumps(msgspec.to_builtins(posts), ensure_ascii=False, indent=2)
    (tools.folder / "posts.json").write_text(page, encoding="utf-8")
    return Posts(
        posts=posts,
        files=(MadeFile(path="posts.json", kind=ArtifactKind.POSTS, media_type="application/json"),),
    )


def counted(text: str) -> int:
    """Characters as the strictest platform counts them: two for wide scripts and pictures, one for all else."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def _post(asked: Input, platform: Platform) -> Post:
    own = [platform.own_tag] if platform.own_tag else []
    tags = list(dict.fromkeys([*own, *(_tag(word) for word in asked.keywords)]))[: platform.hashtags]
    ending = " ".join(f"#{tag}" for tag in tags)
    while tags and counted(ending) > platform.most // 2:
        tags.pop()
        ending = " ".join(f"#{tag}" for tag in tags)
    room = platform.most - counted(ending) - 2
    bodies = [asked.hook] if platform.one_line else [_whole(asked), asked.hook]
    between = " " if platform.one_line else "\n\n"
    text = between.join(part for part in (_fitting(bodies, room), ending) if part)
    return Post(
        platform=platform.id,
        text=text,
        hashtags=tags,
        length=counted(text),
        limit=platform.most,
        clip=asked.clip,
    )


def _whole(asked: Input) -> str:
    return "\n\n".join([asked.hook, asked.title, "\n".join(f"• {point}" for point in asked.points)])


def _fitting(bodies: list[str], room: int) -> str:
    """The first body there is room for, else the beginning of the last."""
    for body in bodies:
        if counted(body) <= room:
            return body
    widths = itertools.accumulate(map(counted, bodies[-1]))
    fits = sum(1 for _ in itertools.takewhile(lambda width: width < room, widths))
    return words.shortened(bodies[-1], fits + 1)


def _tag(word: str) -> str:
    return "".join(sign for sign in word if sign.isalnum() or sign == "_")


AGENT = Agent(known=roster.SOCIAL_POST_GENERATOR, output=Posts, run=run)

"""The script says what was found and nothing else."""

from pathlib import Path

from tests.workers.agents import known
from tests.workers.agents.bench import Job
from workers.agents import script_generator
from workers.agents.contract import Source
from workers.agents.script_generator import Script
from workers.media.speech import Segment


def job_with(folder: Path) -> Job:
    job = Job(folder, Source())
    job.put(known.download())
    job.put(known.clips((6.0, 10.0), (0.0, 4.0)))
    return job


async def test_with_words_the_hook_is_said_in_the_best_clip(tmp_path: Path) -> None:
    job = job_with(tmp_path)
    job.put(known.transcript((1.0, 3.0, "Hello."), (6.5, 9.0, "So. These tomatoes survived winter outside.")))

    await job.do(script_generator.AGENT)

    script = job.found(Script)
    assert "These tomatoes survived winter outside." == script.hook
    assert [
        "At 0:00: Hello.",
        "At 0:06: So. These tomatoes survived winter outside.",
    ] == [beat.text for beat in script.outline]
    assert ["clip-01.mp4", "clip-02.mp4"] == [captions.clip for captions in script.captions]


async def test_captions_are_timed_from_the_start_of_their_clip(tmp_path: Path) -> None:
    job = job_with(tmp_path)
    job.put(known.transcript((6.5, 9.0, "These tomatoes survived.")))

    await job.do(script_generator.AGENT)

    folder = job.benches[Script.agent].folder
    (captions,) = job.found(Script).captions
    assert "1\n00:00:00,500 --> 00:00:03,000\nThese tomatoes survived.\n" == (folder / captions.srt).read_text()
    assert (folder / captions.webvtt).read_text().startswith("WEBVTT\n")
    assert {"script.md", captions.srt, captions.webvtt} == {file.path for file in job.found(Script).files}


async def test_without_words_only_facts_are_told(tmp_path: Path) -> None:
    job = job_with(tmp_path)

    await job.do(script_generator.AGENT)

    script = job.found(Script)
    assert "Garden tour: its 2 best moments out of 0:12." == script.hook
    assert "At 0:00: 4 seconds: very lively for this video." == script.outline[0].text
    assert ([], ["garden", "tour"]) == (script.captions, script.keywords)


async def test_times_without_words_are_not_taken_for_words(tmp_path: Path) -> None:
    job = job_with(tmp_path)
    heard = known.transcript((6.5, 9.0, ""))
    assert [Segment(start_s=6.5, end_s=9.0, text="", words=[])] == heard.speech.segments
    job.put(heard)

    await job.do(script_generator.AGENT)

    assert [] == job.found(Script).captions

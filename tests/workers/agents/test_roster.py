"""Eleven agents in five categories, ten of them in the default chain, and nobody loads a codec to name one."""

import re
import subprocess
import sys

from db.models.work import AgentCategory
from workers.agents.roster import CAPABILITIES, DEFAULT_CHAIN, ROSTER


def test_there_are_eleven_agents_in_five_categories() -> None:
    assert 11 == len({known.id for known in ROSTER})
    assert set(AgentCategory) == {known.category for known in ROSTER}


def test_the_default_chain_is_all_but_the_voiceover() -> None:
    assert [*DEFAULT_CHAIN, "voiceover-creator"] == [known.id for known in ROSTER]


def test_each_says_what_it_can_do_in_words_of_its_own() -> None:
    words = [word for known in ROSTER for word in known.capabilities]

    assert all(CAPABILITIES[known.id] for known in ROSTER)
    assert [] == [word for word in words if not re.fullmatch("[a-z]+(-[a-z]+)*", word)]
    assert len(words) == len(set(words))


def test_neither_the_api_nor_a_migration_needs_the_codecs() -> None:
    program = "import sys, agentos.api, agentos.first_run; sys.exit(bool({'av', 'cv2', 'numpy'} & sys.modules.keys()))"

    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode

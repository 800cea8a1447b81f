"""Traffic that never happened: a language model writes the script, `flow.realise` plays it."""

from wirespeak.generate.compare import Comparison, compare
from wirespeak.generate.examples import Story, conversations, examples, recorded_steps, stories
from wirespeak.generate.language import LanguageGenerator, Written
from wirespeak.generate.profiles import ATTACKS, DEVICES, PROFILES, profile_name

__all__ = [
    "ATTACKS", "DEVICES", "PROFILES", "Comparison", "LanguageGenerator", "Story", "Written", "compare", "conversations",
    "examples", "profile_name", "recorded_steps", "stories",
]  # fmt: skip

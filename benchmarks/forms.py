"""Which marks cost words: `python -m benchmarks.forms [MODEL] [--seeds 3] [--kit DIR]`.

The same sentences in the same words, given to the model with other marks, each form with the same
seeds. Whisper base hears them. Printed is, a line a form, the share of words it hears wrong, and by
how much more than in plain sentences, with what nine tenths of resamplings of the clips lie in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import csm_chat
from csm_chat.assemble import open_library
from csm_chat.config.settings import Config, SamplingConfig
from csm_chat.conversation.reading import Reading
from csm_chat.conversation.session import Session
from csm_chat.notices import log_only
from csm_chat.training.ears.whisper import at_ear_rate, base
from csm_chat.training.ears.words import errors
from csm_chat.training.kit import KIT
from csm_chat.types import Utterance

PLAIN = "a, b."
# {0} and {1} are the halves of a sentence, {2} is the second with a capital, {3} and {4} the first
# without its last word, and that word
FORMS = {
    PLAIN: "{0}, {1}.",
    "a. B.": "{0}. {2}.",
    "a, b": "{0}, {1}",
    "a, b!": "{0}, {1}!",
    "a, b?": "{0}, {1}?",
    "a, b?!": "{0}, {1}?!",
    "a, b...": "{0}, {1}...",
    "a, b-": "{0}, {1}-",
    "a... b.": "{0}... {1}.",
    "a; b.": "{0}; {1}.",
    "a: b.": "{0}: {1}.",
    "a - b.": "{0} - {1}.",
    "a \u2014 b.": "{0} \u2014 {1}.",
    '"a, b."': '"{0}, {1}."',
    "'a, b.'": "'{0}, {1}.'",
    'a "word", b.': '{3} "{4}", {1}.',
}
SENTENCES = (
    ("The train was late again", "so we walked along the river"),
    ("My sister bought a red coat", "but it was too small for her"),
    ("You can open the window", "the rain stopped an hour ago"),
    ("He left the keys at home", "and nobody could find the spare ones"),
    ("We should leave before noon", "the roads will be full of people"),
    ("She told me about the garden", "and I wanted to see it"),
    ("The soup is almost ready", "please put the plates on the table"),
    ("I read the letter twice", "it made no sense to me"),
    ("They moved to the country", "because the city was too loud"),
    ("The dog slept by the fire", "while the children played outside"),
)
N_RESAMPLED = 2000


def written(form: str, first: str, second: str) -> str:
    """A sentence of two halves in one of the forms."""
    lead, _, word = first.rpartition(" ")
    return form.format(first, second, second[0].upper() + second[1:], lead, word)


def spread(differences: npt.NDArray[np.float64], n_words: float) -> tuple[float, float]:
    """What nine tenths of resamplings of the clips lie in, in per cent of their words."""
    random = np.random.default_rng(0)
    drawn = random.choice(differences, (N_RESAMPLED, len(differences))).mean(1) / n_words
    low, high = np.percentile(100 * drawn, (5, 95))
    return float(low), float(high)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("benchmarks.forms", description=__doc__)
    parser.add_argument("model", nargs="?", default="builtin")
    parser.add_argument("--seeds", type=int, default=3, help="takes of each sentence")
    parser.add_argument("--kit", type=Path, default=KIT, metavar="DIR")
    options = parser.parse_args(arguments)
    backend = csm_chat.load(options.model)
    voices = open_library(Config(), backend.codec, log_only).load()
    reading = Reading(normalize=False, directions="keep")  # the model gets the marks as they stand
    session = Session(backend, voices, sampling=SamplingConfig(seed=0), reading=reading)
    hear = base(options.kit).hear
    wrong: dict[str, npt.NDArray[np.float64]] = {}
    for name, form in FORMS.items():
        counts = []
        for seed in range(options.seeds):
            for halves in SENTENCES:
                session.reseed(seed)
                ((_, pcm),) = session.takes(Utterance(written(form, *halves), 0), 1)
                counts.append(errors(" ".join(halves), hear(at_ear_rate(pcm))))
        n_words = float(np.mean([each.n_words for each in counts]))
        wrong[name] = np.array([each.words for each in counts], np.float64)
        low, high = spread(wrong[name] - wrong[PLAIN], n_words)
        share = 100 * wrong[name].mean() / n_words
        more = 100 * (wrong[name] - wrong[PLAIN]).mean() / n_words
        sys.stdout.write(f"{name:14} {share:5.1f} %  {more:+5.1f}  ({low:+.1f} to {high:+.1f})\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

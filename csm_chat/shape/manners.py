"""How each speaker is to speak: what the settings say of one by name or number, over all others'.

Knows no file and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from csm_chat.config.settings import Config, SamplingConfig, SpeakerConfig, speaker_key
from csm_chat.normalise.lexicon import EMPTY, Lexicon
from csm_chat.types import Shape


@dataclass(frozen=True, slots=True)
class Manner:
    """How somebody is to speak."""

    own: SpeakerConfig = field(default_factory=SpeakerConfig)  # None is as for all
    shape: Shape = field(default_factory=Shape)
    lexicon: Lexicon = EMPTY  # words that are said in another way than by others

    def drawn(self, sampling: SamplingConfig) -> SamplingConfig:
        """How codes are drawn, where `sampling` is for all."""
        own = self.own
        temperature = sampling.temperature if own.temperature is None else own.temperature
        top_k = sampling.top_k if own.top_k is None else own.top_k
        return replace(sampling, temperature=temperature, top_k=top_k)


@dataclass(frozen=True, slots=True, eq=False)
class Manners:
    """What is set of speakers; `names` by number come before their voices' own."""

    speakers: Mapping[str, SpeakerConfig] = field(default_factory=dict)  # by `speaker_key`
    usual: Shape = field(default_factory=Shape)
    lexicons: Mapping[str, Lexicon] = field(default_factory=dict)  # by `speaker_key`
    names: Mapping[int, str] = field(default_factory=dict)

    def under(self, config: Config) -> Manners:
        """What other settings say, with the lexicons that were read."""
        return manners_of(config, self.lexicons)

    def knowing(self, names: Mapping[int, str]) -> Manners:
        """For speakers of these names, those without a clip among them."""
        return replace(self, names=names)

    def of(self, speaker: int, voices: Mapping[int, str]) -> Manner:
        """That of a speaker, given names of voices; a number's settings come before a name's."""
        if not self.speakers:
            return Manner(shape=self.usual)
        keys = str(speaker), speaker_key(self.names.get(speaker) or voices.get(speaker, ""))
        by_number, by_name = (self.speakers.get(key, SpeakerConfig()) for key in keys)
        own = by_number.over(by_name)
        speed = self.usual.speed if own.speed is None else own.speed
        shape = Shape(speed, self.usual.gain_db if own.gain is None else own.gain)
        of_number, of_name = (self.lexicons.get(key, EMPTY) for key in keys)
        return Manner(own, shape, of_number.over(of_name))


def manners_of(config: Config, lexicons: Mapping[str, Lexicon]) -> Manners:
    """What the settings say; `lexicons` are the files that they name, by `speaker_key`."""
    usual = Shape(config.speed, config.gain)
    return Manners(config.speakers, usual, lexicons, config.named)

"""Which clips a line is heard after: those of the voices, and of who speaks that of the mood."""

from __future__ import annotations

from collections.abc import Sequence

from csm_chat.casting.names import label
from csm_chat.errors import EntryError
from csm_chat.types import Utterance, Voice

MOODS_AHEAD = 2  # whose rows are kept up with the dialogue while nobody waits


def moods_of(voices: Sequence[Voice]) -> dict[int, tuple[str, ...]]:
    """The moods of each speaker who has any."""
    return {voice.speaker: tuple(voice.moods) for voice in voices if voice.moods}


def voices_for(voices: tuple[Voice, ...], utterance: Utterance) -> tuple[Voice, ...]:
    """The voices as a line hears them. Raises EntryError if its speaker has no such mood."""
    mood, speaker = utterance.mood, utterance.speaker
    if not mood:
        return voices
    if mood not in moods_of(voices).get(speaker, ()):
        names = {voice.speaker: voice.name for voice in voices}
        raise EntryError(f"{label(speaker, names)} has no clip in the mood {mood} any more")
    return tuple(v.in_mood(mood) if v.speaker == speaker else v for v in voices)


class RecentMoods:
    """The moods that were spoken in last: they may be asked for again."""

    def __init__(self) -> None:
        self._recent: list[tuple[int, str]] = []  # the newest last

    def add(self, utterance: Utterance) -> None:
        if utterance.mood:
            used = utterance.speaker, utterance.mood
            self._recent = [*(each for each in self._recent if each != used), used][-MOODS_AHEAD:]

    def expected(self, voices: tuple[Voice, ...]) -> list[tuple[Voice, ...]]:
        """The voices as lines may hear them, the likeliest last: the usual ones."""
        moods = moods_of(voices)
        there = [(n, mood) for n, mood in self._recent if mood in moods.get(n, ())]
        heard = [voices_for(voices, Utterance("", n, mood)) for n, mood in there]
        # first as well: somebody may come before all is done; a second time costs nothing
        return [voices, *heard, voices] if heard else [voices]

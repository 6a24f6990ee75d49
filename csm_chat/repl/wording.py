"""Notices in the words of the prompt, whose `$COMMANDS$` are what its reader can do about them."""

from __future__ import annotations

from csm_chat import notices
from csm_chat.wording import GENERAL, Wording, check_failed, gaps


def _check_failed(failed: notices.CheckFailed) -> str:
    number = failed.number or "n"
    return check_failed(
        failed,
        "Alt-R says it again" if failed.is_last else f"$EDIT {number} text$ says it in other words",
    )


PROMPT: Wording = {
    **GENERAL,
    notices.TakeStopped: (
        "stopped: {0.reason}. It is not part of the dialogue; $RETRY$ says it again"
    ).format,
    notices.DirectionDropped: (
        "stage directions, as {0.direction}, are not read; $SET directions keep$ gives them to the "
        "model, speak reads them as words"
    ).format,
    notices.CheckFailed: _check_failed,
    notices.NothingHeard: ("takes go unchecked: {0.error}. $CHECK on$ tries again").format,
    notices.NoSound: "{0.error}. Every take is still saved; $AUDIO$ tries again".format,
    notices.SoundLost: "{0.error}; going on without sound, $AUDIO$ connects again".format,
    notices.TakesOffered: lambda offer: (
        "$PICK n$ puts one of them into the dialogue, $REPLAY take$ plays its file"
        if offer.n_good
        else "none of them can be picked; $TAKES n$ makes others"
    ),
    notices.GapsHeard: lambda heard: gaps(heard, "$SET audio.start smooth$ to wait first"),
}

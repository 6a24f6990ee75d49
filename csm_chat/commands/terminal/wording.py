"""Notices in the words of the commands, whose reader has `--flags` for the next run."""

from __future__ import annotations

from csm_chat import notices
from csm_chat.wording import GENERAL, Wording, gaps

COMMAND_LINE: Wording = {
    **GENERAL,
    notices.TakeStopped: "stopped: {0.reason}. Another --seed may do better".format,
    notices.DirectionDropped: (
        "stage directions, as {0.direction}, are not read; --set directions=keep gives them to the "
        "model, speak reads them as words"
    ).format,
    notices.GapsHeard: lambda heard: gaps(heard, "--set audio.start=smooth to wait first"),
}

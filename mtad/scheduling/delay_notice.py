"""When a sender is told that a message is late: once a recipient, and only while it is still being tried.

The notice goes with the first attempt that fails that long after the message arrived, so that it can say what the
trouble is; of what is delivered in the meantime, or given up, nobody needs it. Pure: what was told already is the
caller's to remember, and what the sender asked for its to know.
"""


def is_due(received_at: float, now: float, delay_notice_seconds: float, noticed: bool) -> bool:
    """Return whether to tell now (epoch seconds) of an attempt that failed and is not the last.

    `delay_notice_seconds` 0 means never; `noticed` that it was told before.
    """
    return 0 < delay_notice_seconds <= now - received_at and not noticed

"""What a policy decided: go on, or answer with this reply; and why, for the timeline and the log."""

from dataclasses import dataclass

from mtad.model.reply import Reply


@dataclass(frozen=True, slots=True)
class Accept:
    """Go on. `reason` names the rule."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with `reply`. `reason` names the rule, from a finite list: it is a metric label."""

    reply: Reply
    reason: str


Verdict = Accept | Refuse


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Take the message, and keep it from its recipient until somebody looks at it. `reason` is for people.

    `rule` is a word from a finite list, as Refuse has its reason.
    """

    rule: str
    reason: str

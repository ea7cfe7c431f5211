"""How a step of a job may end other than with an output: words the whole pipeline understands."""


class StepFailed(Exception):
    """The step cannot be done with this input; trying again would not help. The message is for a person."""


class StepSkipped(Exception):
    """The step has nothing to do here (no audio, no model); the job goes on. The message says why, for a person."""


class MayPass(Exception):
    """What stood in the way may be gone by the next attempt. The message is for a person."""


class SourceUnavailable(MayPass):
    """The input could not be had just now (network, busy disk)."""


class Interrupted(MayPass):
    """The process that did the work was ended from outside, or for want of memory."""

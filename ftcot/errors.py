"""What can go wrong, as a tree.

    FtcotError
    ├── InputError    the user asked for something that cannot be done: exit code 2, before anything is spent
    └── JobError      a job that started could not be finished: exit code 1, what it had stays

The text of either is one line that says what is wrong, where (config key, file, line) and what to do about it.
"""


class FtcotError(Exception):
    """Base of every error whose message is meant for a user's eyes."""


class InputError(FtcotError):
    """The input is wrong: a config value, a file, a checkpoint, a missing recording."""


class JobError(FtcotError):
    """A job that had started cannot go on: no pair survived, the loss is not finite, the disk is full."""

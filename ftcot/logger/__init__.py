"""Where the figures of a run go: always metrics.csv, and Weights & Biases where the config says so.

    step,epoch,loss,tokens_per_second,learning_rate,accuracy
    41,1,2.1043,5210.3,0.0003,0.117
    82,2,1.7719,5188.9,0.0003,0.2

Nothing here imports torch, and wandb only once a run is opened. W&B is a mirror: nothing is ever read back from it, so
a tracker that cannot be reached costs a line in the log and not the run.
"""

from ftcot.logger.runs import RunLogger, Silent, open_logger
from ftcot.logger.settings import Csv, Mode, Wandb, build, logged_in
from ftcot.redact import secrets, without_secrets

__all__ = [
    "Csv",
    "Mode",
    "RunLogger",
    "Silent",
    "Wandb",
    "build",
    "logged_in",
    "open_logger",
    "secrets",
    "without_secrets",
]

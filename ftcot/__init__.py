"""Fine-tune-CoT as an experiment framework (Ho, Schmid, Yun: "Large Language Models Are Reasoning Teachers").

    task ──> teacher ──> curation ──> training ──> evaluation
    Sample   Completion  Example      Student      Prediction, Score

Importing the package imports nothing else; `python -m ftcot.run` is the way in.
"""

__version__ = "0.1.0"

RESULT_VERSION = 3
"""Part of every job hash; raised by hand when the same config would give other results."""

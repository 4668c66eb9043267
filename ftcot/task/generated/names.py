"""First names for the stories of the generated tasks.

All have three letters, so that names change nothing in a question's length, and none begins with A to F: the paper's
rule for multiple choice takes a capital within a word for an answer.
"""

_NAMES = """
Gil Gus Guy Hal Ian Ida Ike Ivy Jan Jay Jed Jim Joe Kai Ken Kim Kit Lea Leo Liv
Lou Meg Mia Ned Nia Oli Pam Pat Pia Ray Rex Rob Ron Sal Sam Sue Ted Tom Val Zoe
"""

NAMES = tuple(_NAMES.split())

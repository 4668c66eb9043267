"""`curation.filter=equations`: every equation that is written in the rationale holds.

    "32 + 42 = 74 pieces, and 74 - 35 = 39 are left."   kept
    "87 x 47 = $4079"                                   wrong equation
    "The answer is 39."                                 kept: nothing is written that could be wrong

What counts as an equation, and how it is read, is said in ftcot/equations/. On recorded completions:

    completions                                        equations   of them hold   completions dropped
    text-davinci-002, five arithmetic tasks, right        1,583         99.6 %        7 of 2,499
                                             wrong        1,024         90.3 %       86 of 1,515
    a fine-tuned 6B model, GSM8K             right        5,830         99.7 %       17 of 2,001
                                             wrong       10,550         97.7 %      208 of 3,275
    text-davinci-002, AQuA, right                         1,969         86.3 %      188 of 2,966

AQuA's right ones are often right by luck: their letter is. Of 105 dropped ones that were read by hand two may be false
alarms (`100 pages / 2 pages/1.5 minutes = 50`). A sixth of what is dropped has a result that is cut where it should be
rounded (14 / 9 = 1.55), a tenth the wrong sign (19 - 20 = 1).
"""

from __future__ import annotations

from ftcot.equations import find
from ftcot.filters import Each, Reason
from ftcot.records import Completion


class SoundArithmetic(Each):
    """Keeps what calculates rightly."""

    def reason(self, completion: Completion) -> Reason:
        return None if all(equation.holds for equation in find(completion.rationale)) else "wrong equation"

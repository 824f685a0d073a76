"""Spoken digits: whether a recording says the string that was asked for, and where each digit lies in it.

Two questions in turn. `DigitVerifier.listen` asks at the sensor whether anybody said these digits; `consistent` asks at
the match, with the person's takes of the enrolment, and is the strict one. docs/biometrics/digits.md has the figures.
"""

from agent.biometrics.digits.takes import Takes
from agent.biometrics.digits.verifying import DigitVerifier, Heard, Spoken, consistency, consistent

__all__ = ["DigitVerifier", "Heard", "Spoken", "Takes", "consistency", "consistent"]

"""The statistics engine: from a trial table and registered claims to estimates, tests and verdicts.

Needs numpy, scipy, pandas and statsmodels alone. `trials.py` checks a table, `metrics/` measures one quantity per
file, `verdicts.py` turns an interval into a verdict, `analysis.py` does it for every claim.
"""

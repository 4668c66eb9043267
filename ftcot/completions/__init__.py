"""What the completion store holds: looked at, checked, taken out and brought in (`python -m ftcot.completions`).

store ──> rows ──> JSONL, Parquet, datasets, hub       export.py, writing.py, arrow.py
               ──> the authors' two formats            authors.py
files ──> rows ──> store                               importing.py, reading.py, recorded.py, intake.py
store ──> a table of figures                           stats.py
store ──> what is damaged                              verify.py
"""

"""The report on runs: `python -m ftcot.report FOLDER...`: figures, tables and one HTML page."""

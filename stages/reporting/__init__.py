"""The report of a run: tables, claims, figures, videos and pages, made from files that the other stages wrote."""

"""The page of talk, served to this machine alone: what a browser sends, a line of jobs, the answers."""

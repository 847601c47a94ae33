"""Agreement in; leaderboards out, for programs (CSV) and for people (Markdown)."""

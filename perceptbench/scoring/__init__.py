"""Pairs and metrics in, the scores table out, each backbone run once per unique image."""

"""Datasets whose images are computed from published formulas, and judged by published figures."""

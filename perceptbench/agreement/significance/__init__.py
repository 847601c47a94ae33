"""Tests and resolutions of single statistics: which differences mean something."""
